// The page: takes films in, and ties buttons and keys to what they do.

import { hush, say, tell } from "./announcer.js";
import { ready } from "./client.js";
import { $ } from "./element.js";
import { films } from "./films.js";
import { filesOf, filesOfFolder, leftOut } from "./folder.js";
import { tickMessage } from "./message.js";
import { keepWorking, work } from "./queue.js";
import { undoChange } from "./refusal.js";
import { ordered } from "./result.js";
import { saveAllCsv, saveAllJson, saveAllReports, saveJson, saveReport, tried } from "./saving.js";
import { addStrength, choose, renderChoice, saveShown, setStrength, toggleMap } from "./screen.js";
import { listen } from "./shortcuts.js";
import { resetView, zoom } from "./viewer.js";

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

addEventListener("pointerdown", ({ target }) => {
  if (!$("save-all").contains(target)) $("save-all").open = false; // it covers what lies below it
});
$("save-all").addEventListener("keydown", ({ key }) => {
  if (key !== "Escape" || !$("save-all").open) return;
  $("save-all").open = false;
  $("save-all").querySelector("summary").focus();
});

const inList = ({ target }) => Boolean(target.closest("#films")); // elsewhere these keys scroll

listen({
  o: () => $("files").click(),
  ArrowLeft: () => films.step(-1),
  ArrowRight: () => films.step(1),
  ArrowUp: (event) => inList(event) && films.step(-1),
  ArrowDown: (event) => inList(event) && films.step(1),
  m: toggleMap,
  n: () => $("network-choice").hidden || $("network").click(),
  "[": () => addStrength(-10),
  "]": () => addStrength(10),
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
