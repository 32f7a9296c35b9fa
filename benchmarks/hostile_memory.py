"""How much memory `read_radiograph` takes for hostile files, beyond the size of the file.

Run: ``python benchmarks/hostile_memory.py`` (Linux)

Each file is made and read in a process of its own. Printed: the size of the file, the outcome, seconds of CPU time, and
by how much the peak of resident memory grew while it was read. Exit status 1 if one grew by more than 1 GiB.
"""

from __future__ import annotations

import io
import multiprocessing
import resource
import struct
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import imagecodecs
import numpy as np
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID

from xraytransfer.cli.film_list import films
from xraytransfer.errors import RadiographError
from xraytransfer.radiograph import MAX_PIXELS, read_radiograph

LIMIT_MIB = 1024
EXPLICIT, DEFLATED = "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99"
JPEG_LOSSLESS, JPEG_LS, JPEG_2000 = (f"1.2.840.10008.1.2.4.{number}" for number in (70, 80, 90))
RLE, JPEG_BASELINE = "1.2.840.10008.1.2.5", "1.2.840.10008.1.2.4.50"
SIDE = int(MAX_PIXELS**0.5)
_ITEM, _SEQUENCE_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"


def film(rows: int, columns: int, bits: int, syntax: str, pixels: bytes | list[bytes], **attributes: object) -> bytes:
    """Return a DICOM file; pixels in a list are the frames of an encapsulated one."""
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = UID("1.2.840.10008.5.1.4.1.1.1"), UID("1.2.3")
    dataset.Modality, dataset.BodyPartExamined = "CR", "CHEST"
    dataset.Rows, dataset.Columns, dataset.SamplesPerPixel = rows, columns, 1
    dataset.PhotometricInterpretation, dataset.PixelRepresentation = "MONOCHROME2", 0
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    dataset.PixelData = encapsulate(pixels) if isinstance(pixels, list) else pixels
    dataset["PixelData"].VR = "OB" if isinstance(pixels, list) or bits == 8 else "OW"
    dataset["PixelData"].is_undefined_length = isinstance(pixels, list)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    buffer = io.BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def samples(dtype: type = np.uint16, side: int = SIDE) -> np.ndarray:
    """Return a film of the largest size: smooth, with noise."""
    row = (np.sin(np.arange(side) / 900) + 1) * (np.iinfo(dtype).max / 2.2)
    noise = np.random.default_rng(0).integers(0, np.iinfo(dtype).max // 200 + 2, side, dtype=dtype)
    out = np.empty((side, side), dtype)
    for at in range(side):
        out[at] = np.roll(row, at // 4).astype(dtype) + np.roll(noise, 37 * at)
    return out


def deflated(body: bytes) -> bytes:
    """Return a deflated DICOM file of a data set."""
    plain = film(64, 64, 8, DEFLATED, b"\0" * 4096)
    end = plain.index(DEFLATED.encode()) + len(DEFLATED)
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return plain[:end] + deflater.compress(body) + deflater.flush()


def nested(levels: int) -> bytes:
    """Return sequences inside sequences."""
    return (b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff" + _ITEM + b"\xff\xff\xff\xff") * levels


def empty_items(size: int) -> bytes:
    """Return one sequence of empty items, as long as `size` bytes."""
    return b"\x28\x00\x10\x30SQ\0\0\xff\xff\xff\xff" + (_ITEM + b"\0\0\0\0") * (size // 8) + _SEQUENCE_END + b"\0" * 4


def view_items(size: int) -> bytes:
    """Return the same in a sequence of a defined length that is read."""
    body = (_ITEM + b"\0\0\0\0") * (size // 8)
    return b"\x28\x00\x10\x30SQ\0\0" + struct.pack("<I", len(body)) + body


def png(width: int, height: int, depth: int, colour: int, chunks: list[tuple[bytes, bytes]]) -> bytes:
    """Return a PNG of the given chunks after its header."""
    whole = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)), *chunks, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in whole
    )


def text_bomb(kind: bytes, count: int) -> bytes:
    """Return a PNG with compressed texts of 32 MiB each."""
    start = b"k\0\1\0\0\0" if kind == b"iTXt" else b"k\0\0"
    body = start + zlib.compress(b"x" * (32 << 20), 9)
    pixels = zlib.compress(bytes(64 * 65))
    return png(64, 64, 8, 0, [(kind, body)] * count + [(b"IDAT", pixels)])


def rows_of_zeros(width: int, height: int, channels: int) -> bytes:
    """Return the compressed rows of a black PNG."""
    deflater = zlib.compressobj(9)
    row = b"\0" * (1 + width * channels)
    return b"".join(deflater.compress(row) for _ in range(height)) + deflater.flush()


def saved(mode: str, kind: str) -> bytes:
    """Return the largest picture of a mode."""
    buffer = io.BytesIO()
    image = Image.fromarray(samples(np.uint8))
    if mode == "I;16":
        image = Image.fromarray(samples())
    elif mode != "L":
        image = image.convert(mode)
    image.save(buffer, kind, **({"compress_level": 1} if kind == "png" else {"quality": 80}))
    return buffer.getvalue()


def look_up_table(entries: int) -> dict[str, object]:
    """Return a VOI LUT sequence of many items with long data."""
    items = []
    for _ in range(100):
        item = Dataset()
        item.add_new(0x00283002, "US", [entries % 65536, 0, 16])
        item.add_new(0x00283006, "OW", np.arange(entries, dtype=np.uint16).tobytes())
        items.append(item)
    return {"VOILUTSequence": items}


def coloured(side: int, dtype: type, syntax: str, encode: Callable[[np.ndarray], list[bytes]] | None = None) -> bytes:
    """Return a film in three equal components, of which 16-bit ones use 12."""
    grey = samples(dtype, side) >> (0 if dtype is np.uint8 else 4)
    three = np.repeat(grey[..., None], 3, axis=2)
    bits = 8 * three.itemsize
    stored = min(bits, 12)
    return film(
        side, side, bits, syntax, encode(three) if encode else three.tobytes(), BitsStored=stored, HighBit=stored - 1,
        SamplesPerPixel=3, PhotometricInterpretation="RGB", PlanarConfiguration=0,
    )  # fmt: skip


def jpeg_2000(pixels: np.ndarray) -> list[bytes]:
    """Return one lossless frame."""
    return [imagecodecs.jpeg2k_encode(pixels, reversible=True, codecformat="j2k")]


def deep_png(side: int, channels: int) -> bytes:
    """Return a PNG of 16 bits and three or four channels, of which the fourth is not opaque."""
    pixels = np.repeat(samples(np.uint16, side)[..., None], channels, axis=2)
    return bytes(imagecodecs.png_encode(pixels, level=1))


def run_length() -> bytes:
    """Return a run-length frame that is nothing but long runs."""
    plane = b"\x81\0" * (4 * SIDE * SIDE // 128)
    header = struct.pack("<16I", 2, 64, 64 + len(plane), *[0] * 13)
    return header + plane + plane


FILES: dict[str, Callable[[], bytes]] = {
    "deflated, 64 MiB of empty items": lambda: deflated(empty_items(64 << 20)),
    "deflated, 64 MiB of empty items in a LUT sequence": lambda: deflated(view_items(64 << 20)),
    "deflated, 2 GiB of zeros": lambda: deflated(bytes(2 << 30)),
    "deflated, the largest 32-bit film": lambda: film(
        SIDE, SIDE, 32, DEFLATED, samples(np.uint32).tobytes()
    ),
    "sequences nested 1,000,000 deep": lambda: film(64, 64, 8, EXPLICIT, b"\0" * 4096)[:132] + nested(1_000_000),
    "VOI LUTs, 100 of 65,536 entries": lambda: film(64, 64, 16, EXPLICIT, bytes(8192), **look_up_table(65536)),
    "native, 32 bits": lambda: film(SIDE, SIDE, 32, EXPLICIT, samples(np.uint32).tobytes()),
    "native, 16 bits": lambda: film(SIDE, SIDE, 16, EXPLICIT, samples().tobytes()),
    "native, 3 x 8 bits": lambda: coloured(SIDE, np.uint8, EXPLICIT),
    "deflated, 3 x 16 bits of which 12 are used, 8,200 a side": lambda: coloured(8200, np.uint16, DEFLATED),
    "run length, 16 bits, four times too long": lambda: film(SIDE, SIDE, 16, RLE, [run_length()]),
    "JPEG baseline": lambda: film(SIDE, SIDE, 8, JPEG_BASELINE, [imagecodecs.jpeg8_encode(samples(np.uint8), 90)]),
    "JPEG lossless, 16 bits": lambda: film(
        SIDE, SIDE, 16, JPEG_LOSSLESS, [imagecodecs.jpeg8_encode(samples(), lossless=True, bitspersample=16)]
    ),
    "JPEG-LS, 16 bits": lambda: film(SIDE, SIDE, 16, JPEG_LS, [imagecodecs.jpegls_encode(samples())]),
    "JPEG-LS, 3 x 16 bits, 7,700 a side": lambda: coloured(
        7700, np.uint16, JPEG_LS, lambda three: [imagecodecs.jpegls_encode(three)]
    ),
    "JPEG 2000, 16 bits": lambda: film(SIDE, SIDE, 16, JPEG_2000, jpeg_2000(samples())),
    "JPEG 2000, 3 x 8 bits, 7,100 a side": lambda: coloured(7100, np.uint8, JPEG_2000, jpeg_2000),
    "JPEG 2000, 3 x 16 bits, 6,200 a side": lambda: coloured(6200, np.uint16, JPEG_2000, jpeg_2000),
    "JPEG 2000, 3 x 8 bits, 9,000 a side": lambda: coloured(9000, np.uint8, JPEG_2000, jpeg_2000),
    "PNG, 60,000 x 60,000": lambda: png(60000, 60000, 8, 0, [(b"IDAT", rows_of_zeros(60000, 6000, 1))]),
    "PNG, zTXt of 32 MiB, 200 times": lambda: text_bomb(b"zTXt", 200),
    "PNG, iTXt of 32 MiB, 200 times": lambda: text_bomb(b"iTXt", 200),
    "PNG, iCCP of 32 MiB, 200 times": lambda: text_bomb(b"iCCP", 200),
    "PNG, grey, 8 bits": lambda: saved("L", "png"),
    "PNG, grey, 16 bits": lambda: saved("I;16", "png"),
    "PNG, grey and alpha": lambda: saved("LA", "png"),
    "PNG, palette": lambda: saved("P", "png"),
    "PNG, red, green, blue, alpha": lambda: saved("RGBA", "png"),
    "PNG, 3 x 16 bits": lambda: deep_png(SIDE, 3),
    "PNG, 4 x 16 bits": lambda: deep_png(SIDE, 4),
    "PNG, 4 x 16 bits, 9,800 a side": lambda: deep_png(9800, 4),
    "JPEG, grey": lambda: saved("L", "jpeg"),
    "JPEG, colour": lambda: saved("RGB", "jpeg"),
    "zip, a member of 4 GiB": lambda: archive(b"\x89PNG\r\n\x1a\n", 4 << 30),
}  # fmt: skip


def archive(first: bytes, size: int) -> bytes:
    """Return a zip archive of one member that begins like a film and goes on in zeros."""
    buffer = io.BytesIO()
    with (
        zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as whole,
        whole.open("film.png", "w", force_zip64=True) as f,
    ):
        f.write(first)
        for _ in range(size >> 24):
            f.write(bytes(1 << 24))
    return buffer.getvalue()


def make(name: str, path: str) -> None:
    """Write a file."""
    Path(path).write_bytes(FILES[name]())


def read(path: str) -> str:
    """Read what a command line would read, and return the outcome."""
    try:
        radiograph = None
        for source in films([path]):
            radiograph = read_radiograph(source)
        return "read" if radiograph is not None else "nothing"
    except RadiographError as error:
        return error.reason


def measure(path: str, answer: multiprocessing.SimpleQueue[tuple[str, float, float]]) -> None:
    """Send the outcome, the CPU time, and the growth of the peak of resident memory in MiB."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.process_time()
    outcome = read(path)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    answer.put((outcome, time.process_time() - start, grown))


def main() -> int:
    """Print the table."""
    wanted = sys.argv[1:]
    spawn = multiprocessing.get_context("spawn")
    worst = 0.0
    print(f"{'file':60} {'MiB':>7} {'outcome':>18} {'CPU s':>6} {'peak, MiB':>10} {'beyond the file':>16}")
    with tempfile.TemporaryDirectory() as folder:
        for name in (name for name in FILES if not wanted or any(word in name for word in wanted)):
            path = str(Path(folder) / ("film.zip" if name.startswith("zip") else "film.dcm"))
            answer = spawn.SimpleQueue()
            for target, arguments in ((make, (name, path)), (measure, (path, answer))):
                process = spawn.Process(target=target, args=arguments)
                process.start()
                process.join()
                if process.exitcode:
                    raise SystemExit(f"{name}: {target.__name__} ended with {process.exitcode}")
            outcome, seconds, grown = answer.get()
            size = Path(path).stat().st_size / 2**20
            worst = max(worst, grown - size)
            print(f"{name:60} {size:7.1f} {outcome:>18} {seconds:6.1f} {grown:10.0f} {grown - size:16.0f}", flush=True)
    return int(worst > LIMIT_MIB)


if __name__ == "__main__":
    sys.exit(main())
