"""Score a grey PNG or JPEG of 8 bits with OpenVINO's runtime: pip install openvino numpy pillow.

python embed_openvino.py model.onnx film.png

On processors that have bfloat16, OpenVINO computes in it unless it is told not to, and a probability moves by up to
0.05. The file's self-test, which runs first, notices that. It also notices files of version 0.1, whose antialiased
Resize OpenVINO (2026.4) does not compute: it has none, and this program refuses it.
"""

import json
import sys
from pathlib import Path

import numpy as np
import openvino
from PIL import Image

if len(sys.argv) not in (3, 4):
    sys.exit("usage: python embed_openvino.py model.onnx film.png [precision]")
model, film = sys.argv[1:3]
if not Path(model).is_file():
    sys.exit(f"{model}: no such file")
core = openvino.Core()
graph = core.read_model(model)
# "f32" keeps float32 arithmetic where the processor would take bfloat16
compiled = core.compile_model(graph, "CPU", {"INFERENCE_PRECISION_HINT": sys.argv[3] if len(sys.argv) > 3 else "f32"})


def description(path: str) -> dict:
    """Return the model's description; OpenVINO does not hand metadata out, so it is found in the file."""
    data = Path(path).read_bytes()
    start = data.index(b'{"', data.rindex(b"\n\x0cxraytransfer\x12"))  # protobuf: key, then value
    document, _ = json.JSONDecoder().raw_decode(data[start:].decode("utf-8", "replace"))
    return document


def check_runtime(known: dict) -> None:
    """Stop where this runtime answers the file's made picture, fine stripes, otherwise than the file states."""
    test = known.get("self_test")
    if test is None or known["input"].get("size") == "fixed":
        sys.exit(f"{model}: no file of any size with a self-test; make one with: xraytransfer models renew")
    row, column = np.arange(test["rows"])[:, None], np.arange(test["columns"])
    ground = 160 - 600 * column * (test["columns"] - 1 - column) // test["columns"] ** 2
    stripes = (ground + 48 * ((row + column) // test["detail"] % 2)).astype(np.uint8)
    difference = np.abs(compiled({"image": stripes[None, None]})["probability"][0] - test["probability"]).max()
    if not difference <= test["tolerance"]:
        sys.exit(f"{model}: this runtime computes something else: the self-test differs by {difference:.3f}")


known = description(model)
check_runtime(known)
try:
    picture = Image.open(film)
    picture.load()
except OSError as error:  # no such file, a DICOM file, a file that is cut short
    sys.exit(f"{film}: no PNG or JPEG that can be read: {error}")
if picture.mode.startswith(("I", "F")):  # converted by Pillow, all above 255 would be white
    sys.exit(f"{film}: more than 8 bits: convert it to 8 bits first, from its smallest value to its largest")
answers = compiled({"image": np.asarray(picture.convert("L"))[None, None]})  # any size: the graph resizes

# the model judges first whether this is an upright film of a chest: of any other, its probabilities mean nothing
rule = known.get("acceptance")
if rule is not None:
    kinds, distance = answers["film_kind"][0], answers["film_distance"][0]
    if kinds[0] < rule["minimum_probability"]:
        sys.exit(f"{film}: not scored, no upright film of a chest: {rule['kinds'][1 + int(kinds[1:].argmax())]}")
    if distance > rule["maximum_distance"]:
        sys.exit(f"{film}: not scored, it is unlike the films that the model learned from")

for observation, value in zip(known["observations"], answers["probability"][0]):  # noqa: B905 both are six
    print(f"{observation['identifier']} {value:.6f}")
