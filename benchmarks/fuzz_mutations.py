"""How fuzz_reading.py changes a film: bytes that are damaged, and headers that contradict the pixels."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
from pydicom import dcmread
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from xraytransfer.reading.intensity import INTENSITIES
from xraytransfer.reading.syntaxes import SYNTAXES

__all__ = ["mutant"]


REDUCED_TO = (None, None, 8, 16, 24, 320)
"""Sides for reduced decoding: the films are about 100 pixels wide."""


def mutant(seeds: list[bytes], seed: int, number: int) -> tuple[bytes, dict[str, Any]]:
    """Return mutant `number` and how it is to be read."""
    rng = np.random.default_rng([seed, number])
    which = int(rng.integers(len(seeds)))
    choices = {
        "intensity": str(rng.choice(INTENSITIES)),
        "any_modality": bool(rng.random() < 0.8),
        "reduced_to": REDUCED_TO[int(rng.integers(len(REDUCED_TO)))],
        "threads": int(rng.integers(1, 3)),
    }
    contradicting = _contradicting(seeds[which], rng) if rng.random() < 0.5 else None
    data = bytearray(contradicting or seeds[which])
    # Half of the contradictions stay whole files: damage would be found before them.
    damages = 0 if contradicting and rng.random() < 0.5 else int(rng.choice([1, 1, 2, 3, 4]))
    for _ in range(damages):
        if data:
            MUTATIONS[int(rng.integers(len(MUTATIONS)))](data, rng, seeds)
    return bytes(data), choices


def _contradicting(data: bytes, rng: np.random.Generator) -> bytes | None:
    """Return a film whose header says of its pixels what they are not, in one to four attributes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        buffer = io.BytesIO()
        try:
            film = dcmread(io.BytesIO(data))
            for _ in range(int(rng.choice([1, 1, 2, 3, 4]))):
                CONTRADICTIONS[int(rng.integers(len(CONTRADICTIONS)))](film, rng)
            film.save_as(buffer, enforce_file_format=False)
        except Exception:  # noqa: BLE001 - pydicom raises many kinds on seeds that are no films: bytes are damaged instead
            return None
    return buffer.getvalue() if rng.random() < 0.9 else _other_syntax(buffer.getvalue(), rng)


def _other_syntax(data: bytes, rng: np.random.Generator) -> bytes:
    """Name another transfer syntax, which pydicom would not write."""
    at = data.find(b"\x02\x00\x10\x00UI")
    if at < 0:
        return data
    uid = list(SYNTAXES)[int(rng.integers(len(SYNTAXES)))].encode()
    uid += b"\0" * (len(uid) % 2)
    end = at + 8 + int.from_bytes(data[at + 6 : at + 8], "little")
    return data[: at + 6] + len(uid).to_bytes(2, "little") + uid + data[end:]


def _one_of(keyword: str, vr: str, *values: Any) -> Callable[[Dataset, np.random.Generator], None]:
    """Return a contradiction: an attribute gets one of some values that are valid in other films, or is removed."""

    def contradict(film: Dataset, rng: np.random.Generator) -> None:
        if rng.random() < 0.9:
            film[keyword] = DataElement(Tag(keyword), vr, values[int(rng.integers(len(values)))])
        elif keyword in film:
            del film[keyword]

    return contradict


