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

for note in prediction.radiograph["notes"]:  # what was done to the film, and what makes the answer doubtful
    print(f"{film}: {note}", file=sys.stderr)
for observation, value in zip(xraytransfer.OBSERVATIONS, prediction.probability, strict=True):
    print(f"{observation.identifier} {value:.6f}")
