"""Score any film (DICOM too) with xraytransfer itself: the few lines that the others are measured by.

python embed_xraytransfer.py model.onnx film.dcm
"""

import sys

import xraytransfer

if len(sys.argv) != 3:
    sys.exit("usage: python embed_xraytransfer.py model.onnx film.dcm")
model, film = sys.argv[1:]
try:
    prediction = xraytransfer.load(model).predict(film)
except xraytransfer.XrayTransferError as error:  # no film, no model file, or a film that the model refuses
    sys.exit(str(error))

for observation, value in zip(xraytransfer.OBSERVATIONS, prediction.probability, strict=True):
    print(f"{observation.identifier} {value:.6f}")
