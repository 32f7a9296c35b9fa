"""Scoring an archive's shards: here, as an array job of Slurm, or as tasks of Ray."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any

import click

from xraytransfer.clusters.demand import Demand, Place

if TYPE_CHECKING:
    from xraytransfer.archives.shards import Archive, ShardResult

__all__ = ["FILMS_IN_SHARD", "progress_bar", "score_archive"]

FILMS_IN_SHARD = 2000
"""About half a minute of work for one core."""


@dataclass(frozen=True)
class ArchiveWork:
    """Everything that scoring shards needs, in a form that can be sent to another machine."""

    manifest: str
    output: str
    shards: int
    model: str
    device: str
    threads: int | None
    any_modality: bool
    any_film: bool
    decode: str
    unintended_films: str
    keep_names: bool
    readers: int
    retries: int
    retry_passing: bool
    dicomweb_token: str | None

    def open(self) -> Archive:
        """Load the model, and see that the folder can be written and belongs to this archive."""
        from xraytransfer.archives.manifest import open_manifest
        from xraytransfer.archives.shards import Archive, ShardOptions, open_archive
        from xraytransfer.archives.stores import open_store
        from xraytransfer.classifier import load
        from xraytransfer.cli.dicomweb_films import fetchers

        archive = Archive(
            manifest=open_manifest(self.manifest),
            folder=open_store(self.output),
            shards=self.shards,
            classifier=load(
                self.model, device=self.device, threads=self.threads, unintended_films=self.unintended_films
            ),
            options=ShardOptions(self.any_modality, self.any_film, self.decode, self.unintended_films, self.keep_names),
            readers=self.readers,
            retries=self.retries,
            fetchers=fetchers(self.dicomweb_token),
        )
        open_archive(archive)
        return archive

    def arguments(self) -> list[str]:
        """Return the arguments of `predict` that do this work; the token stays in the environment."""
        values = (
            "manifest",
            "output",
            "model",
            "device",
            "threads",
            "decode",
            "unintended_films",
            "readers",
            "retries",
        )
        flags = ("any_modality", "any_film", "keep_names", "retry_passing")
        options = [(name, getattr(self, name)) for name in values]
        pairs = [(f"--{name}".replace("_", "-"), str(value)) for name, value in options if value is not None]
        flagged = [f"--{name}".replace("_", "-") for name in flags if getattr(self, name)]
        return [word for pair in pairs for word in pair] + flagged


def score_archive(
    *,
    shard: str | None,
    shards: int | None,
    place: Place,
    manifest: str,
    threads: int | None,
    **options: Any,
) -> int:
    """Score one shard of a manifest, or all that are not done; return the exit code.

    The parameters are options of `predict`; `place` holds those of `cluster_options`.
    """
    from xraytransfer.archives.manifest import open_manifest
    from xraytransfer.archives.stores import absolute

    place.check()
    if shard is not None:
        numbers, total = _shards(shard)
    else:
        total = shards or -(-open_manifest(manifest).rows // FILMS_IN_SHARD)
        numbers = range(1, total + 1)
    if place.on is not None:
        threads = threads or place.demand.cpus
    options["output"] = absolute(options["output"])
    work = ArchiveWork(manifest=absolute(manifest), shards=total, threads=threads, **options)
    if place.on == "slurm":
        return _on_slurm(work, place.demand, place.print_script)
    if place.on == "ray":
        return _on_ray(work, place.demand, numbers)
    return _score_shards(work, numbers)


def _score_shards(work: ArchiveWork, numbers: range) -> int:
    """Score shards one after the other; return 1 where films are left to be tried again, else 0."""
    archive = work.open()
    summary = _Summary(work.shards, one_by_one=len(numbers) == 1)
    left = _left(archive, numbers, summary)
    with progress_bar(sum(map(archive.films, left)), "scoring") as report:
        for number in left:
            summary.add(archive.score(number, retry_passing=work.retry_passing, report=report))
    return summary.end()


def _left(archive: Archive, numbers: range, summary: _Summary) -> list[int]:
    """Return the shards that are not done, by the names of the parts alone: fast with millions of films, too."""
    from xraytransfer.archives.collection import read_status

    if len(numbers) == 1:
        return list(numbers)
    done = read_status(archive.folder).done
    left = [number for number in numbers if number not in done]
    summary.there += len(numbers) - len(left)
    return left


def _on_slurm(work: ArchiveWork, demand: Demand, print_script: bool) -> int:
    """Print or submit an array job whose tasks each score a few shards."""
    from xraytransfer.clusters.slurm import MAX_TASKS, ArrayJob, batch_script, submit

    tasks = min(work.shards, MAX_TASKS)
    lines = [
        f"first=$(( (SLURM_ARRAY_TASK_ID - 1) * {work.shards} / {tasks} + 1 ))",
        f"last=$(( SLURM_ARRAY_TASK_ID * {work.shards} / {tasks} ))",
        f"xraytransfer predict --shard $first-$last/{work.shards} {shlex.join(work.arguments())}",
    ]
    script = batch_script(ArrayJob("xraytransfer-predict", tasks, lines, "."), demand)
    if print_script:
        click.echo(script, nl=False)
        return 0
    work.open()  # what is wrong with model, manifest or folder is said here and not by each task
    click.echo(f"job {submit(script)}: {tasks} tasks for {work.shards} shards; see: predict --status {work.output}")
    return 0


def _on_ray(work: ArchiveWork, demand: Demand, numbers: range) -> int:
    """Score shards as tasks of a Ray cluster."""
    from xraytransfer.clusters.ray_tasks import cluster, run_tasks

    archive = work.open()
    summary = _Summary(work.shards, one_by_one=False)
    left = _left(archive, numbers, summary)
    with cluster(), progress_bar(sum(map(archive.films, left)), "scoring") as report:

        def finished(piece: tuple[ArchiveWork, int], result: ShardResult) -> None:
            summary.add(result)
            report(archive.films(piece[1]))

        def failed(piece: tuple[ArchiveWork, int], error: Exception) -> None:
            summary.failed += 1
            click.echo(f"shard {piece[1]}/{work.shards}: failed: {error}", err=True)

        pieces = [(work, number) for number in left]
        run_tasks(score_shard, pieces, demand, finished=finished, failed=failed, log=partial(click.echo, err=True))
    return summary.end()


@lru_cache(maxsize=1)
def _opened(work: ArchiveWork) -> Archive:
    """Return the archive of some work; a worker that scores many shards loads the model once."""
    return work.open()


def score_shard(piece: tuple[ArchiveWork, int]) -> ShardResult:
    """Score one shard in a worker of a cluster."""
    work, number = piece
    return _opened(work).score(number, retry_passing=work.retry_passing)


@dataclass
class _Summary:
    """What became of the shards of one command."""

    shards: int
    one_by_one: bool
    scored: int = 0
    refused: int = 0
    passing: int = 0
    there: int = 0
    failed: int = 0

    def add(self, result: ShardResult) -> None:
        """Count a shard; say what became of it where it is the only one, or holds films to be tried again."""
        self.scored += result.scored
        self.refused += result.refused
        self.passing += result.passing
        self.there += result.state == "there"
        if self.one_by_one or result.passing:
            click.echo(_shard_line(result, self.shards), err=True)

    def end(self) -> int:
        """Say what became of all, and return the exit code: 1 where shards failed or films are left, else 0."""
        if not self.one_by_one:
            before = f"; {self.there} shards were done before" if self.there else ""
            click.echo(f"{self.scored} scored, {self.refused} refused{before}", err=True)
        if self.passing:
            click.echo(
                f"{self.passing} films were not given by their store; try them again with --retry-passing", err=True
            )
        if self.failed:
            click.echo(f"{self.failed} shards failed; the same command tries them again", err=True)
        return 1 if self.passing or self.failed else 0


def _shard_line(result: ShardResult, shards: int) -> str:
    name = f"shard {result.shard}/{shards}"
    if result.state == "there":
        return f"{name}: done before"
    passing = f", {result.passing} to be tried again" if result.passing else ""
    return f"{name}: {result.scored} scored, {result.refused} refused{passing}"


def _shards(text: str) -> tuple[range, int]:
    """Return the numbers and the total of ``K/N`` or ``J-K/N``."""
    match = re.fullmatch(r"(?:(\d+)-)?(\d+)/(\d+)", text)
    if match is not None:
        last, total = int(match[2]), int(match[3])
        first = int(match[1] or last)
        if 1 <= first <= last <= total:
            return range(first, last + 1), total
    raise click.UsageError(f"--shard {text}: expected K/N or J-K/N, numbers from 1 to N, such as 17/4000")


@contextmanager
def progress_bar(films: int, label: str) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on a terminal; elsewhere nothing."""
    if not sys.stderr.isatty():
        yield lambda number: None
        return
    with click.progressbar(length=films, label=label, file=sys.stderr) as bar:
        yield bar.update
