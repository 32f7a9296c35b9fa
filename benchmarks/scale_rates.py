"""Films a second of one machine: plain `predict_many`, the same films as shards, and the shards as Ray tasks.

Run: ``python benchmarks/scale_rates.py FOLDER --films 1000`` (needs the extra ``cluster``; Linux or macOS)

The three ways score the same films of FOLDER in turns, `--rounds` times; medians are printed, and each way's rate as a
share of the first one's. `predict_many` and the shards use two threads, Ray two workers of one core. What starts once
is left out: Ray's cluster, and the model in each worker, which scores one shard before the clock starts.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from xraytransfer.archives.listing import list_films
from xraytransfer.archives.manifest import ManifestWriter, open_manifest
from xraytransfer.archives.shards import Archive, open_archive
from xraytransfer.archives.stores import open_store
from xraytransfer.classifier import load
from xraytransfer.cli.archive_work import ArchiveWork, score_shard
from xraytransfer.cli.parquet_results import open_results
from xraytransfer.clusters.demand import Demand
from xraytransfer.clusters.ray_tasks import cluster, run_tasks

FILMS_IN_SHARD = 25


def main() -> None:
    """Measure the three ways in turns and print their rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--films", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--model", default="default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = Path(temporary)
        manifest = first_films(options.folder, work, options.films)
        classifier = load(options.model, device="cpu", threads=2)
        paths = [entry.address for entry in open_manifest(str(manifest)).read()]

        def plain(round_: int) -> float:
            start = time.perf_counter()
            with open_results(work / f"plain-{round_}.jsonl", "jsonl", resume=False, overwrite=True) as results:
                for outcome in classifier.predict_many(paths):
                    results.write(outcome)
            return time.perf_counter() - start

        def shards(round_: int) -> float:
            folder = open_store(str(work / f"shards-{round_}"))
            archive = Archive(open_manifest(str(manifest)), folder, len(paths) // FILMS_IN_SHARD, classifier)
            open_archive(archive)
            start = time.perf_counter()
            for shard in range(1, archive.shards + 1):
                archive.score(shard)
            return time.perf_counter() - start

        with cluster():

            def ray(round_: int) -> float:
                return on_ray(work, manifest, len(paths) // FILMS_IN_SHARD, options.model, round_)

            report({"predict_many": plain, "shards": shards, "Ray": ray}, options.rounds, len(paths))


def first_films(folder: Path, work: Path, films: int) -> Path:
    """Write the manifest of the first films of a folder."""
    list_films([str(folder)], work / "all.manifest")
    with ManifestWriter(work / "films.manifest") as writer:
        for entry in open_manifest(str(work / "all.manifest")).read(0, films):
            writer.write(entry)
    return work / "films.manifest"


def on_ray(work: Path, manifest: Path, shards: int, model: str, round_: int) -> float:
    """Score all shards as Ray tasks; return the seconds, without those of a first shard in each worker."""
    piece = ArchiveWork(
        manifest=str(manifest), output=str(work / f"ray-{round_}"), shards=shards, model=model, device="cpu", threads=1,
        any_modality=False, any_film=False, decode="full", unintended_films="note", keep_names=False, readers=16,
        retries=0, retry_passing=False, dicomweb_token=None,
    )  # fmt: skip
    piece.open()
    errors: list[Exception] = []

    def run(numbers: range) -> None:
        run_tasks(
            score_shard,
            [(piece, number) for number in numbers],
            Demand(cpus=1),
            finished=lambda *_: None,
            failed=lambda _, error: errors.append(error),
            log=print,
        )

    run(range(1, 5))
    start = time.perf_counter()
    run(range(5, shards + 1))
    if errors:
        raise errors[0]
    return (time.perf_counter() - start) * shards / (shards - 4)


def report(ways: dict[str, Callable[[int], float]], rounds: int, films: int) -> None:
    """Run the ways in turns and print the median of each."""
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for round_ in range(rounds):
        for name, way in ways.items():
            seconds[name].append(way(round_))
            print(f"round {round_ + 1}, {name}: {films / seconds[name][-1]:.1f} films/s", flush=True)
    first = statistics.median(next(iter(seconds.values())))
    for name, values in seconds.items():
        print(f"{name:<14}{films / statistics.median(values):8.1f} films/s{first / statistics.median(values):8.2f}")


if __name__ == "__main__":
    main()
