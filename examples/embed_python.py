"""Score a grey PNG or JPEG with a model file: onnxruntime, numpy and pillow, nothing of xraytransfer.

python embed_python.py model.onnx film.png
"""

import json
import sys

import numpy as np
import onnxruntime
from PIL import Image

model, film = sys.argv[1:3]
session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
description = json.loads(session.get_modelmeta().custom_metadata_map["xraytransfer"])

# any size: the graph resizes; air must be dark and bone bright (MONOCHROME2)
image = np.asarray(Image.open(film).convert("L"))[None, None]
(probability,) = session.run(["probability"], {"image": image})

for observation, value in zip(description["observations"], probability[0]):  # noqa: B905 both are six
    print(f"{observation['identifier']} {value:.6f}")
