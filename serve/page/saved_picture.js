// The saved picture: the film as it is on the screen, with notice, warnings, observation and probability burned in.

import { $ } from "./element.js";
import { percent, times } from "./numbers.js";
import { warnings } from "./summary.js";

const AMBER = "#ffbe3c";
const RED = "#ff8f7d";

/**
 * A PNG blob of what is shown: the panels, each a list of {image, opacity} drawn over one another, between a banner with
 * the research notice and any warnings, and a caption with the chosen observation and all six probabilities.
 */
export function savedPicture(film, chosen, panels, mapWords) {
  const [width, height] = sizeOf(panels[0][0].image);
  const unit = Math.max(12, Math.round((width * panels.length) / 62)); // pixels: the height of the letters
  const sheet = document.createElement("canvas");
  sheet.width = Math.max(width * panels.length, 420);
  const context = sheet.getContext("2d");
  const lines = (text, size) => wrapped(context, text, sheet.width - 2 * unit, size);
  const above = [
    { lines: lines($("notice").textContent, unit), size: unit, ink: "#000", ground: AMBER },
    ...warnings(film).map((text) => ({ lines: lines(text, unit), size: unit, ink: "#000", ground: RED })),
  ];
  const below = captions(film, chosen, mapWords).map(([text, share]) => ({ lines: lines(text, unit * share), size: unit * share, ink: "#fff", ground: "#000" }));
  const tall = (blocks) => blocks.reduce((sum, block) => sum + block.lines.length * block.size * 1.5 + unit * 0.4, 0);
  sheet.height = Math.ceil(tall(above) + height + tall(below));
  context.fillRect(0, 0, sheet.width, sheet.height);
  let top = drawBlocks(context, above, 0, unit);
  drawPanels(context, panels, top, [width, height]);
  drawBlocks(context, below, top + height, unit);
  return new Promise((resolve, reject) => {
    sheet.toBlob((blob) => (blob ? resolve(blob) : reject(new Error("the browser could not write the picture"))), "image/png");
  });
}

const sizeOf = (image) => [image.naturalWidth || image.width, image.naturalHeight || image.height];

function captions(film, chosen, mapWords) {
  const { observations, model } = film.result;
  const row = observations.find(({ identifier }) => identifier === chosen);
  const against = row.threshold ? `, ${times(row.probability, row.threshold)} × the threshold of ${percent(row.threshold)}` : "";
  const verdict = row.decision === null ? "" : row.decision ? " (above threshold)" : " (below threshold)";
  return [
    [`${row.name}: ${percent(row.probability)}${against}${verdict}`, 1.2],
    [observations.map(({ name, probability }) => `${name} ${percent(probability)}`).join("  ·  "), 0.9],
    [mapWords, 0.9],
    [`Model ${model.name} ${model.version}, ${model.sha256.slice(0, 12)}`, 0.9],
  ];
}

function drawBlocks(context, blocks, top, unit) {
  for (const { lines, size, ink, ground } of blocks) {
    const height = lines.length * size * 1.5 + unit * 0.4;
    context.fillStyle = ground;
    context.fillRect(0, top, context.canvas.width, height);
    context.fillStyle = ink;
    context.font = fontOf(size);
    context.textBaseline = "middle";
    lines.forEach((line, place) => context.fillText(line, unit, top + unit * 0.2 + (place + 0.5) * size * 1.5));
    top += height;
  }
  return top;
}

function drawPanels(context, panels, top, [width, height]) {
  panels.forEach((layers, place) => {
    for (const { image, opacity } of layers) {
      context.globalAlpha = opacity;
      context.imageSmoothingQuality = "high";
      context.drawImage(image, place * width, top, width, height);
    }
  });
  context.globalAlpha = 1;
}

const fontOf = (size) => `600 ${size}px system-ui, "Liberation Sans", sans-serif`;

function wrapped(context, text, width, size) {
  context.font = fontOf(size);
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = lines.at(-1) ? `${lines.at(-1)} ${word}` : word;
    if (context.measureText(longer).width <= width || !lines.at(-1)) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}
