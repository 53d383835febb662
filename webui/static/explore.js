/** The explorer: Perspective from its wheel, fed with Arrow by our own endpoint. */

import { ready, worker } from "/explore/files/perspective.js";

const viewer = document.getElementById("viewer");
const note = document.getElementById("explore-note");
const form = document.getElementById("ask");

const WIDE_PX = 900; // with less room the settings would cover the rows
const VIEW = {
  table: "rows",
  plugin: "Datagrid",
  theme: "Pro Dark",
  settings: innerWidth > WIDE_PX,
  columns_config: { seq: { number_format: { maximumFractionDigits: 0 } } },
};
let table = null;

async function load(client) {
  const query = new URLSearchParams(new FormData(form));
  const answer = await fetch(`/explore/rows?${query}`);
  if (!answer.ok) {
    note.textContent = (await answer.json()).message;
    return;
  }
  const rows = await answer.arrayBuffer();
  if (table) await table.replace(rows);
  else {
    table = await client.table(rows, { name: VIEW.table });
    await viewer.load(client);
    await viewer.restore(VIEW);
  }
  note.textContent = `${(await table.size()).toLocaleString("en-US")} rows of ${query.get("symbol")}`;
}

await ready;
const client = await worker();
form.addEventListener("submit", (event) => {
  event.preventDefault();
  load(client);
});
await load(client);
