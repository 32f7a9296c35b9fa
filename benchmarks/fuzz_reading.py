"""Feed `read_radiograph` damaged films: each must be read or refused, quickly, in bounded memory, in silence.

Run: ``python benchmarks/fuzz_reading.py --mutants 20000`` (needs the extra ``sample``; Linux or macOS)

Seeds are real films (pydicom-data, and ../shared/data/dicom where it stands beside the checkout), thinned out to
about 100 pixels a side and written in every transfer syntax and as PNG and JPEG, and the smaller of
pydicom-data's other files as they are. Mutant number n is a function of ``--seed`` and n alone:
``--replay n`` runs it again, in this process, with its traceback, and ``--save FILE`` keeps it.

Each mutant runs in a worker process whose address space is limited (RLIMIT_AS) and that is killed when a mutant
takes too long. A find is: any exception but RadiographError, a warning, output on stderr, a crash, a time-out.
"""

from __future__ import annotations

import argparse
import collections
import copy
import importlib.util
import io
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
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

from xraytransfer.errors import RadiographError
from xraytransfer.radiograph import read_radiograph
from xraytransfer.reading.intensity import INTENSITIES
from xraytransfer.reading.syntaxes import SYNTAXES

MAX_PIXELS = 4_000_000
LARGEST_SEED = 120_000


def main() -> int:
    """Run the mutants; print counts and finds; 1 if there are finds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=20_000, help="how many (default 20000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first (default 0)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default 0)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--memory", type=int, default=1024, help="MiB that a worker may add (default 1024)")
    parser.add_argument("--seconds", type=float, default=10, help="limit for one mutant (default 10)")
    parser.add_argument("--replay", type=int, help="run this mutant only, here")
    parser.add_argument("--save", type=Path, help="with --replay: write the mutant here")
    options = parser.parse_args()
    names, seeds = list(films()), list(films().values())
    print(f"{len(seeds)} seeds, {sum(map(len, seeds)):,} bytes", flush=True)
    if options.replay is not None:
        data, choices = mutant(seeds, options.seed, options.replay)
        if options.save:
            options.save.write_bytes(data)
        print(read_radiograph(data, max_pixels=MAX_PIXELS, **choices).provenance())
        return 0
    start = time.monotonic()
    counts, finds, peak, slowest = run(seeds, options)
    for outcome, count in counts.most_common():
        print(f"{count:>8,}  {outcome}")
    print(f"{sum(counts.values()):,} mutants, {len(finds)} finds, {time.monotonic() - start:.0f} s")
    print(f"peak memory of a worker {peak:,} MiB, slowest mutant {slowest[0]:.2f} s (number {slowest[1]})")
    for number, what in finds[:50]:
        kind = names[int(np.random.default_rng([options.seed, number]).integers(len(seeds)))]
        print(f"\nmutant {number} ({kind}): {what}")
    return int(bool(finds))


def run(
    seeds: list[bytes], options: argparse.Namespace
) -> tuple[collections.Counter[str], list[Any], int, tuple[float, int]]:
    """Share the mutants out among workers; replace those that crash or hang."""
    counts: collections.Counter[str] = collections.Counter()
    finds: list[tuple[int, str]] = []
    peak, slowest = 0, (0.0, 0)
    end = options.first + options.mutants
    active = {}
    for worker in range(options.workers):
        launch(active, seeds, options, range(options.first + worker, end, options.workers))
    while active:
        ready = wait(list(active), timeout=0.5)
        for pipe in list(active):
            process, numbers, since = active[pipe]
            if pipe in ready:
                try:
                    outcome, find, peak_now, spent = pipe.recv()
                    peak, slowest = max(peak, peak_now), max(slowest, (spent, numbers[0]))
                except EOFError:
                    process.join()
                    outcome = f"crash (exit {process.exitcode})"
                    find = outcome
            elif time.monotonic() - since > options.seconds:
                process.kill()
                outcome = find = f"longer than {options.seconds:g} s"
            else:
                continue
            counts[outcome] += 1
            if find:
                finds.append((numbers[0], find))
            numbers = numbers[1:]
            if outcome.startswith(("crash", "longer")) or not numbers:
                process.kill()
                process.join()
                del active[pipe]
                if numbers:
                    launch(active, seeds, options, numbers)
            else:
                active[pipe] = process, numbers, time.monotonic()
    return counts, finds, peak, slowest


def launch(active: dict[Connection, Any], seeds: list[bytes], options: argparse.Namespace, numbers: range) -> None:
    """Start a worker on some mutants."""
    if not numbers:
        return
    ours, theirs = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(
        target=work, args=(theirs, seeds, options.seed, numbers, options.memory), daemon=True
    )
    process.start()
    theirs.close()
    active[ours] = process, numbers, time.monotonic()


def work(pipe: Connection, seeds: list[bytes], seed: int, numbers: range, memory: int) -> None:
    """Read mutants under a memory limit; send (outcome, find or '', peak in MiB, seconds) for each."""
    warnings.simplefilter("error")
    with tempfile.TemporaryFile() as silence:
        os.dup2(silence.fileno(), 2)
        warm_up(seeds)
        used = int(Path("/proc/self/statm").read_text().split()[0]) * 4096 if sys.platform == "linux" else 4 << 30
        limit = used + (memory << 20)
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        silence.truncate(0)
        for number in numbers:
            data, choices = mutant(seeds, seed, number)
            start = time.perf_counter()
            outcome, find = attempt(data, choices)
            spent = time.perf_counter() - start
            if os.fstat(silence.fileno()).st_size:
                silence.seek(0)
                outcome, find = "output on stderr", find + silence.read(500).decode(errors="replace")
                silence.truncate(0)
            pipe.send((outcome, find, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10, spent))


def warm_up(seeds: list[bytes]) -> None:
    """Read each seed once, so that codecs are loaded before memory is limited."""
    for data in seeds:
        attempt(data, {"intensity": "voi", "any_modality": True})


def attempt(data: bytes, choices: dict[str, Any]) -> tuple[str, str]:
    """Return the outcome, and the traceback if it is a find."""
    try:
        radiograph = read_radiograph(data, max_pixels=MAX_PIXELS, **choices)
    except RadiographError as error:
        return error.reason, ""
    except BaseException as error:  # noqa: BLE001 - whatever it is, it is what we look for
        return f"{type(error).__name__}", traceback.format_exc()
    pixels = radiograph.pixels
    if pixels.dtype != np.uint8 or pixels.ndim != 2 or pixels.min() == pixels.max():
        return "wrong picture", f"{pixels.dtype} {pixels.shape}"
    return "read", ""


def mutant(seeds: list[bytes], seed: int, number: int) -> tuple[bytes, dict[str, Any]]:
    """Return mutant `number` and how it is to be read."""
    rng = np.random.default_rng([seed, number])
    data = bytearray(seeds[int(rng.integers(len(seeds)))])
    choices = {"intensity": str(rng.choice(INTENSITIES)), "any_modality": bool(rng.random() < 0.8)}
    for _ in range(int(rng.choice([1, 1, 2, 3, 4]))):
        if data:
            MUTATIONS[int(rng.integers(len(MUTATIONS)))](data, rng, seeds)
    return bytes(data), choices


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
    compressed = bool(SYNTAXES[uid].tries)
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

if __name__ == "__main__":
    sys.exit(main())
