"""How long reading one 2500 x 2048 film takes, against the least that any program must do for it.

Run: ``python benchmarks/read_film.py``

The floor is the bare work in numpy and Pillow: read the file, take the pixels from their known place, window
in single precision in place, invert, resize. No header is parsed and nothing is checked. Both are run in turn,
in one process; medians of CPU time, so that other work on the machine counts little. Second table: the transfer
syntaxes that imagecodecs can write: decoding alone, the whole path, the whole path reduced for a model of 320 pixels,
and pydicom's own decoders (`Dataset.pixel_array`, which leaves out what comes after decoding; nan where it has none).
"""

from __future__ import annotations

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from xraytransfer.radiograph import read_radiograph
from xraytransfer.reading.decode import PixelData, decode
from xraytransfer.reading.dicom_file import parse_file
from xraytransfer.reading.pixel_format import PixelFormat
from xraytransfer.reading.syntaxes import SYNTAXES
from xraytransfer.resize import resize

ROWS, COLUMNS = 2500, 2048
CENTER, WIDTH = 2000.0, 3500.0


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=21, help="runs of each; odd (default 21)")
    repeats = parser.parse_args().repeats
    samples = film()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "film.dcm"
        write(path, samples, "1.2.840.10008.1.2.1", samples.tobytes())
        offset = path.stat().st_size - samples.nbytes
        print(f"explicit little endian, {ROWS} x {COLUMNS}, 12 bits in 16, MONOCHROME1; milliseconds")
        print(f"{'resolution':>10} {'floor':>8} {'xraytransfer':>13} {'ratio':>6}")
        for side in (128, 320):
            wanted = (side, side)
            both: list[Callable[[], Any]] = [
                lambda wanted=wanted: floor(path, offset, wanted),
                lambda wanted=wanted: resize(read_radiograph(path).pixels, wanted),
            ]
            bare, ours = medians(both, repeats)
            print(f"{side:>10} {bare:8.1f} {ours:13.1f} {ours / bare:6.2f}")
        print(f"\n{'transfer syntax':<46} {'MB':>5} {'decode':>7} {'read':>7} {'reduced':>8} {'pydicom':>8}", end="")
        print(f" {'read / pydicom':>15} {'read / stored':>14}   (CPU milliseconds)")
        for uid in ENCODERS:
            print(row(Path(folder), samples, uid, max(3, repeats // 4)), flush=True)


def row(folder: Path, samples: NDArray[np.uint16], uid: str, repeats: int) -> str:
    """Return the row of a transfer syntax: each part in turn with reading the stored film."""
    path, stored = folder / "coded.dcm", folder / "film.dcm"
    samples = (samples >> 4).astype(np.uint8) if uid.endswith(".50") else samples
    write(path, samples, uid, ENCODERS[uid](samples))
    dataset = dcmread(path)
    elements, _ = parse_file(memoryview(path.read_bytes()), max_bytes=1 << 30)
    fmt = PixelFormat(ROWS, COLUMNS, dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, signed=False)
    pixels = elements["PixelData"]
    data = PixelData(pixels.raw(), uid, encapsulated=not pixels.defined)
    functions: list[Callable[[], Any]] = [
        lambda: decode(data, fmt),
        lambda: read_radiograph(path),
        lambda: read_radiograph(path, reduced_to=320),
        lambda: read_radiograph(stored),
        lambda: dcmread(path).pixel_array,
    ]
    try:
        functions[-1]()
    except RuntimeError:  # no decoder of pydicom's is installed that reads it
        functions.pop()
    alone, read, reduced, plain, pydicom = [*medians(functions, repeats), math.nan][:5]
    return (
        f"{SYNTAXES[uid].name:<46} {path.stat().st_size / 1e6:5.1f} {alone:7.0f} {read:7.0f} {reduced:8.0f}"
        f" {pydicom:8.0f} {read / pydicom:15.2f} {read / plain:14.1f}"
    )


def floor(path: Path, offset: int, resolution: tuple[int, int]) -> NDArray[np.uint8]:
    """Return the film at the resolution, by the least work."""
    data = path.read_bytes()
    grey = np.frombuffer(data, "<u2", ROWS * COLUMNS, offset).reshape(ROWS, COLUMNS).astype(np.float32)
    grey -= CENTER - 0.5
    grey *= -255 / (WIDTH - 1)
    grey += 255 / 2
    np.clip(grey, 0, 255, out=grey)
    image = Image.fromarray(grey.astype(np.uint8))
    return np.asarray(image.resize(resolution[::-1], Image.Resampling.BILINEAR))


def medians(functions: list[Callable[[], Any]], repeats: int) -> list[float]:
    """Return each function's median in milliseconds, run in turn so that a busy machine slows all alike."""
    spent: list[list[float]] = [[] for _ in functions]
    for turn in range(repeats + 1):
        for times, function in zip(spent, functions, strict=True):
            start = time.process_time()
            function()
            if turn:  # the first run imports
                times.append((time.process_time() - start) * 1e3)
    return [statistics.median(times) for times in spent]


def film() -> NDArray[np.uint16]:
    """Return something as smooth and as noisy as a film, 12 bits."""
    row, column = np.mgrid[0:ROWS, 0:COLUMNS]
    smooth = 2000 + 1500 * np.sin(column / 300) * np.cos(row / 400)
    noise = np.random.default_rng(0).normal(0, 12, (ROWS, COLUMNS))
    return (smooth + noise).clip(0, 4095).astype(np.uint16)


def write(path: Path, samples: NDArray[np.uint16], syntax: str, pixels: bytes) -> None:
    """Write a film as a DICOM file."""
    dataset = Dataset()
    dataset.SOPClassUID = "1.2.840.10008.5.1.4.1.1.1"
    dataset.SOPInstanceUID = "1.2.3"
    dataset.Modality, dataset.BodyPartExamined, dataset.ViewPosition = "CR", "CHEST", "PA"
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME1"
    dataset.Rows, dataset.Columns = samples.shape
    bits = 8 * samples.itemsize
    dataset.BitsAllocated, dataset.BitsStored, dataset.PixelRepresentation = bits, min(bits, 12), 0
    dataset.HighBit = dataset.BitsStored - 1
    dataset.WindowCenter, dataset.WindowWidth = CENTER, WIDTH
    compressed = SYNTAXES[syntax].coding != "native"
    dataset.PixelData = encapsulate([pixels]) if compressed else pixels
    dataset["PixelData"].VR = "OB" if compressed else "OW"
    dataset["PixelData"].is_undefined_length = compressed
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.save_as(path, enforce_file_format=True)


def run_length(samples: NDArray[np.uint16]) -> bytes:
    """Return the samples run-length encoded (PS3.5 annex G)."""
    planes = [(samples >> 8).astype(np.uint8), (samples & 255).astype(np.uint8)]
    coded = [b"".join(imagecodecs.packbits_encode(row.tobytes()) for row in plane) for plane in planes]
    coded = [part + b"\0" * (len(part) % 2) for part in coded]
    header = np.zeros(16, "<u4")
    header[:3] = 2, 64, 64 + len(coded[0])
    return header.tobytes() + b"".join(coded)


ENCODERS: dict[str, Callable[[NDArray[np.uint16]], bytes]] = {
    "1.2.840.10008.1.2": lambda a: a.tobytes(),
    "1.2.840.10008.1.2.1.99": lambda a: a.tobytes(),
    "1.2.840.10008.1.2.5": run_length,
    "1.2.840.10008.1.2.4.50": lambda a: imagecodecs.jpeg8_encode(a, 90),
    "1.2.840.10008.1.2.4.51": lambda a: imagecodecs.jpeg8_encode(a, 90, bitspersample=12),
    "1.2.840.10008.1.2.4.70": lambda a: imagecodecs.jpeg8_encode(a, lossless=True, predictor=1, bitspersample=12),
    "1.2.840.10008.1.2.4.80": imagecodecs.jpegls_encode,
    "1.2.840.10008.1.2.4.90": lambda a: imagecodecs.jpeg2k_encode(
        a, reversible=True, codecformat="j2k", bitspersample=12
    ),
    "1.2.840.10008.1.2.4.91": lambda a: imagecodecs.jpeg2k_encode(
        a, level=60, reversible=False, codecformat="j2k", bitspersample=12
    ),
    "1.2.840.10008.1.2.4.201": lambda a: imagecodecs.htj2k_encode(a, reversible=True),
}

if __name__ == "__main__":
    main()
