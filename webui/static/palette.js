/** Ctrl K: go to a page, a symbol or a service. */

import { make } from "./table.js";

export function makePalette(boot) {
  const dialog = document.getElementById("palette");
  const input = dialog.querySelector("input");
  const list = document.getElementById("found");
  const placesNow = () => [
    ...[...document.querySelectorAll(".nav a")].map((a) => [a.textContent.trim(), "page", a.getAttribute("href")]),
    ...boot.symbols.map((name) => [name, "symbol", `/market/${name}`]),
    ...[...document.querySelectorAll(".svc a")].map((a) => [
      a.querySelector(".name").textContent, "service", a.getAttribute("href"),
    ]),
  ];
  let places = [];
  let chosen = 0;

  function fill() {
    const wanted = input.value.trim().toLowerCase();
    const found = places.filter(([name]) => name.toLowerCase().includes(wanted)).slice(0, 9);
    chosen = Math.min(chosen, Math.max(found.length - 1, 0));
    list.replaceChildren(...found.map(([name, kind, href], i) => {
      const item = make("li", "", name);
      item.id = `found-${i}`;
      item.setAttribute("role", "option");
      item.setAttribute("aria-selected", String(i === chosen));
      item.dataset.href = href;
      item.append(make("small", "", kind));
      item.addEventListener("click", () => location.assign(href));
      return item;
    }));
    if (found.length) input.setAttribute("aria-activedescendant", `found-${chosen}`);
  }

  input.addEventListener("input", () => { chosen = 0; fill(); });
  input.addEventListener("keydown", (event) => {
    const count = list.children.length;
    if (event.key === "ArrowDown") chosen = (chosen + 1) % Math.max(count, 1);
    else if (event.key === "ArrowUp") chosen = (chosen + count - 1) % Math.max(count, 1);
    else if (event.key === "Enter") list.children[chosen]?.click();
    else return;
    event.preventDefault();
    fill();
  });
  return () => {
    input.value = "";
    places = placesNow();
    chosen = 0;
    fill();
    dialog.showModal();
    input.focus();
  };
}
