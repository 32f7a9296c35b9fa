// The patient: name, ID, date and accession number out of a DICOM header. Read in this tab, never sent or saved.

const ENOUGH = 1 << 20; // bytes that are read; what is asked for stands at the beginning of the header
const WANTED = { "00080020": "date", "00080050": "accession", "00100010": "name", "00100020": "id" };
const CHARACTER_SET = "00080005";
const LONG = new Set(["OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"]); // PS3.5 7.1.2
const UNDEFINED = 0xffffffff;
const DEFLATED = "1.2.840.10008.1.2.1.99";
// Specific Character Set (PS3.3 C.12.1.1.2) -> the browser's name of it
const SETS = {
  "ISO_IR 192": "utf-8", GB18030: "gb18030", GBK: "gbk", "ISO_IR 100": "windows-1252", "ISO_IR 101": "iso-8859-2",
  "ISO_IR 109": "iso-8859-3", "ISO_IR 110": "iso-8859-4", "ISO_IR 144": "iso-8859-5", "ISO_IR 127": "iso-8859-6",
  "ISO_IR 126": "iso-8859-7", "ISO_IR 138": "iso-8859-8", "ISO_IR 148": "windows-1254", "ISO_IR 203": "iso-8859-15",
  "ISO_IR 166": "windows-874", "ISO_IR 13": "shift_jis", "ISO_IR 87": "iso-2022-jp", "ISO_IR 159": "iso-2022-jp",
  "ISO_IR 149": "euc-kr", "ISO_IR 58": "gb18030",
};

/** {name, id, date, accession} of a DICOM file, texts or absent; null where the file is none or cannot be read. */
export async function patientOf(file) {
  try {
    const start = new Uint8Array(await file.slice(0, ENOUGH).arrayBuffer());
    const values = await headerOf(start);
    return values && readable(values);
  } catch {
    return null;
  }
}

async function headerOf(start) {
  if (start[0] === 0x89 || start[0] === 0xff) return null;
  let at = String.fromCharCode(...start.slice(128, 132)) === "DICM" ? 132 : 0;
  const meta = {};
  if (start[at] === 2 && start[at + 1] === 0) at = elements(start, at, { explicit: true, little: true, until: 0x0002 }, meta);
  const syntax = meta["00020010"] ? text(meta["00020010"], "ascii") : "";
  let body = start.subarray(at);
  if (syntax === DEFLATED) body = await inflated(body);
  const implicit = syntax === "1.2.840.10008.1.2" || (!syntax && !/^[A-Z]{2}$/.test(String.fromCharCode(body[4], body[5])));
  const values = {};
  elements(body, 0, { explicit: !implicit, little: syntax !== "1.2.840.10008.1.2.2", until: 0x0010 }, values);
  return Object.keys(values).length ? values : null;
}

/** The beginning of a deflated data set; that it is cut off is no fault. */
async function inflated(bytes) {
  const reader = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate-raw")).getReader();
  const { value } = await reader.read();
  void reader.cancel().catch(() => {});
  return value;
}

/** Read elements of groups up to `until` into `values`; returns the place after the last one. */
function elements(bytes, at, encoding, values) {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  while (at + 8 <= bytes.length) {
    const { tag, group, start, length } = headOf(view, at, encoding);
    if (group > encoding.until && group !== 0xfffe) return at;
    if (length === UNDEFINED) at = afterSequence(view, start, encoding);
    else {
      if (tag in WANTED || tag === CHARACTER_SET || tag === "00020010") values[tag] = bytes.subarray(start, start + length);
      at = start + length;
    }
  }
  return at;
}

function headOf(view, at, { explicit, little }) {
  const group = view.getUint16(at, little);
  const tag = [group, view.getUint16(at + 2, little)].map((part) => part.toString(16).padStart(4, "0")).join("");
  if (!explicit || group === 0xfffe) return { tag, group, start: at + 8, length: view.getUint32(at + 4, little) };
  const kind = String.fromCharCode(view.getUint8(at + 4), view.getUint8(at + 5));
  if (!LONG.has(kind)) return { tag, group, start: at + 8, length: view.getUint16(at + 6, little) };
  return { tag, group, start: at + 12, length: view.getUint32(at + 8, little) };
}

/** The place after a sequence or item without a length, whose delimiter is looked for at its own depth. */
function afterSequence(view, at, encoding) {
  let depth = 1;
  while (depth && at + 8 <= view.byteLength) {
    const { tag, start, length } = headOf(view, at, encoding);
    if (tag === "fffee0dd" || tag === "fffee00d") depth -= 1;
    else if (length === UNDEFINED) depth += 1;
    at = length === UNDEFINED || tag === "fffee000" ? start : start + length;
    if (tag === "fffee000" && length !== UNDEFINED) at = start + length;
  }
  return at;
}

function readable(values) {
  const sets = values[CHARACTER_SET] ? text(values[CHARACTER_SET], "ascii").split("\\") : [];
  const patient = {};
  for (const [tag, key] of Object.entries(WANTED)) {
    if (values[tag]) patient[key] = inSets(values[tag], sets.map((name) => name.trim().replace(/^ISO.?2022.IR/, "ISO_IR")));
  }
  if (patient.name) patient.name = patient.name.split("=").filter(Boolean).map(spoken).join(" = ");
  if (/^\d{8}$/.test(patient.date ?? "")) patient.date = patient.date.replace(/(....)(..)(..)/, "$1-$2-$3");
  return patient;
}

// family^given^middle^prefix^suffix: PS3.5 6.2
const spoken = (group) => group.split("^").filter(Boolean).join(", ").trim();

function inSets(bytes, sets) {
  const name = sets.map((set) => SETS[set]).findLast(Boolean) ?? "windows-1252";
  if (name === "euc-kr" || (name === "gb18030" && sets.includes("ISO_IR 58"))) return text(withoutEscapes(bytes), name);
  return text(bytes, name);
}

/** The bytes without the escape sequences that switch to a set of two bytes, whose bytes the set's decoder knows anyway. */
function withoutEscapes(bytes) {
  const kept = [];
  for (let place = 0; place < bytes.length; place += 1) {
    if (bytes[place] === 0x1b && bytes[place + 1] === 0x24) place += 3;
    else kept.push(bytes[place]);
  }
  return new Uint8Array(kept);
}

function text(bytes, name) {
  return new TextDecoder(name).decode(bytes).replace(/[\0 ]+$/, "").trim();
}
