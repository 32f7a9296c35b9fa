"""Score a grey PNG or JPEG with OpenVINO's runtime: pip install openvino numpy pillow.

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


known = description(model)
rows, columns = known["input"]["resolution"]
small = Image.open(film).convert("L").resize((columns, rows), Image.Resampling.BILINEAR)
probability = compiled({"image": np.asarray(small)[None, None]})["probability"]

for observation, value in zip(known["observations"], probability[0]):  # noqa: B905 both are six
    print(f"{observation['identifier']} {value:.6f}")
