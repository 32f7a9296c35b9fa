"""Score any film (DICOM too) with xraytransfer itself: the twelve lines that the others are measured by.

python embed_xraytransfer.py model.onnx film.dcm
"""

import sys

import xraytransfer

model, film = sys.argv[1:3]
prediction = xraytransfer.load(model).predict(film)

for observation, value in zip(xraytransfer.OBSERVATIONS, prediction.probability, strict=True):
    print(f"{observation.identifier} {value:.6f}")
