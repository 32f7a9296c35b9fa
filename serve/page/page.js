// The page: ties films, list, viewer, result and keys together.

import { hush, say, tell } from "./announcer.js";
import { drawMap } from "./activation_map.js";
import { describe, ready } from "./client.js";
import { showModel, showPixels } from "./details.js";
import { $, element } from "./element.js";
import { followCurrent, renderList } from "./film_list.js";
import { changed, films } from "./films.js";
import { filesOf, filesOfFolder, leftOut } from "./folder.js";
import { renderMessage, tickMessage } from "./message.js";
import { networkView } from "./network_view.js";
import { patientLine } from "./patient_view.js";
import { keepWorking, work } from "./queue.js";
import { fetchPicture, undoChange } from "./refusal.js";
import { ordered, showBars, showThreshold } from "./result.js";
import { savedPicture } from "./saved_picture.js";
import { noReport, saveAllCsv, saveAllJson, saveAllReports, saveJson, savePicture, saveReport, tried } from "./saving.js";
import { listen } from "./shortcuts.js";
import { warnings } from "./summary.js";
import { placeMap, resetView, showPicture, showThumb, zoom } from "./viewer.js";

let chosen = null; // the observation whose threshold is told and whose map is shown
let strength = 45; // of the map, in percent
let model = null; // the model's description

// --- what is shown -------------------------------------------------------------------------------------

const shown = { film: null, result: null, picture: null, network: false };

function render() {
  const film = films.current;
  document.body.dataset.state = films.all.length ? "films" : "empty";
  document.body.dataset.film = film?.result ? "scored" : "none";
  renderList();
  renderMessage();
  renderWarnings(film);
  renderPicture(film);
  renderCaption(film);
  if (shown.film !== film || shown.result !== (film?.result ?? null)) renderResult(film);
  if (film) void fetchPicture(film);
}

function renderWarnings(film) {
  const texts = film ? warnings(film) : [];
  if ($("warnings").textContent !== texts.join("")) $("warnings").replaceChildren(...texts.map((text) => element("p", {}, text)));
  $("warnings").hidden = !texts.length;
  $("undo-change").hidden = !film?.result || !changed(film);
}

function renderPicture(film) {
  const picture = film?.picture ?? null;
  const network = $("network").checked && Boolean(model && picture && film.result);
  if (picture === shown.picture && network === shown.network) return;
  const stay = shown.film === film;
  Object.assign(shown, { picture, network });
  showThumb(network ? null : (film?.thumb ?? null));
  const name = film ? `Radiograph ${film.name}, ${network ? "as the network sees it" : "as the server read it"}` : "";
  if (network) void tried("Showing the network's view", () => showNetwork(picture, name));
  else showPicture(picture?.blob ?? null, name, stay);
}

async function showNetwork(picture, name) {
  const blob = await networkView(picture, model.input.resolution);
  if (shown.picture === picture && shown.network) showPicture(blob, name, true);
}

function renderCaption(film) {
  if (!film?.picture) {
    $("caption").textContent = film ? film.name : "";
    return;
  }
  const { rows, columns } = film.result?.picture ?? film.original ?? film.picture;
  const [height, width] = model?.input.resolution ?? [];
  const seen = height && film.result ? `the network sees ${width} × ${height}` : "";
  $("caption").textContent = [film.name, patientLine(film), `${columns} × ${rows}`, seen].filter(Boolean).join(" · ");
}

function renderResult(film) {
  const result = film?.result ?? null;
  Object.assign(shown, { film, result });
  $("save-state").textContent = "";
  if (!result) return placeMap("off", 0);
  const missing = noReport(film);
  $("save-sr").disabled = Boolean(missing);
  $("save-sr").title = missing && `No report: ${missing}`;
  if (!result.observations.some((row) => row.identifier === chosen)) {
    chosen = [...ordered(result)].sort((a, b) => lead(b) - lead(a))[0].identifier;
  }
  showBars(result, chosen, choose);
  showPixels(result);
  showModel(result);
  renderChoice();
  if (!model) void learnModel();
}

// the observation to begin with: the disease that is most of its threshold
function lead(row) {
  return row.identifier === "no_finding" ? -1 : row.probability / (row.threshold || 1);
}

let learning = null;

/** Get the model's description; without it the page says less of the threshold and nothing of the network's view. */
async function learnModel() {
  learning ??= describe();
  model = await learning;
  learning = null;
  if (!model) return;
  $("network-size").textContent = model.input.resolution.toReversed().join(" × ");
  $("network-choice").hidden = false;
  renderChoice();
  renderCaption(films.current);
}

/** Bring threshold and map up to date with the chosen observation. */
function renderChoice() {
  const result = films.current?.result;
  if (!result) return;
  showThreshold(result, chosen, model);
  const where = mapPlace();
  $("strength").hidden = where === "off";
  if (where === "off") {
    $("map-note").textContent = "";
    return placeMap("off", 0);
  }
  const { name } = result.observations.find((row) => row.identifier === chosen);
  const any = drawMap($("map"), result, chosen);
  $("map-note").textContent = any
    ? `Where the network's evidence for ${name} lies, in colours that mean the same in all six maps. It explains the number; it does not outline a finding.`
    : `Hardly any part of this film spoke for ${name}.`;
  placeMap(where, strength / 100);
}

const mapPlace = () => document.querySelector('input[name="map"]:checked').value;

function choose(identifier) {
  chosen = identifier;
  const input = document.querySelector(`input[value="${identifier}"]`);
  if (input) input.checked = true;
  renderChoice();
}

