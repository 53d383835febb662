/** Pages of tables: filtering rows, and the map of the year. */

import { startYear } from "./year.js";

export function startData() {
  for (const filter of document.querySelectorAll("[data-filter]")) {
    filter.addEventListener("input", () => filterRows(filter));
  }
  startYear();
}

function filterRows(filter) {
  const wanted = filter.value.trim().toLowerCase();
  const rows = document.querySelectorAll(`${filter.dataset.filter} tr, ${filter.dataset.filter} li`);
  for (const row of rows) row.hidden = !row.textContent.toLowerCase().includes(wanted);
}