def _other_size(film: Dataset, rng: np.random.Generator) -> None:
    """Change Rows or Columns, or both so that their product stays."""
    rows, columns = film.get("Rows") or 1, film.get("Columns") or 1
    sizes = [
        (columns, rows), (rows // 2, columns), (rows, columns // 2), (rows * 2, columns), (rows // 2, columns * 2),
        (rows + 1, columns), (rows, columns - 1), (rows, columns + 1), (65535, 65535), (40, 40),
    ]  # fmt: skip
    film.Rows, film.Columns = (min(size, 65535) for size in sizes[int(rng.integers(len(sizes)))])


def _table(rng: np.random.Generator, entries: int) -> tuple[DataElement, bytes]:
    """Return a look-up table: its descriptor, and its data."""
    bits = int(rng.choice([8, 10, 12, 16, 16]))
    first = int(rng.choice([0, 0, 1, 1024, 32768, 65535]))
    declared = int(rng.choice([entries, entries, entries, entries % 65536, entries // 2, 0]))
    ramp = np.linspace(0, (1 << bits) - 1, max(entries, 1)).astype(np.uint16)
    table = ramp[::-1] if rng.random() < 0.3 else rng.permutation(ramp) if rng.random() < 0.2 else ramp
    data = table.astype(np.uint8).tobytes() if rng.random() < 0.1 else table.tobytes()
    depth = int(rng.choice([bits, bits, 8, 16]))
    return DataElement(Tag("LUTDescriptor"), "US", [declared % 65536, first, depth]), data + b"\0" * (len(data) % 2)


def _other_lut(keyword: str) -> Callable[[Dataset, np.random.Generator], None]:
    """Return a contradiction: a LUT sequence that may fit or not."""

    def contradict(film: Dataset, rng: np.random.Generator) -> None:
        items = []
        for _ in range(int(rng.choice([0, 1, 1, 2]))):
            item = Dataset()
            descriptor, data = _table(rng, int(rng.choice([0, 1, 2, 256, 4096, 65536])))
            item.add(descriptor)
            item.add(DataElement(Tag("LUTData"), "OW", data))
            items.append(item)
        film[keyword] = DataElement(Tag(keyword), "SQ", items)

    return contradict


def _palette(film: Dataset, rng: np.random.Generator) -> None:
    """Say that the samples are numbers of palette entries."""
    film.PhotometricInterpretation = "PALETTE COLOR"
    entries = int(rng.choice([2, 256, 4096]))
    for colour in ("Red", "Green", "Blue"):
        descriptor, data = _table(rng, entries)
        name = f"{colour}PaletteColorLookupTable"
        film[f"{name}Descriptor"] = DataElement(Tag(f"{name}Descriptor"), "US", descriptor.value)
        film[f"{name}Data"] = DataElement(Tag(f"{name}Data"), "OW", data)


_WINDOW = (0, 1, -1, 0.5, 127.5, 2048, 40000, -100000, 1e9, 1e-6, [2048, 100], [0, 4096, 1e6])
CONTRADICTIONS: list[Callable[[Dataset, np.random.Generator], None]] = [
    _other_size,
    _palette,
    _other_lut("ModalityLUTSequence"),
    _other_lut("VOILUTSequence"),
    _one_of("BitsStored", "US", *range(1, 17), 32),
    _one_of("BitsAllocated", "US", 8, 16, 32),
    _one_of("HighBit", "US", *range(16), 31),
    _one_of("PixelRepresentation", "US", 0, 1),
    _one_of("SamplesPerPixel", "US", 1, 3),
    _one_of("PlanarConfiguration", "US", 0, 1),
    _one_of(
        "PhotometricInterpretation", "CS", "MONOCHROME1", "MONOCHROME2", "RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT",
        "YBR_RCT", "PALETTE COLOR",
    ),
    _one_of("NumberOfFrames", "IS", 0, 1),
    _one_of("PixelPaddingValue", "US", 0, 1, 255, 2048, 4095, 32768, 65535),
    _one_of("PixelPaddingValue", "SS", -32768, -2000, -1, 0, 32767),
    _one_of("PixelPaddingRangeLimit", "US", 0, 255, 4095, 20000, 65535),
    _one_of("WindowCenter", "DS", *_WINDOW),
    _one_of("WindowWidth", "DS", *_WINDOW),
    _one_of("VOILUTFunction", "CS", "LINEAR", "LINEAR_EXACT", "SIGMOID", "OTHER"),
    _one_of("RescaleSlope", "DS", 1, 0.1, -1, 65536, 1e-9, 1e8, 0),
    _one_of("RescaleIntercept", "DS", 0, -1024, 32768, 1e11, -1e-7),
    _one_of("PresentationLUTShape", "CS", "IDENTITY", "INVERSE"),
    _one_of("PresentationIntentType", "CS", "FOR PROCESSING", "FOR PRESENTATION"),
]  # fmt: skip
"""Attributes that say what pixels mean, each with values that are valid in other films."""


def _place(data: bytearray, rng: np.random.Generator) -> int:
    """Return a place: in the header and at the start of the pixels more often than their share."""
    start = data.rfind(b"\xe0\x7f\x10\x00") if rng.random() < 0.3 else 0
    span = min(len(data) - max(start, 0), int(rng.choice([200, 1500, len(data)])))
    return max(start, 0) + int(rng.integers(span))


def flip_bit(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    """Flip one bit."""
    data[_place(data, rng)] ^= 1 << int(rng.integers(8))


def scribble(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    """Overwrite some bytes with random ones."""
    at = _place(data, rng)
    noise = rng.bytes(int(rng.integers(1, 17)))
    data[at : at + len(noise)] = noise


def extreme(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    """Overwrite a number with one that programs get wrong."""
    at = _place(data, rng)
    size = int(rng.choice([1, 2, 4]))
    value = int(rng.choice([0, 1, 2, 3, 7, 8, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]))
    data[at : at + size] = (value & ((1 << (8 * size)) - 1)).to_bytes(size, str(rng.choice(["little", "big"])))


def cut(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    """End the file early."""
    del data[int(rng.integers(len(data))) :]


def remove(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    """Take a piece out."""
    at = _place(data, rng)
    del data[at : at + int(rng.integers(1, 300))]


def repeat(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    """Repeat a piece up to 50 times."""
    at = _place(data, rng)
    piece = data[at : at + int(rng.integers(1, 300))]
    data[at:at] = piece * int(rng.integers(1, 51))


def splice(data: bytearray, rng: np.random.Generator, seeds: list[bytes]) -> None:
    """Put a piece of another film in."""
    other = seeds[int(rng.integers(len(seeds)))]
    at, start = _place(data, rng), int(rng.integers(len(other)))
    data[at : at + int(rng.integers(0, 300))] = other[start : start + int(rng.integers(1, 3000))]


def other_value(data: bytearray, rng: np.random.Generator, _: list[bytes]) -> None:
    """Change a value of the header, keeping its length, to a text or number that its reader may not expect."""
    places = [at for tag in TAGS if (at := data.find(tag)) >= 0]
    if places:
        at = int(rng.choice(places))
        new = VALUES[int(rng.integers(len(VALUES)))]
        data[at + 8 : at + 8 + len(new)] = new


TAGS = [
    group + element
    for group, elements in {
        b"\x28\x00": [2, 4, 8, 0x10, 0x11, 0x100, 0x101, 0x102, 0x103, 0x120, 0x1050, 0x1051, 0x1052, 0x1053, 0x3010],
        b"\x08\x00": [0x16, 0x60, 0x08],
        b"\x02\x00": [0x10, 0x00],
        b"\x18\x00": [0x15, 0x5101],
        b"\xe0\x7f": [0x10],
    }.items()
    for element in (number.to_bytes(2, "little") for number in elements)
]
VALUES = [
    b"\0\0", b"\1\0", b"\x08\0", b"\x10\0", b"\x20\0", b"\xff\xff", b"\xff\xff\xff\xff", b"nan ", b"inf ", b"-1",
    b"1e99", b"AUTO", b"1,00", b"\\\\\\\\", b"LL", b"PA", b"CT", b"RGB ", b"\xe9\xe8", b"1.2.840.10008.1.2.4.90",
    b"1.2.840.10008.1.2.2", b"SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff", b"0", b"999999999999",
]  # fmt: skip
MUTATIONS = [flip_bit, scribble, extreme, cut, remove, repeat, splice, other_value, other_value, extreme]
