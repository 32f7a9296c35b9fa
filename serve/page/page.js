// The page: films in, results shown. State lives in this tab; nothing is stored.

import { ready, report, score, useToken } from "./page_client.js";
import { element, ordered, showBars, showModel, showPixels, summary } from "./page_result.js";
import { composed, drawMap, pictureUrl, resetView, setOpacity, showFilm, zoom } from "./page_viewer.js";

const AT_ONCE = 2; // films on their way to the server
const $ = (id) => document.getElementById(id);
const films = []; // {file, name, state, result, problem, anyModality, anyFilm, retryAt}
let current = null;
let chosen = null; // observation whose map is shown
let opacity = 45;
let asking = false;

// --- films ---------------------------------------------------------------------------------------------

function add(files) {
  for (const file of files) {
    films.push({ file, name: file.name || "film", state: "waiting", result: null, problem: null, anyModality: false, anyFilm: false, retryAt: 0 });
    current ??= films[films.length - 1];
  }
  render();
  work();
}

function remove(film) {
  const place = films.indexOf(film);
  films.splice(place, 1);
  film.removed = true;
  if (current === film) current = films[Math.min(place, films.length - 1)] ?? null;
  render();
}

function work() {
  if (asking) return;
  const now = Date.now();
  const due = films.filter((film) => film.state === "waiting" || (film.state === "busy" && film.retryAt <= now));
  const free = AT_ONCE - films.filter((film) => film.state === "scoring").length;
  for (const film of due.slice(0, Math.max(0, free))) send(film);
}

async function send(film) {
  film.state = "scoring";
  film.problem = null;
  render();
  const { result, problem, retryAfter } = await score(film.file, film);
  if (result) Object.assign(film, { state: "scored", result });
  else if (problem.status === 401) {
    film.state = "waiting";
    askToken(problem);
  } else if (problem.status === 503) Object.assign(film, { state: "busy", problem, retryAt: Date.now() + 1000 * retryAfter });
  else Object.assign(film, { state: "refused", problem });
  if (film.removed) return;
  render();
  work();
}

function retry(film, changes = {}) {
  Object.assign(film, changes, { state: "waiting", problem: null });
  work();
}

setInterval(() => {
  if (!films.some((film) => film.state === "busy")) return;
  work();
  const line = document.querySelector("#message .countdown");
  if (line && current?.state === "busy") line.textContent = countdown(current);
}, 500);

// --- what is shown -------------------------------------------------------------------------------------

function render() {
  document.body.dataset.state = films.length ? "films" : "empty";
  document.body.dataset.film = current?.result ? "scored" : "none";
  renderList();
  renderMessage();
  if (shown !== (current?.result ?? null)) renderResult();
}

function renderList() {
  const items = films.map((film) => {
    const open = element("button", { type: "button", className: "open", title: film.name });
    open.setAttribute("aria-current", String(film === current));
    open.addEventListener("click", () => select(film));
    const { text, kind } = stateOf(film);
    const thumb = film.result
      ? element("img", { className: "thumb", src: pictureUrl(film.result), alt: "" })
      : element("span", { className: "thumb" }, film.state === "refused" ? "×" : "·");
    open.append(thumb, element("span", {}, element("span", { className: "name" }, film.name), element("span", { className: `state ${kind}` }, text)));
    return element("li", {}, open);
  });
  const focused = document.activeElement?.classList.contains("open");
  $("films").replaceChildren(...items);
  if (focused) $("films").querySelector('[aria-current="true"]')?.focus();
}

function stateOf(film) {
  if (film.state === "scored") {
    const { text, above } = summary(film.result);
    return { text, kind: above ? "above" : "" };
  }
  if (film.state === "refused") return { text: film.problem.reason === "unreachable" ? "not sent" : "not scored", kind: "wrong" };
  return { text: { waiting: "waiting", scoring: "scoring…", busy: "server busy" }[film.state], kind: "" };
}

let shown; // the result that is on the screen; null when there is none to show

function renderResult() {
  const result = current?.result ?? null;
  shown = result;
  $("save-state").textContent = "";
  showFilm(result, current?.name ?? "");
  $("caption").textContent = result ? caption(current) : "";
  for (const id of ["save-json", "save-png", "opacity"]) $(id).disabled = !result;
  $("save-sr").disabled = result?.radiograph.format !== "dicom";
  $("save-sr").title = $("save-sr").disabled && result ? "Only for films that came as DICOM" : "";
  if (!result) return;
  const known = result.observations.some((row) => row.identifier === chosen);
  if (!known) chosen = [...ordered(result)].sort((a, b) => lead(b) - lead(a))[0].identifier;
  showBars(result, chosen, choose);
  showPixels(result);
  showModel(result);
  renderMap();
}

// the observation to begin with: the disease that is most of its threshold
function lead(row) {
  return row.identifier === "no_finding" ? -1 : row.probability / (row.threshold || 1);
}

function caption(film) {
  const { rows, columns } = film.result.picture;
  return `${film.name} · ${columns} × ${rows} · as the model reads it`;
}

function renderMap() {
  if (!current?.result) return;
  const name = current.result.observations.find((row) => row.identifier === chosen).name;
  const any = drawMap(current.result, chosen);
  $("map").hidden = !any;
  $("map-note").textContent = any
    ? `Where the network's evidence for ${name} lies. It explains the number; it does not outline a finding.`
    : `Hardly any part of this film spoke for ${name}.`;
  setOpacity(opacity / 100);
}

