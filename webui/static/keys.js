/** Making and ending keys and sessions; a new key is shown once, here. */

import { make } from "./table.js";
import { copyText, openDetail, post } from "./shell.js";

export function startKeys() {
  const form = document.getElementById("new-key");
  if (form) form.addEventListener("submit", (event) => createKey(event, form));
  document.addEventListener("click", (event) => {
    const key = event.target.closest("[data-revoke]");
    if (key) askRevoke(key.dataset.revoke);
    const session = event.target.closest("[data-end-session]");
    if (session) endSession(session.dataset.endSession);
  });
}

async function createKey(event, form) {
  event.preventDefault();
  const data = new FormData(form);
  const fault = document.getElementById("key-fault");
  fault.textContent = "";
  try {
    const made = await post("/ui/keys", {
      name: data.get("name"),
      scopes: data.getAll("scope"),
      symbols: String(data.get("symbols")).split(/[\s,]+/).filter(Boolean),
      rate: data.get("rate"),
      expires: data.get("expires"),
    });
    const code = make("pre", "", made.key);
    code.tabIndex = 0;
    const copy = make("button", "primary", "Copy the key");
    copy.addEventListener("click", () => copyText(made.key, copy));
    openDetail("The new key, shown only now", make("p", "", "It is kept nowhere: only its hash is."), code, copy);
    document.getElementById("detail").addEventListener("close", () => location.reload(), { once: true });
  } catch (error) {
    fault.textContent = error.message;
  }
}

/** Ending a key wants its name typed. */
function askRevoke(name) {
  const form = make("form", "line");
  const label = make("label", "", `Type ${name} to revoke it; the next call with it is refused`);
  const input = make("input");
  input.autocomplete = "off";
  label.append(input);
  const button = make("button", "danger", "Revoke");
  const fault = make("p", "error");
  form.append(label, button);
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await post("/ui/keys/revoke", { name, confirm: input.value });
      location.reload();
    } catch (error) {
      fault.textContent = error.message;
    }
  });
  openDetail(`Revoke ${name}`, form, fault);
  input.focus();
}

async function endSession(id) {
  await post("/ui/sessions/end", { id });
  location.reload();
}
