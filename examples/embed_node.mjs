// Score a grey PNG of 8 bits in Node, which reads no JPEG by itself: npm ci --ignore-scripts, then  node embed_node.mjs model.onnx film.png
import { readFileSync } from "node:fs";
import { PNG } from "pngjs";
import { checkPicture, checkRuntime, description, greyLevels, isPng, mirrored, refusal } from "./description.mjs";

process.env.ORT_DISABLE_TELEMETRY ??= "1"; // from 1.29 on it tells Microsoft about machine and model
const { default: ort } = await import("onnxruntime-node");

const [model, film] = process.argv.slice(2);
const stop = (about, reason, code = 1) => {
  console.error(`${about}: ${reason}`);
  process.exit(code);
};
if (!film) stop("usage", "node embed_node.mjs model.onnx film.png");

const decoded = (picture) => {
  try {
    return PNG.sync.read(picture);
  } catch (error) {
    throw new Error(`a PNG that is cut short or damaged: ${error.message}`);
  }
};

let known, session;
try {
  const bytes = readFileSync(model);
  known = description(bytes);
  // for int8 files: x86 processors without VNNI add products in 16 bits, which may overflow; others ignore this
  session = await ort.InferenceSession.create(bytes, { extra: { session: { x64quantprecision: "1" } } });
  await checkRuntime(session, ort, known);
} catch (error) {
  stop(model, error.message, 3);
}

let image;
try {
  const picture = readFileSync(film);
  if (!isPng(picture)) throw new Error("no PNG; convert it first, this program reads neither JPEG nor DICOM");
  checkPicture(picture);
  const { width, height, data } = decoded(picture); // red, green, blue, alpha
  image = new ort.Tensor("uint8", greyLevels(data), [1, 1, height, width]); // any size: the graph resizes
} catch (error) {
  stop(film, error.message);
}

const answers = await session.run({ image });
const reason = refusal(known.acceptance, answers);
if (reason) stop(film, reason);
if (mirrored(known.acceptance, answers)) console.error(`${film}: left and right may be exchanged`);
known.observations.forEach(({ identifier }, i) => console.log(`${identifier} ${answers.probability.data[i].toFixed(6)}`));