function renderMessage() {
  const box = $("message");
  box.replaceChildren();
  if (!current || current.state === "scored") return;
  const { state, problem } = current;
  const button = (text, action) => {
    const node = element("button", { type: "button", className: "primary" }, text);
    node.addEventListener("click", action);
    return node;
  };
  if (state === "waiting" || state === "scoring") {
    box.append(element("div", { className: "spinner" }), element("p", {}, state === "waiting" ? "Waiting for its turn" : "Reading and scoring"));
    return;
  }
  if (state === "busy") {
    box.append(element("h2", {}, "The server is busy"), element("p", { className: "countdown" }, countdown(current)),
      button("Send it now", () => retry(current)));
    return;
  }
  const heading = problem.reason === "unreachable" ? "Not sent" : "Not scored";
  box.append(element("h2", {}, `${heading}: ${problem.title}`), element("p", {}, problem.detail), element("code", {}, problem.reason));
  if (["not-a-radiograph", "not-frontal"].includes(problem.reason) && !current.anyModality) {
    box.append(button("Score it anyway", () => retry(current, { anyModality: true })));
  }
  if (["sideways", "upside-down", "inverted", "not-accepted"].includes(problem.reason) && !current.anyFilm) {
    box.append(button("Score it anyway", () => retry(current, { anyFilm: true })));
  }
  if (["unreachable", "deadline", "internal"].includes(problem.reason)) box.append(button("Try again", () => retry(current)));
}

function countdown(film) {
  const seconds = Math.max(0, Math.ceil((film.retryAt - Date.now()) / 1000));
  return seconds ? `The film is sent again in ${seconds} s.` : "The film is sent again now.";
}

function select(film) {
  current = film;
  render();
}

function choose(identifier) {
  chosen = identifier;
  const input = document.querySelector(`input[value="${identifier}"]`);
  if (input) input.checked = true;
  renderMap();
}

function step(by) {
  const place = films.indexOf(current) + by;
  if (place >= 0 && place < films.length) select(films[place]);
}

function setMap(value) {
  opacity = Math.min(100, Math.max(0, value));
  $("opacity").value = opacity;
  $("opacity-value").textContent = `${opacity} %`;
  setOpacity(opacity / 100);
}

// --- saving --------------------------------------------------------------------------------------------

function save(blob, suffix) {
  const link = element("a", { href: URL.createObjectURL(blob), download: current.name.replace(/\.(dcm|dicom|png|jpe?g)$/i, "") + suffix });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

$("save-json").addEventListener("click", () => {
  const { picture, ...rest } = current.result; // the film itself stays out of the file
  save(new Blob([JSON.stringify(rest, null, 1)], { type: "application/json" }), ".xraytransfer.json");
});
$("save-png").addEventListener("click", async () => save(await composed(), ".xraytransfer.png"));
$("save-sr").addEventListener("click", async () => {
  const film = current;
  $("save-state").textContent = "Writing the report";
  const { blob, problem } = await report(film.file, film);
  if (film !== current) return;
  $("save-state").textContent = problem ? `No report: ${problem.detail || problem.title}` : "";
  if (blob) save(blob, ".sr.dcm");
});

// --- token ---------------------------------------------------------------------------------------------

let tried = false;

function askToken(problem) {
  if (asking) return;
  asking = true;
  $("token-note").textContent = tried ? `That one was not it: ${problem.title}.` : "It is kept until this page is closed.";
  $("token").showModal();
}

$("token").addEventListener("close", () => {
  asking = false;
  tried = true;
  if ($("token").returnValue !== "use") return;
  useToken($("token-value").value.trim());
  $("token-value").value = "";
  work();
});

// --- input ---------------------------------------------------------------------------------------------

for (const id of ["add", "choose"]) $(id).addEventListener("click", () => $("files").click());
$("files").addEventListener("change", (event) => {
  add(event.target.files);
  event.target.value = "";
});
$("opacity").addEventListener("input", (event) => setMap(Number(event.target.value)));
$("keys-button").addEventListener("click", () => $("keys").showModal());

let inside = 0; // dragenter and dragleave come for every element on the way
const carriesFiles = (event) => event.dataTransfer?.types.includes("Files");
addEventListener("dragenter", (event) => {
  if (carriesFiles(event)) document.body.classList.toggle("dragging", ++inside > 0);
});
addEventListener("dragleave", (event) => {
  if (carriesFiles(event)) document.body.classList.toggle("dragging", --inside > 0);
});
addEventListener("dragover", (event) => event.preventDefault());
addEventListener("drop", (event) => {
  event.preventDefault();
  inside = 0;
  document.body.classList.remove("dragging");
  add(event.dataTransfer.files);
});
addEventListener("paste", (event) => add(event.clipboardData.files));

let lastOpacity = 45;
const KEYS = {
  o: () => $("files").click(),
  ArrowLeft: () => step(-1),
  ArrowRight: () => step(1),
  m: () => {
    if (opacity > 0) lastOpacity = opacity;
    setMap(opacity > 0 ? 0 : lastOpacity);
  },
  "[": () => setMap(opacity - 10),
  "]": () => setMap(opacity + 10),
  "+": () => zoom(1.4),
  "=": () => zoom(1.4),
  "-": () => zoom(1 / 1.4),
  0: resetView,
  Delete: () => current && remove(current),
  "?": () => $("keys").showModal(),
};

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || document.querySelector("dialog[open]")) return;
  if (event.target.matches("input") && event.key.startsWith("Arrow")) return; // sliders and radios move by arrows
  const place = "123456".indexOf(event.key);
  if (place >= 0 && current?.result) choose(ordered(current.result)[place].identifier);
  else if (KEYS[event.key]) KEYS[event.key]();
  else return;
  event.preventDefault();
});

const state = await ready();
$("served").textContent = state.ready ? `Model ${state.model}, ready on ${state.provider.replace("ExecutionProvider", "")}` : "The server cannot score films now";