function setStrength(value) {
  strength = Math.min(100, Math.max(0, value));
  $("opacity").value = strength;
  $("opacity-value").textContent = `${strength} %`;
  renderChoice();
}

let lastPlace = "over";

function toggleMap() {
  const now = mapPlace();
  if (now !== "off") lastPlace = now;
  document.querySelector(`input[name="map"][value="${now === "off" ? lastPlace : "off"}"]`).checked = true;
  renderChoice();
}

/** What is on the stage, as panels for the saved picture. */
function panels() {
  const where = mapPlace();
  const film = { image: $("picture"), opacity: 1 };
  const map = { image: $("map"), opacity: strength / 100 };
  if (where === "beside") return [[film], [film, map]];
  return [where === "over" ? [film, map] : [film]];
}

async function saveShown() {
  const film = films.current;
  await $("picture").decode();
  const name = film.result.observations.find((row) => row.identifier === chosen).name;
  const mapWords = mapPlace() === "off" ? "Without activation map" : `Activation map of ${name}: it explains the number, it does not outline a finding`;
  const seen = shown.network ? `. As the network sees it, ${$("network-size").textContent}` : "";
  savePicture(film, await savedPicture(film, chosen, panels(), mapWords + seen));
}

// --- films in and out ----------------------------------------------------------------------------------

async function add(reading, what) {
  await tried(what, async () => {
    const found = await reading;
    films.add(found.files);
    work();
    const missing = leftOut(found);
    if (missing) tell(missing);
    if (found.files.length > 1) say(`${found.files.length} films were added.`);
  });
}

const fromDialog = (list) => ({ files: [...list].map((file) => ({ file, name: file.name })), skipped: [], unread: [] });

function remove() {
  const film = films.current;
  if (film) films.remove(film);
}

function undo() {
  films.restore();
  hush();
  work();
}

films.addEventListener("change", render);
films.addEventListener("select", followCurrent);
films.addEventListener("remove", (event) => tell(`${event.detail.name} was removed.`, { text: "Undo", run: undo }));
keepWorking(tickMessage);

for (const id of ["add", "choose"]) $(id).addEventListener("click", () => $("files").click());
for (const id of ["add-folder", "choose-folder"]) $(id).addEventListener("click", () => $("folder").click());
for (const [id, read] of [["files", fromDialog], ["folder", filesOfFolder]]) {
  $(id).addEventListener("change", (event) => {
    const list = [...event.target.files];
    event.target.value = "";
    if (list.length) void add(read(list), "Adding the films");
  });
}

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
  if (carriesFiles(event)) void add(filesOf(event.dataTransfer), "Reading what was dropped");
});
addEventListener("paste", (event) => {
  if (event.clipboardData?.files.length) void add(filesOf(event.clipboardData), "Reading what was pasted");
});

// --- controls ------------------------------------------------------------------------------------------

$("filter").addEventListener("change", (event) => {
  films.filter = event.target.value;
  films.change();
});
$("sort").addEventListener("change", (event) => {
  films.sort = event.target.value;
  films.change();
});
$("words").addEventListener("input", (event) => {
  films.words = event.target.value;
  films.change();
});
for (const input of document.querySelectorAll('input[name="map"]')) input.addEventListener("change", renderChoice);
$("opacity").addEventListener("input", (event) => setStrength(Number(event.target.value)));
$("network").addEventListener("change", () => films.change());
$("undo-change").addEventListener("click", () => undoChange(films.current));
$("keys-button").addEventListener("click", () => $("keys").showModal());
$("toast-close").addEventListener("click", hush);
$("save-json").addEventListener("click", () => tried("Saving", () => saveJson(films.current)));
$("save-png").addEventListener("click", () => tried("Saving the picture", saveShown));
$("save-sr").addEventListener("click", () => tried("Saving the report", () => saveReport(films.current)));
$("print").addEventListener("click", () => print());
for (const [id, action] of [["all-csv", saveAllCsv], ["all-json", saveAllJson], ["all-sr", saveAllReports]]) {
  $(id).addEventListener("click", () => {
    $("save-all").open = false;
    void tried("Saving all results", action);
  });
}

const inList = ({ target }) => Boolean(target.closest("#films")); // elsewhere these keys scroll

listen({
  o: () => $("files").click(),
  ArrowLeft: () => films.step(-1),
  ArrowRight: () => films.step(1),
  ArrowUp: (event) => inList(event) && films.step(-1),
  ArrowDown: (event) => inList(event) && films.step(1),
  m: toggleMap,
  n: () => $("network-choice").hidden || $("network").click(),
  "[": () => setStrength(strength - 10),
  "]": () => setStrength(strength + 10),
  "+": () => zoom(1.4),
  "=": () => zoom(1.4),
  "-": () => zoom(1 / 1.4),
  0: resetView,
  Delete: remove,
  "Control+z": undo,
  "?": () => $("keys").showModal(),
  ...Object.fromEntries([0, 1, 2, 3, 4, 5].map((place) => [
    String(place + 1),
    () => films.current?.result && choose(ordered(films.current.result)[place].identifier),
  ])),
});

for (const kind of ["unhandledrejection", "error"]) {
  addEventListener(kind, (event) => tell(`The page failed at something: ${event.reason?.message ?? event.message}. Load it again if it stays.`));
}

const state = await ready();
$("served").textContent = state?.ready
  ? `Model ${state.model}, ready on ${state.provider.replace("ExecutionProvider", "")}`
  : "The server cannot score films now";
