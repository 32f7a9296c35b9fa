"""Score a grey PNG or JPEG of 8 bits with a model file: onnxruntime, numpy and pillow, nothing of xraytransfer.

python embed_python.py model.onnx film.png
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # from 1.29 on it tells Microsoft about machine and model
import onnxruntime

LARGEST = 100_000_000  # pixels
Image.MAX_IMAGE_PIXELS = None  # its own limit is a warning first


def check_description(known: dict) -> None:
    """Stop where the file asks for what this program does not do."""
    if known["schema_version"] > 3:
        sys.exit(f"{model}: its description has version {known['schema_version']}; this program understands 1 to 3")
    if known["input"]["intensity"] != "voi":  # which takes 8 bits as they are; the others change them
        sys.exit(f"{model}: needs grey levels of the recipe {known['input']['intensity']}; this program makes only voi")


def check_runtime(known: dict) -> None:
    """Stop where this runtime answers the file's made picture, fine stripes, otherwise than the file states."""
    test = known.get("self_test")
    if test is None:  # a file of version 0.1
        return
    row, column = np.arange(test["rows"])[:, None], np.arange(test["columns"])
    ground = 160 - 600 * column * (test["columns"] - 1 - column) // test["columns"] ** 2
    stripes = (ground + 48 * ((row + column) // test["detail"] % 2)).astype(np.uint8)
    (probability,) = session.run(["probability"], {"image": stripes[None, None]})
    difference = np.abs(probability[0] - test["probability"]).max()
    if not difference <= test["tolerance"]:
        sys.exit(f"{model}: this runtime computes something else: the self-test differs by {difference:.3f}")


def read_film(path: str) -> np.ndarray:
    """Return the grey levels of a PNG or JPEG, uint8 (rows, columns); stop where they are not certain."""
    try:
        header = Path(path).read_bytes()[:25]
        picture = Image.open(path, formats=("PNG", "JPEG"))
        if picture.width * picture.height > LARGEST:
            sys.exit(f"{path}: {picture.width} x {picture.height} pixels; at most {LARGEST:,} are read")
        upright = ImageOps.exif_transpose(picture)
    except Exception as error:  # noqa: BLE001 no such file, a DICOM file, a damaged one: Pillow raises many kinds
        sys.exit(f"{path}: no PNG or JPEG that can be read: {error}")
    if picture.format == "PNG" and header[24] > 8:  # Pillow cuts them where a film may have only small values
        sys.exit(f"{path}: more than 8 bits: convert it to 8 bits first, as docs/model-file.md says")
    if getattr(picture, "is_animated", False):
        sys.exit(f"{path}: more than one picture; a film has one")
    if upright.mode == "L":
        return np.asarray(upright)
    rgba = np.asarray(upright.convert("RGBA"))  # a grey picture may be stored in colour
    if upright.mode == "CMYK" or (rgba[..., :3] != rgba[..., :1]).any() or (rgba[..., 3] < 255).any():
        sys.exit(f"{path}: coloured or transparent pixels: convert it to an opaque grey picture first")
    return rgba[..., 0]


if len(sys.argv) != 3:
    sys.exit("usage: python embed_python.py model.onnx film.png")
model, film = sys.argv[1:]
if not Path(model).is_file():
    sys.exit(f"{model}: no such file")
try:
    options = onnxruntime.SessionOptions()
    # for int8 files: x86 processors without VNNI add products in 16 bits, which may overflow; others ignore this
    options.add_session_config_entry("session.x64quantprecision", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    known = json.loads(session.get_modelmeta().custom_metadata_map.get("xraytransfer", "null"))
except Exception as error:  # noqa: BLE001 ONNX Runtime raises many kinds
    sys.exit(f"{model}: no model file that can be loaded: {error}")
if known is None:
    sys.exit(f"{model}: no model file of xraytransfer, or a program removed its description")
check_description(known)
if known["input"].get("size") == "fixed":
    sys.exit(f"{model}: takes films of its own resolution alone; this program is for a file of any size")
check_runtime(known)
image = read_film(film)[None, None]  # any size: the graph resizes
names = [output.name for output in session.get_outputs()]
answers = dict(zip(names, session.run(names, {"image": image})))  # noqa: B905 one for each name

# the model judges first whether this is an upright film of a chest: of any other, its probabilities mean nothing
rule = known.get("acceptance")
if rule is not None:
    kinds, distance = answers["film_kind"][0], answers["film_distance"][0]
    if not kinds[0] >= rule["minimum_probability"]:
        sys.exit(f"{film}: not scored, no upright film of a chest: {rule['kinds'][1 + int(kinds[1:].argmax())]}")
    if not distance <= rule["maximum_distance"]:
        sys.exit(f"{film}: not scored, it is unlike the films that the model learned from")
    mirrored = rule.get("minimum_mirrored_probability")
    if mirrored is not None and answers["film_mirrored"][0] >= mirrored:
        print(f"{film}: left and right may be exchanged", file=sys.stderr)

for observation, value in zip(known["observations"], answers["probability"][0]):  # noqa: B905 both are six
    print(f"{observation['identifier']} {value:.6f}")
