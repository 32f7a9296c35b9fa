// Documents: results as JSON and CSV, each with the film's name, its warnings and the research notice.

import { $ } from "./element.js";
import { changed } from "./films.js";
import { changeWords, warnings } from "./summary.js";

/** One film's result or refusal as an object for JSON: the server's answer, and what the page knows. Pixels stay out. */
export function documentOf(film) {
  const page = {
    file: film.name,
    warnings: warnings(film),
    changed_by_hand: changed(film) ? changeWords(film.change) : null,
  };
  if (film.result) {
    const { picture, ...rest } = film.result;
    return { ...rest, ...page, rows: picture.rows, columns: picture.columns };
  }
  const { reason, title, detail } = film.problem ?? { reason: film.state, title: "not scored yet", detail: "" };
  return { ok: false, reason, title, message: detail, ...page, notice: $("notice").textContent };
}

/** All films as one CSV text; the columns begin as those of `xraytransfer predict --format csv`. */
export function csvOf(films) {
  const known = films.find((film) => film.result)?.result.observations.map((row) => row.identifier) ?? [];
  const columns = [
    "source", "status", ...known, ...known.map((name) => `${name}_decision`), ...known.map((name) => `${name}_threshold`),
    "operating_point", "view_position", "provider", "model", "model_sha256", "message", "warnings", "changed_by_hand", "notice",
  ];
  return [columns, ...films.map((film) => rowOf(film, known))].map((row) => `${row.map(cell).join(",")}\r\n`).join("");
}

function rowOf(film, known) {
  const { result, problem } = film;
  const tail = [warnings(film).join(" "), changed(film) ? changeWords(film.change) : "", $("notice").textContent];
  if (!result) {
    const empty = Array.from({ length: 3 * known.length + 5 }, () => "");
    return [film.name, problem?.reason ?? film.state, ...empty, problem ? `${problem.title}. ${problem.detail}` : "", ...tail];
  }
  const rows = known.map((name) => result.observations.find((row) => row.identifier === name));
  return [
    film.name, "ok", ...rows.map((row) => row.probability.toFixed(6)),
    ...rows.map((row) => (row.decision === null ? "" : Number(row.decision))), ...rows.map((row) => row.threshold ?? ""),
    result.operating_point ?? "", result.radiograph.view_position ?? "", result.provider,
    `${result.model.name} ${result.model.version}`, result.model.sha256, "", ...tail,
  ];
}

/** A cell as RFC 4180 has it; a text that a spreadsheet would run as a formula begins with an apostrophe. */
function cell(value) {
  let text = String(value).replace(/[\r\n]+/g, " ");
  if (typeof value === "string" && /^[=+\-@\t]/.test(text)) text = `'${text}`;
  return /[",;]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
