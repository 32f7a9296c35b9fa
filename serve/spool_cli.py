"""The command ``xraytransfer spool``: what waits in a spool, what was given up, and what is to become of it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from xraytransfer.errors import ServeError
from xraytransfer.plural import counted
from xraytransfer.serve.dicom_settings import Destination
from xraytransfer.serve.spool.files import DATABASE
from xraytransfer.usage_errors import as_usage_error

if TYPE_CHECKING:
    from xraytransfer.serve.spool.dead import DeadObject
    from xraytransfer.serve.spool.spool import Spool

__all__ = ["spool"]

_FOLDER = click.option(
    "--dicom-spool",
    "folder",
    required=True,
    type=click.Path(path_type=Path, file_okay=False),
    help="The spool's folder, as given to `xraytransfer serve`.",
)
_EXAMPLE = """\b
Example, where a PACS got another address while results waited:
  xraytransfer spool list --dicom-spool /var/lib/xraytransfer
  xraytransfer spool redirect PACS@10.0.0.5:104 PACS@10.0.0.9:104 --dicom-spool /var/lib/xraytransfer

Exit codes: 0 done, 1 some objects could not be handled, 2 wrong usage, 3 the spool cannot be used."""


@click.group(epilog=_EXAMPLE)
def spool() -> None:
    """List, resend, redirect or give up what waits in the DICOM spool.

    Stop the server first: only one process can use a spool. A running server shows what waits in /metrics.
    """


@contextmanager
def _opened(folder: Path) -> Iterator[Spool]:
    """Open a spool that exists; raise `ServeError` where there is none or a server uses it."""
    from xraytransfer.serve.spool.spool import Spool

    if not (folder / DATABASE).is_file():
        raise ServeError(f"{folder} is no spool: it holds no {DATABASE}")
    found = Spool(folder, min_free_bytes=0)
    try:
        yield found
    finally:
        found.close()


@spool.command("list")
@_FOLDER
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_spool(folder: Path, as_json: bool) -> None:
    """Show what waits, since when, and what was given up."""
    from xraytransfer.serve.spool.dead import dead_objects

    with _opened(folder) as found:
        waiting, dead = found.waiting(), dead_objects(found.dead)
    if as_json:
        entries = [{name: value for name, value in asdict(entry).items() if name != "note"} for entry in dead]
        click.echo(json.dumps({**asdict(waiting), "dead": entries}, indent=2))
        return
    click.echo(f"{counted(waiting.films, 'film')} to be scored{_since(waiting.oldest_film_s, waiting.films)}")
    for name, row in waiting.results.items():
        failed = f", failed {row.failures} times" if row.failures else ""
        click.echo(f"{counted(row.results, 'result')} for {name}{_since(row.oldest_s, row.results)}{failed}")
    click.echo(f"{counted(len(dead), 'object')} given up{_since(dead[0].age_s if dead else 0.0, len(dead))}")
    for entry in dead:
        target = f" for {entry.destination}" if entry.destination else ""
        click.echo(f"  {entry.name}: {entry.kind}{target}, {_age(entry.age_s)} ago: {entry.reason}")


def _since(seconds: float, number: int) -> str:
    return f", the oldest since {_age(seconds)}" if number else ""


def _age(seconds: float) -> str:
    for unit, length in (("day", 86400), ("hour", 3600), ("minute", 60)):
        if seconds >= length:
            return counted(int(seconds // length), unit)
    return counted(int(seconds), "second")


@spool.command()
@_FOLDER
@click.argument("names", metavar="[NAME]...", nargs=-1)
@click.option("--all", "everything", is_flag=True, help="Everything that was given up.")
@click.option("--to", metavar="NODE", help="Send results here, not where they were to go before.")
def resend(folder: Path, names: tuple[str, ...], everything: bool, to: str | None) -> int:
    """Put back into the queue what was given up: films are scored again, results sent again.

    NAME is an entry's name in `xraytransfer spool list`.
    """
    from xraytransfer.serve.spool.dead import bring_back, dead_objects

    if bool(names) == everything:
        raise click.UsageError("give the names of `xraytransfer spool list`, or --all")
    destination = None if to is None else _destination(to)
    done = failed = 0
    with _opened(folder) as found:
        for entry in _chosen(dead_objects(found.dead), names):
            try:
                bring_back(found, entry, destination)
                done += 1
            except ServeError as error:
                click.echo(f"error: {error}", err=True)
                failed += 1
    click.echo(f"{counted(done, 'object')} put back; the next start of the server handles them")
    return 1 if failed else 0


def _chosen(dead: Sequence[DeadObject], names: Sequence[str]) -> list[DeadObject]:
    """Return the entries of these names, all if there are none; raise `click.UsageError` for a name that is none."""
    if unknown := set(names) - {entry.name for entry in dead}:
        raise click.UsageError(f"nothing that was given up is called {', '.join(sorted(unknown))}")
    return [entry for entry in dead if not names or entry.name in names]


def _destination(text: str) -> str:
    with as_usage_error():
        return Destination.parse(text).name


def _check_waiting(found: Spool, name: str) -> None:
    """Raise `click.UsageError` where nothing waits for a destination."""
    waiting = found.waiting().results
    if name not in waiting:
        others = f"results wait for {', '.join(waiting)}" if waiting else "no result waits"
        raise click.UsageError(f"nothing waits for {name}; {others}")


@spool.command()
@click.argument("old")
@click.argument("new")
@_FOLDER
def redirect(old: str, new: str, folder: Path) -> None:
    """Send to NEW what waits for OLD: AETITLE@host:port, or the URL of a DICOMweb service."""
    new = _destination(new)
    with _opened(folder) as found:
        _check_waiting(found, old)
        if old == new:
            raise click.UsageError("OLD and NEW are the same")
        results = found.redirect(old, new)
    click.echo(f"{counted(results, 'result')} redirected; start the server with --send-to {new}")


@spool.command()
@click.argument("destination")
@_FOLDER
def bury(destination: str, folder: Path) -> None:
    """Give up what waits for DESTINATION: its results go into the folder dead."""
    with _opened(folder) as found:
        _check_waiting(found, destination)
        results = found.bury_results(destination, "given up by hand")
        click.echo(f"{counted(results, 'result')} put into {found.dead}")


@spool.command()
@_FOLDER
@click.option(
    "--older-than",
    "days",
    required=True,
    type=click.FloatRange(0),
    metavar="DAYS",
    help="Remove what was given up longer ago than this; 0 removes all.",
)
def clear(folder: Path, days: float) -> None:
    """Remove for good what was given up."""
    from xraytransfer.serve.spool.dead import dead_objects, remove_dead

    with _opened(folder) as found:
        old = [entry for entry in dead_objects(found.dead) if entry.age_s >= days * 86400]
        for entry in old:
            remove_dead(entry)
    click.echo(f"{counted(len(old), 'object')} removed")
