"""``xraytransfer manifest`` and ``collect``, and the options of ``predict`` that score an archive by shards."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from xraytransfer.cli.archive_work import FILMS_IN_SHARD, progress_bar
from xraytransfer.clusters.demand import CLUSTER_OPTIONS, cluster_options

if TYPE_CHECKING:
    from xraytransfer.archives.collection import ArchiveStatus

__all__ = [
    "ARCHIVE_OPTIONS",
    "SHARED_OPTIONS",
    "archive_options",
    "check_archive_usage",
    "collect",
    "manifest",
    "print_status",
]

ARCHIVE_OPTIONS = (
    "manifest",
    "shard",
    "shards",
    "retry_passing",
    "keep_names",
    "readers",
    "retries",
    "status",
    *CLUSTER_OPTIONS,
)
"""The options of `predict` that `archive_options` adds."""

SHARED_OPTIONS = (
    "output",
    "model",
    "device",
    "threads",
    "any_modality",
    "any_film",
    "decode",
    "unintended_films",
    "dicomweb_token",
)
"""The other options of `predict` that scoring a manifest knows."""

Command = TypeVar("Command", bound=Callable[..., Any])


@click.command(
    epilog="Exit code: 0 written, 2 wrong usage, 3 not written, 130 interrupted: the same command continues."
)
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="The manifest, a Parquet file.",
)
@click.option("--dicomweb-token", envvar="XRAYTRANSFER_DICOMWEB_TOKEN", help="Bearer token of a DICOMweb service.")
def manifest(sources: tuple[str, ...], output: Path, dicomweb_token: str | None) -> None:
    """List the films of an archive, for `predict --manifest`.

    SOURCE is a folder (with everything below it), an address such as s3://bucket/folder, gs://... or az://..., a CSV
    file with a column `address`, or the root of a DICOMweb service, written dicomweb+https://host/dicom-web.

    Example: xraytransfer manifest s3://archive/2024 -o films.manifest
    """
    from xraytransfer.archives.listing import list_films
    from xraytransfer.cli.dicomweb_films import listers

    rows = list_films(sources, output, listers=listers(dicomweb_token), report=_report_films)
    click.echo(f"{output}: {rows:,} films", err=True)


def _report_films(rows: int) -> None:
    click.echo(f"{rows:,} films listed", err=True)


@click.command(epilog="Exit code: 0 all films of the archive, 1 with gaps, 2 wrong usage, 3 not written.")
@click.argument("folder")
@click.option(
    "-o",
    "--output",
    required=True,
    type=click.Path(path_type=Path, dir_okay=False),
    help="File to write; its name ends in .parquet or .csv.",
)
@click.option("--manifest", "manifest_address", metavar="FILE", help="Also compare each film with this manifest.")
@click.option("--allow-gaps", is_flag=True, help="Write the file even if shards or films are missing.")
def collect(folder: str, output: Path, manifest_address: str | None, allow_gaps: bool) -> None:
    """Merge the parts that `predict --manifest` wrote into one file.

    FOLDER is the folder or URL that -o of `predict --manifest` named. Model, options and number of films of every part
    are checked.

    Example: xraytransfer collect s3://bucket/scores -o scores.parquet
    """
    from xraytransfer.archives.collection import collect as write_collection
    from xraytransfer.archives.collection import passing_films, read_status
    from xraytransfer.archives.manifest import open_manifest
    from xraytransfer.archives.stores import open_store

    if output.suffix not in (".parquet", ".csv"):
        raise click.UsageError(f"-o {output}: the name of the file must end in .parquet or .csv")
    store = open_store(folder)
    films = int(read_status(store).document["rows"])
    with progress_bar(films, "collecting") as report:
        counts = write_collection(
            store,
            output,
            manifest=open_manifest(manifest_address) if manifest_address else None,
            allow_gaps=allow_gaps,
            report=report,
        )
    click.echo(f"{output}: {counts.total():,} films: " + _counts(counts), err=True)
    gaps = counts.total() < films or passing_films(counts) > 0
    click.get_current_context().exit(1 if gaps else 0)


def _counts(counts: dict[str, int]) -> str:
    scored = counts.get("ok", 0)
    refused = [f"{number:,} {reason}" for reason, number in sorted(counts.items()) if reason != "ok"]
    return ", ".join([f"{scored:,} scored", *refused])


def archive_options(command: Command) -> Command:
    """Add the options of `predict` that are about archives."""
    command = cluster_options(command)
    for option in reversed(
        (
            click.option(
                "--manifest",
                metavar="FILE",
                help="Score the films that this manifest lists; -o is then a folder or URL.",
            ),
            click.option(
                "--shard",
                metavar="K/N",
                help="Score only shard K of N shards (from 1) of the manifest; J-K/N for several.",
            ),
            click.option(
                "--shards", type=click.IntRange(1), help=f"Number of shards. [default: one for {FILMS_IN_SHARD} films]"
            ),
            click.option("--retry-passing", is_flag=True, help="Score only films that could not be fetched before."),
            click.option(
                "--keep-names", is_flag=True, help="Write addresses of films into the results, not only their SHA-256."
            ),
            click.option(
                "--readers", type=click.IntRange(1), default=16, show_default=True, help="Threads that fetch films."
            ),
            click.option(
                "--retries",
                type=click.IntRange(0),
                default=3,
                show_default=True,
                help="How often films that cannot be fetched are tried again.",
            ),
            click.option(
                "--status", metavar="FOLDER", help="Only print the progress of the results in this folder or URL."
            ),
        )
    ):
        command = option(command)
    return command


def print_status(folder: str) -> int:
    """Print how far an archive is; return 0 where it is done, else 1."""
    from xraytransfer.archives.collection import read_status
    from xraytransfer.archives.stores import open_store

    status = read_status(open_store(folder))
    for line in _status_lines(status):
        click.echo(line)
    return 0 if len(status.done) == status.shards else 1


def _status_lines(status: ArchiveStatus) -> Iterator[str]:
    rows, done = int(status.document["rows"]), status.films(status.done)
    yield f"{len(status.done):,} of {status.shards:,} shards done: {done:,} of {rows:,} films ({100 * done // rows} %)"
    if status.pending:
        yield f"{len(status.pending):,} shards hold films to be tried again with --retry-passing"
    missing = status.missing
    if missing:
        yield f"{len(missing):,} shards not scored: {', '.join(map(str, missing[:10]))}{' ...' * (len(missing) > 10)}"
    yield f"model {status.document['model']} ({status.document['model_sha256'][:12]})"


def _given(names: Collection[str]) -> list[str]:
    """Return which options of some names the user gave, as they are written."""
    context = click.get_current_context()
    given = [one for one in context.command.params if one.name in names]
    return [one.opts[0] for one in given if context.get_parameter_source(str(one.name)) is not ParameterSource.DEFAULT]


def check_archive_usage(options: dict[str, Any], output: str | None, other: dict[str, Any]) -> None:
    """Refuse options that do not go together with `--manifest`, or need it.

    Parameters
    ----------
    options : dict
        The options of `archive_options`.
    output : str or None
        What ``-o`` names.
    other : dict
        Name -> value of the options that only scoring without a manifest knows; true values are refused.
    """
    if options["manifest"] is None:
        if alone := _given(set(ARCHIVE_OPTIONS) - {"manifest", "status"}):
            raise click.UsageError(f"{alone[0]} goes with --manifest")
        return
    if output in (None, "-"):
        raise click.UsageError("--manifest needs -o FOLDER: where the parts are written, on a disk or in a store")
    if options["shard"] and options["on"]:
        raise click.UsageError("--on places all shards: it does not go with --shard")
    if options["shard"] and options["shards"]:
        raise click.UsageError("--shard K/N names the number of shards already; leave out --shards")
    if options["memory_gb"] and not options["on"]:
        raise click.UsageError("--memory-gb goes with --on slurm or --on ray")
    wrong = [name for name, value in other.items() if value]
    if wrong:
        raise click.UsageError(f"{wrong[0]} does not go with --manifest")
