"""CPU seconds that `predict` spends for each film of a folder: JPEG 2000 decoded full and reduced, and uncompressed.

    python benchmarks/compressed_folder.py FILM... [--films 40] [--rounds 3] [--against FOLDER]

The given films (DICOM, PNG or JPEG; folders with all that is below them) are enlarged to 2500 x 2048 pixels of 12 bits
with noise, and stored as JPEG 2000 (lossless) and uncompressed; where they are fewer than `--films`, they are taken
again with other noise. Each row is a command of its own; the CPU time of the same command for one film is taken off, so
that loading the model does not count. The rows take turns, so that a busy machine disturbs all alike; printed is the
median of the rounds. `--against` scores the JPEG 2000 films with the sources of another version, too.
"""

from __future__ import annotations

import argparse
import itertools
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from read_film import COLUMNS, ENCODERS, ROWS, write

from xraytransfer import read_radiograph
from xraytransfer.cli.film_list import films

JPEG_2000, STORED = "1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.1"


def enlarged(source: Any, seed: int) -> np.ndarray:
    """Return a film of 12 bits in full size, with noise."""
    grey = Image.fromarray(read_radiograph(source).pixels).convert("F").resize((COLUMNS, ROWS))
    noise = np.random.default_rng(seed).normal(0, 12, (ROWS, COLUMNS))
    return (400 + np.asarray(grey) * 13 + noise).clip(0, 4095).astype(np.uint16)


def cpu_seconds(sources: str, paths: list[str], options: list[str]) -> float:
    """Return the CPU time of a command that scores `paths`."""
    command = [sys.executable, "-m", "xraytransfer", "predict", *options, "--any-film", "--format", "csv", *paths]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    answer = subprocess.run(
        command, env={**os.environ, "PYTHONPATH": sources}, capture_output=True, text=True, check=False
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if answer.stdout.count(",ok,") != len(paths):
        raise SystemExit(f"not every film was scored: {answer.stderr[-500:]}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def per_film(sources: str, folder: Path, options: list[str]) -> float:
    """Return CPU seconds for one film more."""
    paths = sorted(str(path) for path in folder.iterdir())
    return (cpu_seconds(sources, paths, options) - cpu_seconds(sources, paths[:1], options)) / (len(paths) - 1)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("given", nargs="+", metavar="FILM")
    parser.add_argument("--films", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--against", metavar="FOLDER", help="sources of another version")
    arguments = parser.parse_args()
    own = str(Path(__file__).resolve().parents[1])
    with tempfile.TemporaryDirectory() as scratch:
        compressed, stored = Path(scratch, "jpeg-2000"), Path(scratch, "stored")
        compressed.mkdir()
        stored.mkdir()
        for seed, source in enumerate(itertools.islice(itertools.cycle(list(films(arguments.given))), arguments.films)):
            samples = enlarged(source, seed)
            write(compressed / f"{seed:04}.dcm", samples, JPEG_2000, ENCODERS[JPEG_2000](samples))
            write(stored / f"{seed:04}.dcm", samples, STORED, samples.tobytes())
        rows = [
            ("uncompressed", own, stored, []),
            ("JPEG 2000, reduced", own, compressed, ["--decode", "reduced"]),
            ("JPEG 2000, full", own, compressed, ["--decode", "full"]),
        ]
        if arguments.against:
            rows.append(("JPEG 2000, the other version", arguments.against, compressed, []))
        times: dict[str, list[float]] = {name: [] for name, *_ in rows}
        for _ in range(arguments.rounds):
            for name, *what in rows:
                times[name].append(per_film(*what))
        stored_median = statistics.median(times["uncompressed"])
        print(f"{arguments.films} films of {ROWS} x {COLUMNS}, median of {arguments.rounds} rounds")
        print(f"{'':30} CPU s a film  / uncompressed")
        for name, seconds in times.items():
            print(f"{name:30} {statistics.median(seconds):12.3f} {statistics.median(seconds) / stored_median:15.2f}")


if __name__ == "__main__":
    main()
