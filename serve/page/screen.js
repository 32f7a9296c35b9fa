// The screen: shows the current film with its picture, its warnings and its result.

import { drawMap } from "./activation_map.js";
import { describe } from "./client.js";
import { showModel, showPixels } from "./details.js";
import { $, element } from "./element.js";
import { followCurrent, renderList } from "./film_list.js";
import { changed, films } from "./films.js";
import { renderMessage } from "./message.js";
import { networkView } from "./network_view.js";
import { patientLine } from "./patient_view.js";
import { fetchPicture } from "./refusal.js";
import { ordered, showBars, showThreshold } from "./result.js";
import { savedPicture } from "./saved_picture.js";
import { noReport, savePicture, tried } from "./saving.js";
import { warnings } from "./summary.js";
import { placeMap, showPicture, showThumb } from "./viewer.js";

let chosen = null; // the observation whose threshold is told and whose map is shown
let strength = 45; // of the map, in percent
let model = null; // the model's description

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
  const name = (seen) => (film ? `Radiograph ${film.name}, as ${seen}` : "");
  // at once, also where the network's view follows: what was there may be another film's
  showPicture(picture?.blob ?? null, name("the server read it"), stay);
  drawing = network ? tried("Showing the network's view", () => showNetwork(picture, name("the network sees it"))) : null;
}

let drawing = null; // the network's view on its way

async function showNetwork(picture, name) {
  try {
    const blob = await networkView(picture, model.input.resolution);
    if (shown.picture === picture && shown.network) showPicture(blob, name, true);
  } catch (error) {
    $("network").checked = false;
    films.change();
    throw error;
  }
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
export function renderChoice() {
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

export function choose(identifier) {
  chosen = identifier;
  const input = document.querySelector(`input[value="${identifier}"]`);
  if (input) input.checked = true;
  renderChoice();
}

export function setStrength(value) {
  strength = Math.min(100, Math.max(0, value));
  $("opacity").value = strength;
  $("opacity-value").textContent = `${strength} %`;
  renderChoice();
}

/** Make the map stronger or fainter by some percent. */
export const addStrength = (more) => setStrength(strength + more);

let lastPlace = "over";

export function toggleMap() {
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

export async function saveShown() {
  for (let awaited; awaited !== drawing; await awaited) awaited = drawing;
  await $("picture").decode();
  const film = films.current; // after the waits: picture, map and numbers are those of one film
  const name = film.result.observations.find((row) => row.identifier === chosen).name;
  const mapWords = mapPlace() === "off" ? "Without activation map" : `Activation map of ${name}: it explains the number, it does not outline a finding`;
  const seen = shown.network ? `. As the network sees it, ${$("network-size").textContent}` : "";
  savePicture(film, await savedPicture(film, chosen, panels(), mapWords + seen));
}

films.addEventListener("change", render);
films.addEventListener("select", followCurrent);
