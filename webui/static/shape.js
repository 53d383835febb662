/**
 * Places for what came up after the page was drawn. The server draws the page once more and the
 * pieces that differ are taken over from it, so that one template draws them all; the browser parses
 * it as the answer of a request, which trusted types allow, and runs nothing of it.
 */

import { indexCells, rewriteClocks } from "./cells.js";

let isAsking = false;

/** Draw anew where the server has other services or symbols than this page has places for. */
export async function fitShape(boot, shape) {
  if (isAsking || shape === boot.shape) return;
  isAsking = true;
  const page = await fetchPage();
  isAsking = false;
  const block = page && page.getElementById("boot");
  if (!block) return; // asked again with the next status; who is logged out is told by the stream
  const fresh = JSON.parse(block.textContent);
  if (fresh.symbol && !boot.symbol) {
    location.reload(); // the first symbol of all: now there is a chart to draw
    return;
  }
  for (const piece of document.querySelectorAll("[data-piece]")) takeOver(piece, page);
  indexCells();
  boot.symbols = fresh.symbols;
  boot.shape = fresh.shape;
}

/** Take some pieces over from the page as the server draws it now. */
export async function redraw(names) {
  const page = await fetchPage();
  if (!page) return;
  for (const name of names) {
    for (const piece of document.querySelectorAll(`[data-piece="${name}"]`)) takeOver(piece, page);
  }
  rewriteClocks();
  indexCells();
}

function takeOver(piece, page) {
  const found = page.querySelector(`[data-piece="${piece.dataset.piece}"]`);
  if (!found) return;
  const link = piece.contains(document.activeElement) ? document.activeElement.getAttribute("href") : null;
  piece.replaceWith(found);
  if (link) found.querySelector(`[href="${CSS.escape(link)}"]`)?.focus();
}

function fetchPage() {
  return new Promise((done) => {
    const request = new XMLHttpRequest();
    request.open("GET", location.href);
    request.responseType = "document";
    request.onload = () => done(request.status === 200 ? request.response : null);
    request.onerror = () => done(null);
    request.send();
  });
}
