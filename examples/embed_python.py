"""Score a grey PNG or JPEG of 8 bits with a model file: onnxruntime, numpy and pillow, nothing of xraytransfer.

python embed_python.py model.onnx film.png
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image

if len(sys.argv) != 3:
    sys.exit("usage: python embed_python.py model.onnx film.png")
model, film = sys.argv[1:]
if not Path(model).is_file():
    sys.exit(f"{model}: no such file")
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
description = json.loads(session.get_modelmeta().custom_metadata_map["xraytransfer"])
if description["input"].get("size") == "fixed":
    sys.exit(f"{model}: takes films of its own resolution alone; this program is for a file of any size")

# the file's self-test: fine stripes, of which a runtime that leaves out a part of the graph says something else
test = description.get("self_test")
if test is not None:
    row, column = np.arange(test["rows"])[:, None], np.arange(test["columns"])
    ground = 160 - 600 * column * (test["columns"] - 1 - column) // test["columns"] ** 2
    stripes = (ground + 48 * ((row + column) // test["detail"] % 2)).astype(np.uint8)
    (probability,) = session.run(["probability"], {"image": stripes[None, None]})
    difference = np.abs(probability[0] - test["probability"]).max()
    if not difference <= test["tolerance"]:
        sys.exit(f"{model}: this runtime computes something else: the self-test differs by {difference:.3f}")

# any size: the graph resizes; air must be dark and bone bright (MONOCHROME2)
try:
    picture = Image.open(film)
    picture.load()
except OSError as error:  # no such file, a DICOM file, a file that is cut short
    sys.exit(f"{film}: no PNG or JPEG that can be read: {error}")
if picture.mode.startswith(("I", "F")):  # converted by Pillow, all above 255 would be white
    sys.exit(f"{film}: more than 8 bits: convert it to 8 bits first, from its smallest value to its largest")
image = np.asarray(picture.convert("L"))[None, None]

# the model judges first whether this is an upright film of a chest: of any other, its probabilities mean nothing
rule = description.get("acceptance")
if rule is not None:
    (kinds,), (distance,) = session.run(["film_kind", "film_distance"], {"image": image})
    if kinds[0] < rule["minimum_probability"]:
        sys.exit(f"{film}: not scored, no upright film of a chest: {rule['kinds'][1 + int(kinds[1:].argmax())]}")
    if distance > rule["maximum_distance"]:
        sys.exit(f"{film}: not scored, it is unlike the films that the model learned from")

(probability,) = session.run(["probability"], {"image": image})
for observation, value in zip(description["observations"], probability[0]):  # noqa: B905 both are six
    print(f"{observation['identifier']} {value:.6f}")
