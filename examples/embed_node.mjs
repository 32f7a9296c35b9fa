// Score a grey PNG in Node: npm ci, then  node embed_node.mjs model.onnx film.png
import { readFileSync } from "node:fs";
import ort from "onnxruntime-node";
import { PNG } from "pngjs";

const OBSERVATIONS = [
  "atelectasis", "cardiomegaly", "consolidation", "edema", "no_finding", "pleural_effusion",
];

const [model, film] = process.argv.slice(2);
const session = await ort.InferenceSession.create(model);
const { width, height, data } = PNG.sync.read(readFileSync(film)); // red, green, blue, alpha
const grey = Uint8Array.from({ length: width * height }, (_, i) => data[4 * i]);
const image = new ort.Tensor("uint8", grey, [1, 1, height, width]); // any size: the graph resizes
const { probability } = await session.run({ image }, ["probability"]);

OBSERVATIONS.forEach((name, i) => console.log(`${name} ${probability.data[i].toFixed(6)}`));
