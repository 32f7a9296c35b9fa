"""The films that fuzz_reading.py starts from."""

from __future__ import annotations

import copy
import importlib.util
import io
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

from xraytransfer.reading.syntaxes import SYNTAXES

__all__ = ["films"]

LARGEST_SEED = 120_000


def films() -> dict[str, bytes]:
    """Return the seeds by name."""
    found: dict[str, bytes] = {}
    spec = importlib.util.find_spec("data_store")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("pydicom-data is not installed: pip install 'xraytransfer[sample]'")
    folder = Path(next(iter(spec.submodule_search_locations))) / "data"
    beside = Path(__file__).resolve().parents[2] / "shared" / "data" / "dicom"
    film = dcmread(folder / "RG1_UNCR.dcm")
    thin = film.pixel_array[::20, ::20]
    for uid in SYNTAXES:
        found[f"film, {SYNTAXES[uid].name}"] = written(film, thin, uid)
    signed = (thin.astype(np.int32) - 16384).astype(np.int16)
    for uid in ("1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.90"):
        found[f"signed film, {SYNTAXES[uid].name}"] = written(film, signed, uid)
    for path in sorted(beside.glob("*.dcm")) if beside.is_dir() else []:
        other = dcmread(path)
        found[path.stem] = written(other, other.pixel_array[::10, ::10], "1.2.840.10008.1.2.4.50")
    for path in sorted(folder.iterdir()):
        # Colour and several frames are refused by the header: one file of each is enough.
        if path.stat().st_size <= LARGEST_SEED and not path.name.startswith(
            ("SC_", "emri_small_", "liver_", "US1", "OBX")
        ):
            found[path.name] = path.read_bytes()
    eight = (thin >> 7).astype(np.uint8)
    for name, image in {
        "grey.png": Image.fromarray(eight),
        "grey.jpeg": Image.fromarray(eight),
        "sixteen.png": Image.fromarray(thin.astype(np.uint16)),
        "palette.png": Image.fromarray(eight).convert("P"),
        "alpha.png": Image.fromarray(eight).convert("LA"),
        "colour.jpeg": Image.fromarray(eight).convert("RGB"),
    }.items():
        buffer = io.BytesIO()
        image.save(buffer, name.rpartition(".")[2], **({"exif": b"Exif\0\0" + EXIF} if "jpeg" in name else {}))
        found[name] = buffer.getvalue()
    return found


# A directory of one entry: orientation 6.
EXIF = b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"


def written(film: Dataset, pixels: NDArray[Any], uid: str) -> bytes:
    """Return a film with its header but fewer pixels, in a transfer syntax."""
    pixels = np.ascontiguousarray(pixels)
    if uid.endswith((".50", ".53")):
        pixels = (pixels >> 7).astype(np.uint8) if pixels.itemsize > 1 else pixels
    if uid.endswith((".51", ".55")):
        pixels = pixels >> 3
    bits = {".50": 8, ".53": 8, ".51": 12, ".55": 12}.get(uid[-3:], 15 if pixels.itemsize > 1 else 8)
    dataset = Dataset()
    dataset.update(
        {element.tag: copy.deepcopy(element) for element in film if element.tag.group not in (0x7FE0, 0x0002)}
    )
    dataset.Rows, dataset.Columns = pixels.shape
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 8 * pixels.itemsize, bits, bits - 1
    dataset.PixelRepresentation = int(pixels.dtype.kind == "i")
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(uid)
    dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
    dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    little = uid != "1.2.840.10008.1.2.2"
    compressed = SYNTAXES[uid].coding != "native"
    stored = coded(pixels, uid, bits) if compressed else pixels.astype(pixels.dtype.newbyteorder("<>"[not little]))
    dataset.PixelData = encapsulate([stored]) if isinstance(stored, bytes) else stored.tobytes()
    dataset["PixelData"].VR = "OB" if compressed else "OW"
    dataset["PixelData"].is_undefined_length = compressed
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def coded(pixels: NDArray[Any], uid: str, bits: int) -> bytes:
    """Return the codestream of a picture."""
    for endings, encode in ENCODERS.items():
        if uid.endswith(endings):
            return bytes(encode(pixels, uid, bits))
    raise ValueError(f"no encoder for {uid}")


def run_length(pixels: NDArray[Any], _: str, __: int) -> bytes:
    """Return the picture run-length encoded (PS3.5 annex G)."""
    planes = [pixels.view(np.uint8)[:, plane :: pixels.itemsize] for plane in reversed(range(pixels.itemsize))]
    parts = [b"".join(imagecodecs.packbits_encode(row.tobytes()) for row in plane) for plane in planes]
    parts = [part + b"\0" * (len(part) % 2) for part in parts]
    header = np.zeros(16, "<u4")
    header[0] = len(parts)
    header[1 : len(parts) + 1] = np.cumsum([64, *map(len, parts)])[:-1]
    return header.tobytes() + b"".join(parts)


def progressive(pixels: NDArray[Any], _: str, __: int) -> bytes:
    """Return the picture as a progressive JPEG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "jpeg", progressive=True)
    return buffer.getvalue()


ENCODERS: dict[tuple[str, ...], Callable[[NDArray[Any], str, int], bytes]] = {
    (".1.2.5",): run_length,
    (".80", ".81"): lambda a, uid, _: imagecodecs.jpegls_encode(a, 2 if uid.endswith(".81") else 0),
    (".90", ".91"): lambda a, uid, _: imagecodecs.jpeg2k_encode(a, reversible=uid.endswith(".90"), codecformat="j2k"),
    (".201", ".202", ".203"): lambda a, uid, _: imagecodecs.htj2k_encode(a, reversible=not uid.endswith(".203")),
    (".57", ".70"): lambda a, _, bits: imagecodecs.jpeg8_encode(a, lossless=True, predictor=1, bitspersample=bits),
    (".53",): progressive,
    (".50", ".51", ".55"): lambda a, _, bits: imagecodecs.jpeg8_encode(a, 90, bitspersample=bits),
}
