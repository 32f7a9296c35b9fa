"""A folder of films: `predict_many` against its two halves alone, and its memory.

    python benchmarks/folder.py [--films 500] [--model MODEL] [--rounds 3]

Films are written in the transfer syntaxes below from the sample film. In each round, in turn: reading alone on all
cores, scoring alone on all cores (films read before), and both together. "Possible" is what the cores can give when
both halves compete for them: 1 / (1/reading + 1/scoring).
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

SYNTAXES = ("plain", "jpeg-lossless", "jpeg-2000")


def write_films(folder: Path, syntax: str, count: int) -> list[str]:
    """Write `count` films: one encoded film, and links to it."""
    import imagecodecs
    import pydicom
    from pydicom.encaps import encapsulate
    from pydicom.uid import JPEG2000Lossless, JPEGLosslessSV1

    from xraytransfer.cli.film_list import sample_film

    dataset = pydicom.dcmread(sample_film())
    if syntax != "plain":
        pixels = dataset.pixel_array
        stream = (
            imagecodecs.ljpeg_encode(pixels, bitspersample=16)
            if syntax == "jpeg-lossless"
            else (imagecodecs.jpeg2k_encode(pixels, reversible=True, codecformat="j2k"))
        )
        dataset.PixelData = encapsulate([stream])
        dataset.file_meta.TransferSyntaxUID = JPEGLosslessSV1 if syntax == "jpeg-lossless" else JPEG2000Lossless
    first = folder / f"{syntax}.dcm"
    dataset.save_as(first)
    paths = [folder / f"{syntax}-{i}.dcm" for i in range(count)]
    for path in paths:
        path.hardlink_to(first)
    return [str(path) for path in paths]


def rate(work: Callable[[], int]) -> float:
    """Return films per second."""
    start = time.perf_counter()
    return work() / (time.perf_counter() - start)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--films", type=int, default=500)
    parser.add_argument("--model", default="default")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    import xraytransfer
    from xraytransfer.usable_cores import cpu_limit

    classifier = xraytransfer.load(options.model, device="cpu")
    cores = cpu_limit()
    print(f"{options.films} films a measurement, {cores} cores, {options.rounds} rounds in turn, medians, films/s")
    print(f"{'syntax':<15}{'read':>8}{'score':>8}{'both':>8}{'of slower half':>16}{'of possible':>13}")
    with tempfile.TemporaryDirectory() as folder:
        for syntax in SYNTAXES:
            paths = write_films(Path(folder), syntax, options.films)
            film = classifier.read(paths[0])

            def read(paths: list[str] = paths) -> int:
                with ThreadPoolExecutor(cores) as pool:
                    return sum(1 for _ in pool.map(lambda path: classifier.read(path).pixels.shape, paths))

            def score(count: int = len(paths), film: xraytransfer.Radiograph = film) -> int:
                return sum(1 for _ in classifier.predict_many(film for _ in range(count)))

            def both(paths: list[str] = paths) -> int:
                return sum(1 for _ in classifier.predict_many(paths))

            rows = [[rate(half) for half in (read, score, both)] for _ in range(options.rounds)]
            r, s, b = (statistics.median(column) for column in zip(*rows, strict=True))
            slower = statistics.median(row[2] / min(row[:2]) for row in rows)
            possible = statistics.median(row[2] * (1 / row[0] + 1 / row[1]) for row in rows)
            print(f"{syntax:<15}{r:>8.1f}{s:>8.1f}{b:>8.1f}{slower:>15.0%}{possible:>13.0%}")
            small, large = (peak(options.model, paths[:n]) for n in (20, len(paths)))
            print(f"{'':<15}peak memory of a process with 20 films {small:.0f} MB, with all {large:.0f} MB")


PEAK = """
import sys, xraytransfer
for _ in xraytransfer.load(sys.argv[1], device="cpu").predict_many(sys.argv[2:]):
    pass
print(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1])
"""


def peak(model: str, paths: list[str]) -> float:
    """Return the peak memory in MB of a process of its own (Linux) that scores `paths`."""
    command = [sys.executable, "-c", PEAK, model, *paths]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) / 1024


if __name__ == "__main__":
    main()
