// Saving: one film's result, or all of them, as files.

import { hush, tell } from "./announcer.js";
import { archiveOf, differentNames } from "./archive.js";
import { report } from "./client.js";
import { csvOf, documentOf } from "./documents.js";
import { $, element } from "./element.js";
import { changed, films } from "./films.js";

const stemOf = (film) => film.name.split("/").at(-1).replace(/\.(dcm|dicom|png|jpe?g)$/i, "");

function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

const json = (document) => new Blob([JSON.stringify(document, null, 1)], { type: "application/json" });

/** Why a film has no structured report; empty where it has one. */
export function noReport(film) {
  if (!film.result) return "not scored";
  if (changed(film)) return "changed by hand: the report would be about another picture than the film";
  if (film.result.radiograph.format !== "dicom") return "only films that came as DICOM have one";
  return "";
}

/** Do a thing that may fail, and say so at the foot of the page where it does. */
export async function tried(what, action) {
  try {
    await action();
  } catch (error) {
    tell(`${what} failed: ${error.message ?? error}.`);
  }
}

export const saveJson = (film) => save(json(documentOf(film)), `${stemOf(film)}.xraytransfer.json`);
export const savePicture = (film, picture) => save(picture, `${stemOf(film)}.xraytransfer.png`);

export async function saveReport(film) {
  $("save-state").textContent = "Writing the report";
  const { value, problem } = await reportOf(film);
  if (film === films.current) $("save-state").textContent = problem ? `No report: ${problem.detail || problem.title}` : "";
  if (value) save(value, `${stemOf(film)}.sr.dcm`);
}

/** A film's report; a busy server is asked again. */
async function reportOf(film, signal) {
  for (;;) {
    const answer = await report(film.body, film, signal);
    if (answer.problem?.status !== 503 || signal?.aborted) return answer;
    await new Promise((resolve) => setTimeout(resolve, 1000 * answer.retryAfter));
  }
}

export const saveAllJson = () => save(json({ notice: $("notice").textContent, results: films.all.map(documentOf) }), "xraytransfer.json");
export const saveAllCsv = () => save(new Blob([csvOf(films.all)], { type: "text/csv" }), "xraytransfer.csv");

/** Save the structured reports of all films in one ZIP file, with a text that names the films that have none, and why. */
export async function saveAllReports() {
  const stop = new AbortController();
  const all = [...films.all];
  const [entries, without] = [[], []];
  for (const [place, film] of all.entries()) {
    tell(`Report ${place + 1} of ${all.length}`, { text: "Stop", run: () => stop.abort() });
    const missing = noReport(film);
    const { value, problem } = missing ? {} : await reportOf(film, stop.signal);
    if (stop.signal.aborted) return hush();
    if (value) entries.push({ name: `${stemOf(film)}.sr.dcm`, bytes: new Uint8Array(await value.arrayBuffer()) });
    else without.push(`${film.name}: ${missing || problem.detail || problem.title}`);
  }
  const text = [$("notice").textContent, "", `${entries.length} reports, ${without.length} films without one.`, ...without, ""].join("\r\n");
  entries.push({ name: "films-without-a-report.txt", bytes: new TextEncoder().encode(text) });
  const names = differentNames(entries.map(({ name }) => name));
  save(archiveOf(entries.map(({ bytes }, place) => ({ name: names[place], bytes }))), "xraytransfer-reports.zip");
  tell(`${entries.length - 1} reports are saved${without.length ? `; ${without.length} films have none, films-without-a-report.txt says why` : ""}.`);
}
