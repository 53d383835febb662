/** The door: spend the link in the address, or send the key that was typed. */

const fault = document.getElementById("fault");
const form = document.getElementById("door");

async function logIn(body) {
  fault.textContent = "";
  const answer = await fetch("/ui/login", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(body),
  });
  if (answer.ok) {
    const next = new URLSearchParams(location.search).get("next") || "/";
    location.replace(/^\/(?![/\\])/.test(next) ? next : "/");
    return;
  }
  const found = await answer.json();
  fault.textContent = found.message;
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  logIn({ key: document.getElementById("key").value });
});

if (location.hash.length > 1) {
  const link = location.hash.slice(1);
  history.replaceState(null, "", location.pathname + location.search); // out of the history at once
  logIn({ link });
}
