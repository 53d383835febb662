/** Pages of tables: filtering rows, and a click into the map of the year. */

const DAY_CELL = 14; // a cell and the room after it, as the server draws them

export function startData(boot) {
  for (const filter of document.querySelectorAll("[data-filter]")) {
    filter.addEventListener("input", () => filterRows(filter));
  }
  const year = document.getElementById("year");
  if (!year || !year.dataset.first) return;
  const first = Date.parse(`${year.dataset.first}T00:00:00Z`);
  const lead = (new Date(first).getUTCDay() + 6) % 7;
  const dayAt = (event) => {
    const box = year.getBoundingClientRect();
    const scale = year.viewBox.baseVal.width / box.width;
    const column = Math.floor(((event.clientX - box.left) * scale) / DAY_CELL);
    const row = Math.floor(((event.clientY - box.top) * scale - 16) / DAY_CELL);
    if (row < 0 || row > 6) return null;
    return new Date(first + (column * 7 + row - lead) * 86_400_000).toISOString().slice(0, 10);
  };
  year.addEventListener("click", (event) => {
    const day = dayAt(event);
    if (day) location.assign(`/data?day=${day}`);
  });
  year.addEventListener("pointermove", (event) => {
    year.querySelector("title").textContent = dayAt(event) || "";
  });
}

function filterRows(filter) {
  const wanted = filter.value.trim().toLowerCase();
  const rows = document.querySelectorAll(`${filter.dataset.filter} tr, ${filter.dataset.filter} li`);
  for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
}
