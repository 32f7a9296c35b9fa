"""Archives of millions of films: time and memory of listing, planning, status, resume and collecting.

Run: ``python benchmarks/scale.py --rows 1000000 2000000`` (needs the extra ``parquet``; Linux or macOS)

Every step runs in a process of its own, whose largest memory is read when it has ended; the memory of a process that
only imports the package is printed, too. Manifests and parts are made up: addresses as buckets have them, numbers at
random. Steps whose time per million rows grows with the number of rows are not linear; the last column shows it.

From rates that you measured, the script prints hours and cost: ``--films-per-second 40 --nodes 1 10 100 --price 0.1``.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROWS_IN_SHARD = 2000
FILMS = 10_000_000


def main() -> None:
    """Measure every step for each number of rows; print a table, and hours and cost."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[250_000, 500_000, 1_000_000])
    parser.add_argument("--files", type=int, default=100_000, help="files that are listed (default 100000)")
    parser.add_argument("--films-per-second", type=float, nargs="+", default=[], help="measured rates of one node")
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--price", type=float, help="price of a node for an hour")
    options = parser.parse_args()
    _, idle = measured(nothing)
    print(f"a process that imports the package: {idle} MB\n")
    print(f"{'step':<12}{'rows':>12}{'seconds':>10}{'MB':>8}{'s per million':>16}")
    with tempfile.TemporaryDirectory() as folder:
        report("listing", options.files, list_files, Path(folder), options.files)
        for rows in options.rows:
            work = Path(folder) / str(rows)
            work.mkdir()
            report("manifest", rows, make_manifest, work, rows)
            report("plan", rows, plan, work)
            make_parts(work, rows)
            report("status", rows, status, work)
            report("resume", rows, status, work, True)
            report("collect", rows, collect_parts, work)
    for rate in options.films_per_second:
        for nodes in options.nodes:
            hours = FILMS / rate / nodes / 3600
            cost = f", {hours * nodes * options.price:,.0f} in all" if options.price else ""
            print(f"{FILMS:,} films at {rate:g} films/s on {nodes} nodes: {hours:,.1f} hours{cost}")


def measured(step: Callable[..., object], *arguments: object) -> tuple[float, int]:
    """Return seconds and largest memory in MB of a step in a process of its own."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sender, step, arguments))
    process.start()
    seconds, memory = receiver.recv()
    process.join()
    return seconds, memory


def _run(sender: object, step: Callable[..., object], arguments: tuple[object, ...]) -> None:
    import xraytransfer.archives.collection
    import xraytransfer.archives.listing  # noqa: F401

    start = time.perf_counter()
    step(*arguments)
    seconds = time.perf_counter() - start
    sender.send((seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024))  # type: ignore[attr-defined]


def report(name: str, rows: int, step: Callable[..., object], *arguments: object) -> None:
    """Measure a step and print its line."""
    seconds, memory = measured(step, *arguments)
    print(f"{name:<12}{rows:>12,}{seconds:>10.2f}{memory:>8}{1e6 * seconds / rows:>16.2f}", flush=True)


def nothing() -> None:
    """Do nothing."""
    from xraytransfer.archives.manifest import arrow

    arrow()


def list_files(folder: Path, files: int) -> None:
    """List a folder of files, 1,000 in each folder."""
    from xraytransfer.archives.listing import list_films

    for i in range(files):
        path = folder / "films" / f"{i // 1000:05d}" / f"{i:08d}.dcm"
        if i % 1000 == 0:
            path.parent.mkdir(parents=True)
        path.touch()
    start = time.perf_counter()
    list_films([str(folder / "films")], folder / "films.manifest")
    print(f"(of which listing and writing: {time.perf_counter() - start:.2f} s)")


def make_manifest(folder: Path, rows: int) -> None:
    """Write a manifest of made-up addresses."""
    from xraytransfer.archives.manifest import ManifestWriter
    from xraytransfer.archives.stores import Entry

    with ManifestWriter(folder / "films.manifest") as writer:
        for i in range(rows):
            writer.write(Entry(f"s3://archive/2024/{i // 1000:07d}/{i:010d}.dcm", 7_000_000 + i, f"{i:032x}"))


def plan(folder: Path) -> None:
    """Open the manifest and read the rows of three shards."""
    from xraytransfer.archives.manifest import open_manifest, rows_digest, shard_bounds

    manifest = open_manifest(str(folder / "films.manifest"))
    shards = manifest.rows // ROWS_IN_SHARD
    for shard in (1, shards // 2 + 1, shards):
        rows_digest(manifest.read(*shard_bounds(manifest.rows, shard, shards)))


def make_parts(folder: Path, rows: int) -> None:
    """Write the parts of all shards but each tenth, with made-up results."""
    import json

    from xraytransfer.archives.manifest import open_manifest, shard_bounds
    from xraytransfer.archives.parts import PartDescription, part_bytes
    from xraytransfer.archives.shards import FORMAT, ShardOptions
    from xraytransfer.observations import OBSERVATIONS

    manifest = open_manifest(str(folder / "films.manifest"))
    shards = rows // ROWS_IN_SHARD
    options = dict(vars(ShardOptions()))
    document = {"format": FORMAT, "rows": rows, "manifest_sha256": manifest.sha256, "shards": shards}
    document |= {"model": "made up 1", "model_sha256": "0" * 64, "options": options}
    parts = folder / "parts"
    parts.mkdir()
    (parts / "archive.json").write_text(json.dumps(document))
    rng = np.random.default_rng(1)
    numbers = rng.random((ROWS_IN_SHARD, 6)).round(6)
    results = [
        {
            "film": f"{i:064x}",
            "status": "ok",
            **{o.identifier: float(v) for o, v in zip(OBSERVATIONS, row, strict=True)},
        }
        for i, row in enumerate(numbers)
    ]
    for shard in range(1, shards + 1):
        if shard % 10 == 0:
            continue
        start, stop = shard_bounds(rows, shard, shards)
        description = PartDescription(shard, shards, "0" * 64, "0" * 64, options)
        (parts / description.name()).write_bytes(part_bytes(description, results[: stop - start]))


def status(folder: Path, with_manifest: bool = False) -> None:
    """Tell which shards are left, from the names of the parts, as `predict --status` and a continued run do."""
    from xraytransfer.archives.collection import read_status
    from xraytransfer.archives.manifest import open_manifest
    from xraytransfer.archives.stores import open_store

    if with_manifest:
        open_manifest(str(folder / "films.manifest"))
    found = read_status(open_store(str(folder / "parts")))
    if len(found.missing) != found.shards // 10:
        raise RuntimeError(f"{len(found.missing)} shards are missing, expected {found.shards // 10}")


def collect_parts(folder: Path) -> None:
    """Merge all parts into one file."""
    from xraytransfer.archives.collection import collect
    from xraytransfer.archives.stores import open_store

    collect(open_store(str(folder / "parts")), folder / "all.parquet", allow_gaps=True)


if __name__ == "__main__":
    main()
