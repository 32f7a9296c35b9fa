"""Feed `read_radiograph` damaged films: each must be read or refused, quickly, in bounded memory, in silence.

Run: ``python benchmarks/fuzz_reading.py --mutants 20000`` (needs the extra ``sample``; Linux or macOS)

Seeds are real films (pydicom-data, and ../shared/data/dicom where it stands beside the checkout), thinned out to
about 100 pixels a side and written in every transfer syntax and as PNG and JPEG, and the smaller of
pydicom-data's other files as they are (fuzz_seeds.py). Mutant number n is a function of ``--seed`` and n alone
(fuzz_mutations.py): ``--replay n`` runs it again, in this process, with its traceback, and ``--save FILE`` keeps it.

Each mutant runs in a worker process whose address space is limited (RLIMIT_AS) and that is killed when a mutant
takes too long. A find is: any exception but RadiographError, a warning, output on stderr, a crash, a time-out.

With ``--progress FILE`` the counts are kept in a JSON file after each block of mutants, and the same command goes on
where the last finished block ended.
"""

from __future__ import annotations

import argparse
import collections
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
import warnings
from dataclasses import asdict, dataclass, field
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import numpy as np
from fuzz_mutations import mutant
from fuzz_seeds import films

from xraytransfer.errors import RadiographError
from xraytransfer.files import read_json, write_json
from xraytransfer.radiograph import read_radiograph

MAX_PIXELS = 4_000_000
BLOCK = 5_000


@dataclass
class Tally:
    """What the mutants so far came to.

    Attributes
    ----------
    seed, next : int
        Seed of the random numbers, and number of the first mutant that was not run.
    seconds : float
        Time that the blocks took.
    counts : dict
        Mutants by outcome.
    finds : list of (int, str)
        Number of a mutant and what it did.
    peak : int
        Largest memory of a worker in MiB.
    slowest : (float, int)
        Seconds, and number of the mutant.
    """

    seed: int
    next: int
    seconds: float = 0.0
    counts: dict[str, int] = field(default_factory=dict)
    finds: list[tuple[int, str]] = field(default_factory=list)
    peak: int = 0
    slowest: tuple[float, int] = (0.0, 0)

    def add(self, options: argparse.Namespace, seeds: list[bytes], end: int) -> None:
        """Run the mutants up to `end` and add what they came to."""
        start = time.monotonic()
        counts, finds, peak, slowest = run(seeds, options, self.next, end)
        self.counts = dict((collections.Counter(self.counts) + counts).most_common())
        self.finds += finds
        self.peak, self.slowest = max(self.peak, peak), max((self.slowest[0], self.slowest[1]), slowest)
        self.next, self.seconds = end, self.seconds + time.monotonic() - start


def main() -> int:
    """Run the mutants; print counts and finds; 1 if there are finds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutants", type=int, default=20_000, help="how many (default 20000)")
    parser.add_argument("--first", type=int, default=0, help="number of the first (default 0)")
    parser.add_argument("--seed", type=int, default=0, help="of the random numbers (default 0)")
    parser.add_argument("--workers", type=int, default=1, help="processes (default 1)")
    parser.add_argument("--memory", type=int, default=1024, help="MiB that a worker may add (default 1024)")
    parser.add_argument("--seconds", type=float, default=10, help="limit for one mutant (default 10)")
    parser.add_argument("--progress", type=Path, help="keep the counts in this file, and go on from it")
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
    tally = Tally(options.seed, options.first)
    if options.progress and options.progress.exists():
        tally = Tally(**read_json(options.progress))
        if tally.seed != options.seed:
            parser.error(f"{options.progress} holds a run of seed {tally.seed}")
    end = options.first + options.mutants
    while tally.next < end:
        tally.add(options, seeds, min(tally.next + BLOCK, end))
        print(f"{tally.next:,} mutants, {len(tally.finds)} finds, {tally.seconds:.0f} s", flush=True)
        if options.progress:
            write_json(options.progress, asdict(tally))
    report(tally, names)
    return int(bool(tally.finds))


def report(tally: Tally, names: list[str]) -> None:
    """Print counts and finds."""
    for outcome, count in tally.counts.items():
        print(f"{count:>8,}  {outcome}")
    print(f"peak memory of a worker {tally.peak:,} MiB, slowest mutant {tally.slowest[0]:.2f} s ({tally.slowest[1]})")
    for number, what in tally.finds[:50]:
        kind = names[int(np.random.default_rng([tally.seed, number]).integers(len(names)))]
        print(f"\nmutant {number} ({kind}): {what}")


def run(
    seeds: list[bytes], options: argparse.Namespace, first: int, end: int
) -> tuple[collections.Counter[str], list[Any], int, tuple[float, int]]:
    """Share the mutants out among workers; replace those that crash or hang."""
    counts: collections.Counter[str] = collections.Counter()
    finds: list[tuple[int, str]] = []
    peak, slowest = 0, (0.0, 0)
    active: dict[Connection, Any] = {}
    for worker in range(options.workers):
        launch(active, seeds, options, range(first + worker, end, options.workers))
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


if __name__ == "__main__":
    sys.exit(main())
