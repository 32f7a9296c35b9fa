"""The usage of `predict`: options that contradict each other, and what an output file's name asks for."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from xraytransfer.cli.archive_commands import SHARED_OPTIONS
from xraytransfer.constants import FORMATS, RESUMABLE

__all__ = ["beside_a_manifest", "check_usage", "form_of", "output_file"]


def beside_a_manifest(options: dict[str, Any]) -> dict[str, Any]:
    """Return the options that scoring a manifest does not know, as they are written, with their values."""
    written = {"form": "--format", "observations": "--observation"}
    return {
        written.get(name, f"--{name}".replace("_", "-")): value
        for name, value in options.items()
        if name not in SHARED_OPTIONS
    }


def output_file(output: str | None) -> Path | None:
    """Return the file that ``-o`` names, None for ``-``, which is standard output; a folder is wrong usage."""
    if output == "-":
        return None
    if output is not None and os.path.isdir(output):
        raise click.UsageError(f"-o {output}: is a folder, expected a file")
    return None if output is None else Path(output)


def check_usage(has_paths: bool, options: dict[str, Any]) -> None:
    """Refuse options that contradict each other or lack what they need."""
    if not (has_paths or options["dicomweb"]):
        raise click.UsageError("name at least one PATH, or use --sample")
    if (options["dicomweb"] is None) != (options["study_uid"] is None):
        raise click.UsageError("--dicomweb and --study-uid go together")
    if options["observations"] and options["overlay"] is None:
        raise click.UsageError("--observation chooses overlays: it goes with --overlay")
    if options["resume"] and options["overwrite"]:
        raise click.UsageError("--resume continues the output file, --overwrite replaces it: choose one")
    if options["resume"] and (options["output"] is None or options["form"] not in RESUMABLE):
        raise click.UsageError(f"--resume needs -o FILE and --format {' or '.join(RESUMABLE)}")


def form_of(output: Path | None) -> str:
    """Return the form that an output file's name asks for; a table for plain text."""
    suffix = "" if output is None else output.suffix.lower().removeprefix(".")
    if suffix in ("", "txt"):
        return "table"
    if suffix not in FORMATS:
        raise click.UsageError(f"-o {output}: no form is called {suffix}; --format says which: {', '.join(FORMATS)}")
    return suffix
