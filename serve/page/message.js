// The message: what is said of a film that has no numbers to show.

import { $, button, element } from "./element.js";
import { films } from "./films.js";
import { again, queue } from "./queue.js";
import { remedies, standing } from "./refusal.js";
import { askToken } from "./token.js";

let said = null; // what the nodes say; they are kept while it stays the same, so that no click is lost

/** Say where the current film stands; nothing where it is scored. */
export function renderMessage() {
  const film = films.current;
  const facts = film && [films.all.indexOf(film), film.state, film.problem, film.change, queue.locked, standing(film)];
  if (said === JSON.stringify(facts)) return;
  said = JSON.stringify(facts);
  const parts = film && film.state !== "scored" ? partsOf(film) : [];
  const focused = $("message").contains(document.activeElement) ? document.activeElement.textContent : null;
  $("message").replaceChildren(...parts);
  $("message").hidden = !parts.length;
  if (focused) [...$("message").querySelectorAll("button")].find((one) => one.textContent === focused)?.focus();
}

function partsOf(film) {
  const { state, problem } = film;
  if (state === "refused") return refusalParts(film);
  if (state === "busy") {
    return [
      element("h2", {}, "The server is busy"), element("p", { className: "countdown" }, countdown(film)),
      button("Send it now", () => again(film), "primary"),
    ];
  }
  if (state === "waiting" && queue.locked) {
    return [
      element("h2", {}, "This server asks for a token"), element("p", {}, "The films are kept here until it is given."),
      button("Enter token", () => askToken(problem), "primary"),
    ];
  }
  return [element("div", { className: "spinner" }), element("p", {}, state === "waiting" ? "Waiting for its turn" : "Reading and scoring")];
}

function refusalParts(film) {
  const { title, detail, reason } = film.problem;
  const heading = reason === "unreachable" ? "Not sent" : "Not scored";
  const parts = [element("h2", {}, `${heading}: ${title}`)];
  if (detail) parts.push(element("p", {}, detail));
  parts.push(element("code", {}, reason), remedies(film));
  return parts;
}

function countdown(film) {
  const seconds = Math.max(0, Math.ceil((film.retryAt - Date.now()) / 1000));
  return seconds ? `The film is sent again in ${seconds} s.` : "The film is sent again now.";
}

/** Bring the seconds of a busy server up to date. */
export function tickMessage() {
  const line = document.querySelector("#message .countdown");
  if (line && films.current?.state === "busy") line.textContent = countdown(films.current);
}
