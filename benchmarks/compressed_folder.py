"""CPU seconds for each film of a folder that is scored: JPEG 2000 decoded full and reduced, and uncompressed.

    python benchmarks/compressed_folder.py FILM... [--films 40] [--rounds 3] [--against FOLDER]

The given films (DICOM, PNG or JPEG; folders with all that is below them) are enlarged to 2500 x 2048 pixels of 12 bits
with noise, and stored as JPEG 2000 (lossless) and uncompressed; where they are fewer than `--films`, they are taken
again with other noise. Each row is a process of its own that has loaded the model before. The rows take turns, so that
a busy machine disturbs all alike; printed is the median of the rounds. `--against` scores the JPEG 2000 films with the
sources of another version, too.
"""

from __future__ import annotations

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import IO, Any, cast

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


# Scores the folder again for each line that it is sent.
WORKER = """
import sys, time
from pathlib import Path
import xraytransfer
classifier = xraytransfer.load(device="cpu")
paths = sorted(map(str, Path(sys.argv[1]).iterdir()))
options = {"any_film": True, **({"decode": sys.argv[2]} if len(sys.argv) > 2 else {})}
list(classifier.predict_many(paths[:1], **options))
for _ in sys.stdin:
    start = time.process_time()
    results = list(classifier.predict_many(paths, **options))
    failed = [result.message for result in results if not result.ok]
    print(failed or (time.process_time() - start) / len(paths), flush=True)
"""


def worker(sources: str, folder: Path, options: list[str]) -> subprocess.Popen[str]:
    """Return a process that scores a folder with the sources of a version."""
    return subprocess.Popen(
        [sys.executable, "-c", WORKER, str(folder), *options],
        env={**os.environ, "PYTHONPATH": sources}, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


def seconds_per_film(process: subprocess.Popen[str]) -> float:
    """Return the CPU seconds for each film of a worker's folder."""
    print("again", file=process.stdin, flush=True)
    answer = next(iter(cast(IO[str], process.stdout)), "the process has ended")
    if answer.startswith("["):
        raise SystemExit(f"not every film was scored: {answer}")
    return float(answer)


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
            ("JPEG 2000, reduced", own, compressed, ["reduced"]),
            ("JPEG 2000, full", own, compressed, ["full"]),
        ]
        if arguments.against:
            rows.append(("JPEG 2000, the other version", arguments.against, compressed, []))
        workers = {name: worker(*what) for name, *what in rows}
        times: dict[str, list[float]] = {name: [] for name in workers}
        for name in list(workers) * arguments.rounds:
            times[name].append(seconds_per_film(workers[name]))
        for process in workers.values():
            process.communicate()
        stored_median = statistics.median(times["uncompressed"])
        print(f"{arguments.films} films of {ROWS} x {COLUMNS}, median of {arguments.rounds} rounds")
        print(f"{'':30} CPU s a film  / uncompressed")
        for name, seconds in times.items():
            print(f"{name:30} {statistics.median(seconds):12.3f} {statistics.median(seconds) / stored_median:15.2f}")


if __name__ == "__main__":
    main()
