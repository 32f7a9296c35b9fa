"""What decoding at reduced resolution changes: probabilities, decisions, verdicts of the quality gate, and time.

    python benchmarks/reduced_decoding.py FILM...

Each film (DICOM, PNG or JPEG; folders with all that is below them) is read once, stored as JPEG 2000 lossless and
lossy, High-Throughput JPEG 2000 and JPEG baseline, and scored by the shipped model after full and after reduced
decoding. Printed for each codec: films, mean and largest change of a probability, decisions that change side, verdicts
of the quality gate that change, and the median time of reading.
"""

from __future__ import annotations

import argparse
import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from xraytransfer import Classifier, Prediction, XrayTransferError, load, read_radiograph
from xraytransfer.cli.film_list import films

CODECS: dict[str, tuple[str, int, Callable[[np.ndarray], bytes]]] = {
    "JPEG 2000 lossless": (
        "1.2.840.10008.1.2.4.90",
        12,
        lambda words: imagecodecs.jpeg2k_encode(words, level=0, reversible=True, codecformat="j2k", bitspersample=12),
    ),
    "JPEG 2000, 70 dB": (
        "1.2.840.10008.1.2.4.91",
        12,
        lambda words: imagecodecs.jpeg2k_encode(words, level=70, reversible=False, codecformat="j2k", bitspersample=12),
    ),
    "HTJ2K lossless": ("1.2.840.10008.1.2.4.201", 16, lambda words: imagecodecs.htj2k_encode(words, reversible=True)),
    "JPEG baseline": ("1.2.840.10008.1.2.4.50", 8, lambda words: imagecodecs.jpeg8_encode(words, 95)),
}


def film(pixels: np.ndarray, syntax: str, bits: int, stream: bytes) -> bytes:
    """Return a DICOM file of a codestream."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID("1.2.840.10008.5.1.4.1.1.1"), UID("1.2.3")
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "CR", "CHEST", "PA"
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = 8 if bits == 8 else 16
    dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = bits, bits - 1, 0
    if bits != 8:
        dataset.WindowCenter, dataset.WindowWidth = 1 << (bits - 1), 1 << bits
    dataset.PixelData = encapsulate([stream + b"\0" * (len(stream) % 2)])
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def score(classifier: Classifier, data: bytes, side: int | None) -> tuple[Prediction | str, float, int]:
    """Return the prediction or the reason for refusal, the seconds of reading, and the reduction."""
    started = time.perf_counter()
    radiograph = read_radiograph(data, reduced_to=side)
    seconds = time.perf_counter() - started
    try:
        return classifier.predict(radiograph), seconds, radiograph.reduction
    except XrayTransferError as error:
        return str(getattr(error, "reason", error)), seconds, radiograph.reduction


def compare(classifier: Classifier, sources: list[Any], codec: str, side: int) -> str:
    """Return one row of the table."""
    syntax, bits, encode = CODECS[codec]
    changes, flips, verdicts = [], 0, 0
    times: dict[bool, list[float]] = {False: [], True: []}
    for source in sources:
        pixels = read_radiograph(source).pixels
        words = pixels if bits == 8 else np.rint(pixels * (((1 << bits) - 1) / 255)).astype(np.uint16)
        data = film(pixels, syntax, bits, encode(words))
        full, seconds, _ = score(classifier, data, None)
        times[False].append(seconds)
        small, seconds, reduction = score(classifier, data, side)
        times[True].append(seconds)
        if reduction == 1:
            continue
        if isinstance(full, Prediction) and isinstance(small, Prediction):
            changes.append(float(np.abs(full.probability - small.probability).max()))
            flips += sum(one != two for one, two in zip(full.decision, small.decision, strict=True))
        verdicts += isinstance(full, Prediction) != isinstance(small, Prediction)
    full_ms, small_ms = (1000 * statistics.median(times[key]) for key in (False, True))
    if not changes:
        return f"{codec:20}  no film is large enough"
    return (
        f"{codec:20} {len(changes):5} {np.mean(changes):8.5f} {max(changes):8.5f} {flips:6} {verdicts:9}"
        f" {full_ms:9.1f} {small_ms:11.1f}"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("films", nargs="+", type=Path)
    sources = list(films([str(path) for path in parser.parse_args().films]))
    classifier = load(device="cpu")
    side = min(classifier.description.resolution)
    heads = ("mean", "largest", "flips", "verdicts", "full, ms", "reduced, ms")
    print(f"{'codec':20} {'films':>5} " + " ".join(f"{head:>8}" for head in heads))
    for codec in CODECS:
        print(compare(classifier, sources, codec, side), flush=True)


if __name__ == "__main__":
    main()
