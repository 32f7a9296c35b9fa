// Talks to the server: one film per request, the token in memory only.

let token = null;

export function useToken(value) {
  token = value;
}

/** The media type of a film, by its first bytes; whatever is no picture is left to the server as DICOM. */
export async function kindOf(file) {
  const head = new Uint8Array(await file.slice(0, 8).arrayBuffer());
  if (head[0] === 0x89 && head[1] === 0x50) return "image/png";
  if (head[0] === 0xff && head[1] === 0xd8) return "image/jpeg";
  return "application/dicom";
}

/**
 * Post a film.
 * Resolves to {body: Response} when answered with 200, else to {problem, retryAfter}: a problem document (RFC 9457),
 * or one made here when the server is out of reach.
 */
async function post(path, file, kind) {
  const headers = { "Content-Type": kind };
  if (token) headers.Authorization = `Bearer ${token}`;
  let response;
  try {
    response = await fetch(path, { method: "POST", headers, body: file });
  } catch {
    return { problem: { status: 0, reason: "unreachable", title: "the server cannot be reached", detail: "Check that it runs, then try again." } };
  }
  if (response.ok) return { body: response };
  const retryAfter = Number(response.headers.get("Retry-After")) || 2;
  try {
    return { problem: await response.json(), retryAfter };
  } catch {
    return { problem: { status: response.status, reason: "unreachable", title: `the server answered ${response.status}`, detail: "" }, retryAfter };
  }
}

export async function score(file, { anyModality, anyFilm }) {
  const kind = await kindOf(file);
  const query = new URLSearchParams({ picture: "1600", map: "values" });
  if (anyModality) query.set("any_modality", "true");
  if (anyFilm) query.set("any_film", "true");
  const answer = await post(`/v1/predict?${query}`, file, kind);
  return answer.body ? { result: await answer.body.json() } : answer;
}

export async function report(file, { anyModality, anyFilm }) {
  const query = new URLSearchParams();
  if (anyModality) query.set("any_modality", "true");
  if (anyFilm) query.set("any_film", "true");
  const answer = await post(`/v1/sr?${query}`, file, "application/dicom");
  return answer.body ? { blob: await answer.body.blob() } : answer;
}

export async function ready() {
  try {
    const response = await fetch("/readyz");
    return await response.json();
  } catch {
    return { ready: false };
  }
}
