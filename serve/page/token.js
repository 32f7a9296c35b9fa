// The token: asked for when the server wants one, kept in this tab's memory only.

import { useToken } from "./client.js";
import { $ } from "./element.js";
import { films } from "./films.js";
import { queue, unlock } from "./queue.js";

let tried = false;

export function askToken(problem) {
  $("token-note").textContent = tried && problem ? `That one was not it: ${problem.title}.` : "It is kept until this page is closed.";
  $("token").returnValue = "";
  if (!$("token").open) $("token").showModal();
}

queue.addEventListener("locked", (event) => askToken(event.detail));
$("token-cancel").addEventListener("click", () => $("token").close());
$("token").addEventListener("close", () => {
  const value = $("token-value").value.trim();
  $("token-value").value = "";
  if ($("token").returnValue !== "use" || !value) return films.change(); // the message offers to enter it later
  tried = true;
  useToken(value);
  unlock();
});
