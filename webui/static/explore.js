/** The explorer: Perspective from its wheel, fed with Arrow by our own endpoint. */

import { ready, worker } from "/explore/files/perspective.js";

const viewer = document.getElementById("viewer");
const note = document.getElementById("explore-note");
const form = document.getElementById("ask");

async function load(client) {
  const query = new URLSearchParams(new FormData(form));
  const answer = await fetch(`/explore/rows?${query}`);
  if (!answer.ok) {
    note.textContent = (await answer.json()).message;
    return;
  }
  const table = await client.table(await answer.arrayBuffer());
  await viewer.load(table);
  await viewer.restore({ plugin: "Datagrid", theme: "Pro Dark", settings: true });
  note.textContent = `${(await table.size()).toLocaleString("en-US")} rows of ${query.get("symbol")}`;
}

await ready;
const client = await worker();
form.addEventListener("submit", (event) => {
  event.preventDefault();
  load(client);
});
await load(client);
