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
from PIL import Image, ImageOps

LARGEST = 100_000_000  # pixels
Image.MAX_IMAGE_PIXELS = None  # its own limit is a warning first


def description(path: str) -> dict:
    """Return the model's description; OpenVINO does not hand metadata out, so it is found in the file."""
    try:
        data = Path(path).read_bytes()
        start = data.index(b'{"', data.rindex(b"\n\x0cxraytransfer\x12"))  # protobuf: key, then value
        return json.JSONDecoder().raw_decode(data[start:].decode("utf-8", "replace"))[0]
    except OSError as error:
        sys.exit(f"{path}: {error.strerror}")
    except ValueError:
        sys.exit(f"{path}: no model file of xraytransfer, or a program removed its description")


def check_description(known: dict) -> None:
    """Stop where the file asks for what this program does not do."""
    if known["schema_version"] > 3:
        sys.exit(f"{model}: its description has version {known['schema_version']}; this program understands 1 to 3")
    if known["input"]["intensity"] != "voi":  # which takes 8 bits as they are; the others change them
        sys.exit(f"{model}: needs grey levels of the recipe {known['input']['intensity']}; this program makes only voi")


def check_runtime(known: dict) -> None:
    """Stop where this runtime answers the file's made picture, fine stripes, otherwise than the file states."""
    test = known["self_test"]
    row, column = np.arange(test["rows"])[:, None], np.arange(test["columns"])
    ground = 160 - 600 * column * (test["columns"] - 1 - column) // test["columns"] ** 2
    stripes = (ground + 48 * ((row + column) // test["detail"] % 2)).astype(np.uint8)
    difference = np.abs(compiled({"image": stripes[None, None]})["probability"][0] - test["probability"]).max()
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


if len(sys.argv) not in (3, 4):
    sys.exit("usage: python embed_openvino.py model.onnx film.png [precision]")
model, film = sys.argv[1:3]
known = description(model)
check_description(known)
if known["input"].get("size") == "fixed":
    sys.exit(f"{model}: takes films of its own resolution alone; this program is for a file of any size")
if "self_test" not in known:
    sys.exit(f"{model}: has no self-test, as files of version 0.1; convert it with: xraytransfer models renew")
# "f32" keeps float32 arithmetic where the processor would take bfloat16
settings = {"INFERENCE_PRECISION_HINT": sys.argv[3] if len(sys.argv) > 3 else "f32"}
try:
    compiled = openvino.Core().compile_model(model, "CPU", settings)
except RuntimeError as error:  # of several lines
    sys.exit(f"{model}: OpenVINO cannot load it: {' '.join(str(error).split())}")
check_runtime(known)
image = read_film(film)[None, None]  # any size: the graph resizes
answers = compiled({"image": image})

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
