// The client: talks to the server, one film per request, the token in memory only. No promise of it is rejected.

const PATIENCE = 600_000; // milliseconds until a request that is not answered counts as lost

let token = null;

export function useToken(value) {
  token = value;
}

/** The media type of a film, by its first bytes; whatever is no picture is left to the server as DICOM. */
async function kindOf(file) {
  const head = new Uint8Array(await file.slice(0, 8).arrayBuffer());
  if (head[0] === 0x89 && head[1] === 0x50) return "image/png";
  if (head[0] === 0xff && head[1] === 0xd8) return "image/jpeg";
  return "application/dicom";
}

const made = (reason, title, detail) => ({ problem: { status: 0, reason, title, detail } });

/**
 * Post a film and read the answer with `read`, a function of the response.
 * Resolves to {value}, or to {problem, retryAfter}: a problem document (RFC 9457), or one made here where the file
 * cannot be read any more or the server is out of reach.
 */
async function post(path, file, read, stop) {
  let kind;
  try {
    kind = await kindOf(file);
  } catch {
    return made("unreadable", "the file cannot be read", "It may have been moved or changed. Add it again.");
  }
  const headers = { "Content-Type": kind };
  if (token) headers.Authorization = `Bearer ${token}`;
  const late = AbortSignal.timeout(PATIENCE);
  try {
    const signal = stop ? AbortSignal.any([stop, late]) : late;
    const response = await fetch(path, { method: "POST", headers, body: file, signal });
    if (response.ok) return { value: await read(response) };
    return await problemOf(response);
  } catch {
    if (stop?.aborted) return made("stopped", "stopped", "");
    if (late.aborted) return made("unreachable", "the server has not answered for ten minutes", "Try again later.");
    return made("unreachable", "the server cannot be reached", "Check that it runs, then try again.");
  }
}

async function problemOf(response) {
  const retryAfter = Number(response.headers.get("Retry-After")) || 2;
  try {
    return { problem: { detail: "", ...(await response.json()) }, retryAfter };
  } catch {
    return { ...made("unreachable", `the server answered ${response.status}`, ""), retryAfter };
  }
}

function queryOf({ anyModality, anyFilm }, more = {}) {
  const query = new URLSearchParams(more);
  if (anyModality) query.set("any_modality", "true");
  if (anyFilm) query.set("any_film", "true");
  return query;
}

const json = (response) => response.json();
const blob = (response) => response.blob();

/** Score a film: {value: the answer, with picture and maps} or {problem, retryAfter}. */
export function score(file, overruled, stop) {
  return post(`/v1/predict?${queryOf(overruled, { picture: "1600", map: "values" })}`, file, json, stop);
}

/** The picture of a film that was refused, at its own size where that is no more than 4096: {value: {rows, columns, png}}. */
export async function look(file, stop) {
  const overruled = queryOf({ anyModality: true, anyFilm: true }, { picture: "4096" });
  const answer = await post(`/v1/predict?${overruled}`, file, json, stop);
  return answer.value ? { value: answer.value.picture } : answer;
}

/** The structured report on a film: {value: Blob} or {problem, retryAfter}. */
export function report(file, overruled, stop) {
  return post(`/v1/sr?${queryOf(overruled)}`, file, blob, stop);
}

async function ask(path) {
  try {
    const response = await fetch(path, { headers: token ? { Authorization: `Bearer ${token}` } : {} });
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

/** Whether films are scored, by which model and on what; null if the server does not say. */
export const ready = () => ask("/readyz");

/** The model's description; null where the server does not give it. */
export const describe = async () => (await ask("/v1/model"))?.model ?? null;
