/** Ending a running call. */

import { openDetail, post } from "./shell.js";
import { make } from "./table.js";

export function startQueries() {
  document.addEventListener("click", (event) => {
    const button = event.target.closest('[data-r="running"] button');
    if (button) askCancel(button.closest("tr"));
  });
}

/** Lines move as calls end, so what was clicked on is shown before it is ended. */
function askCancel(line) {
  const call = line.dataset.key;
  const [, key, asked] = [...line.children].map((cell) => cell.textContent.trim());
  const button = make("button", "danger", "Cancel the call");
  const fault = make("p", "error");
  button.addEventListener("click", async () => {
    try {
      await post("/ui/queries/cancel", { call });
      document.getElementById("detail").close();
    } catch (error) {
      fault.textContent = error.message;
    }
  });
  openDetail(`Cancel a call of ${key}`, make("p", "mono", asked), button, fault);
}
