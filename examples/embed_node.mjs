// Score a grey PNG of 8 bits in Node, which reads no JPEG by itself: npm ci --ignore-scripts, then  node embed_node.mjs model.onnx film.png
import { existsSync, readFileSync } from "node:fs";
import ort from "onnxruntime-node";
import { PNG } from "pngjs";
import { bits, checkRuntime, description, refusal } from "./description.mjs";

const [model, film] = process.argv.slice(2);
const stop = (reason, about = film) => {
  console.error(`${about}: ${reason}`);
  process.exit(1);
};
if (!film) stop("node embed_node.mjs model.onnx film.png", "usage");
for (const path of [model, film]) if (!existsSync(path)) stop("no such file", path);
const bytes = readFileSync(model), picture = readFileSync(film);
const known = description(bytes), { observations, acceptance } = known;
if (picture[0] !== 0x89) stop("no PNG; convert it first, this program reads neither JPEG nor DICOM");
if (bits(picture) > 8) stop("more than 8 bits: convert it to 8 bits first, from its smallest value to its largest");

const session = await ort.InferenceSession.create(bytes);
await checkRuntime(session, ort, known).catch((error) => {
  console.error(`${model}: ${error.message}`);
  process.exit(3);
});
const { width, height, data } = PNG.sync.read(picture); // red, green, blue, alpha
const grey = Uint8Array.from({ length: width * height }, (_, i) => data[4 * i]);
const image = new ort.Tensor("uint8", grey, [1, 1, height, width]); // any size: the graph resizes
const wanted = ["probability", ...(acceptance ? ["film_kind", "film_distance"] : [])];
const { probability, film_kind, film_distance } = await session.run({ image }, wanted);

const reason = acceptance && refusal(acceptance, film_kind, film_distance);
if (reason) stop(reason);
observations.forEach(({ identifier }, i) => console.log(`${identifier} ${probability.data[i].toFixed(6)}`));
