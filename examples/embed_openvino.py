"""Score a grey PNG or JPEG of 8 bits with OpenVINO's runtime: pip install openvino numpy pillow.

python embed_openvino.py model.onnx film.png

OpenVINO (2026.4) drops the `antialias` attribute of ONNX's Resize without a word, so a large film given whole
would be sampled, not averaged, and the answer would be wrong. Resized with Pillow first, the graph's own
resize has nothing to do, and the answer is the same as everywhere.
"""

import json
import sys
from pathlib import Path

import numpy as np
import openvino
from PIL import Image

model, film = sys.argv[1:3]
core = openvino.Core()
graph = core.read_model(model)
# keep float32 arithmetic where the processor would take bfloat16
compiled = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


def description(path: str) -> dict:
    """Return the model's description; OpenVINO does not hand metadata out, so it is found in the file."""
    data = Path(path).read_bytes()
    start = data.index(b'{"', data.rindex(b"\n\x0cxraytransfer\x12"))  # protobuf: key, then value
    document, _ = json.JSONDecoder().raw_decode(data[start:].decode("utf-8", "replace"))
    return document


def answers(picture: Image.Image, size: tuple[int, int]) -> dict:
    """Return what the graph says of a picture resized to its columns and rows."""
    small = picture.resize(size, Image.Resampling.BILINEAR)
    return compiled({"image": np.asarray(small)[None, None]})


known = description(model)
picture = Image.open(film)
if picture.mode.startswith(("I", "F")):  # converted by Pillow, all above 255 would be white
    sys.exit(f"{film}: more than 8 bits: convert it to 8 bits first, from its smallest value to its largest")
picture = picture.convert("L")

# the model judges first whether this is an upright film of a chest: of any other, its probabilities mean nothing
rule = known.get("acceptance")
if rule is not None:
    judged = answers(picture, (rule["side"], rule["side"]))
    kinds, distance = judged["film_kind"][0], judged["film_distance"][0]
    if kinds[0] < rule["minimum_probability"]:
        sys.exit(f"{film}: not scored, no upright film of a chest: {rule['kinds'][1 + int(kinds[1:].argmax())]}")
    if distance > rule["maximum_distance"]:
        sys.exit(f"{film}: not scored, it is unlike the films that the model learned from")

rows, columns = known["input"]["resolution"]
probability = answers(picture, (columns, rows))["probability"]
for observation, value in zip(known["observations"], probability[0]):  # noqa: B905 both are six
    print(f"{observation['identifier']} {value:.6f}")
