"""``xraytransfer predict``: films in, a table or file of results out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xraytransfer.cli.archive_commands import (
    ARCHIVE_OPTIONS,
    SHARED_OPTIONS,
    archive_options,
    check_archive_usage,
    print_status,
)
from xraytransfer.cli.archive_work import score_archive
from xraytransfer.cli.film_list import sample_film
from xraytransfer.cli.film_outputs import FilmOutputs
from xraytransfer.cli.predict_run import run
from xraytransfer.cli.predict_usage import beside_a_manifest, check_usage, form_of, output_file
from xraytransfer.clusters.demand import CLUSTER_OPTIONS, read_place
from xraytransfer.constants import DECODING, DEVICES, FORMATS, UNINTENDED_FILMS
from xraytransfer.film_privacy import keep_films_private
from xraytransfer.headed_help import HeadedCommand
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.usage_errors import as_usage_error

__all__ = ["predict"]

_FOLDER = click.Path(path_type=Path, file_okay=False)


HEADINGS = {
    "Films": (
        "sample", "any_modality", "any_film", "unintended_films", "decode", "dicomweb", "study_uid", "dicomweb_token",
    ),
    "Results": ("form", "output", "resume", "overwrite", "overlay", "observations", "sr", "sc"),
    "Model and machine": ("model", "device", "threads", "batch_size"),
    "Archives of films": tuple(name for name in ARCHIVE_OPTIONS if name not in CLUSTER_OPTIONS),
    "Clusters, with --manifest": CLUSTER_OPTIONS,
}  # fmt: skip
"""Heading of the help text -> names of options."""


@click.command(
    cls=HeadedCommand,
    headings=HEADINGS,
    epilog="Exit code: 0 all scored, 1 some refused, 2 wrong usage, 3 nothing could run, 130 interrupted. "
    "With --manifest and --status, 1 means that films or shards are left; films that are refused for good are results.",
)
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option("--sample", is_flag=True, help="Score the real film that the extra `sample` installs.")
@click.option("--model", default="default", show_default=True, help="Model file, or the name of a shipped model.")
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True, help="Where to score.")
@click.option("--threads", type=click.IntRange(1), help="Threads on the CPU. [default: the usable cores]")
@click.option(
    "--batch-size", type=click.IntRange(1), help="Films scored together. [default: 1 on the CPU, 16 on a GPU]"
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="Format of the results. [default: by the ending of the output file, else table]",
)
@click.option("-o", "--output", help="File for the results, - for standard output; with --manifest a folder or a URL.")
@click.option("--resume", is_flag=True, help="Continue the output file (jsonl or csv): skip the films in it.")
@click.option("--overwrite", is_flag=True, help="Replace the output file if it exists.")
@click.option("--overlay", type=_FOLDER, help="Write PNG pictures of film and activation map into this folder.")
@click.option(
    "--observation",
    "observations",
    multiple=True,
    type=click.Choice([observation.identifier for observation in OBSERVATIONS]),
    help="With --overlay: only this observation; may be repeated. [default: all six]",
)
@click.option("--any-modality", is_flag=True, help="Also score films whose header says that they are no chest film.")
@click.option("--any-film", is_flag=True, help="Also score films that the model's quality gate refuses.")
@click.option(
    "--unintended-films",
    type=click.Choice(UNINTENDED_FILMS),
    default="note",
    show_default=True,
    help="What to do with films of patients under 18 and of animals: score them with a note, or refuse them.",
)
@click.option(
    "--decode",
    type=click.Choice(DECODING),
    default="full",
    show_default=True,
    help="Resolution at which compressed films are decoded; reduced is faster and changes probabilities slightly.",
)
@click.option("--sr", type=_FOLDER, help="Write a DICOM structured report of each film into this folder.")
@click.option("--sc", type=_FOLDER, help="Write a DICOM secondary capture of each film into this folder.")
@click.option("--dicomweb", metavar="URL", help="Also score an examination of this DICOMweb service.")
@click.option("--study-uid", help="Study Instance UID of that examination.")
@click.option("--dicomweb-token", envvar="XRAYTRANSFER_DICOMWEB_TOKEN", help="Bearer token of that service.")
@archive_options
def predict(paths: tuple[str, ...], sample: bool, **options: Any) -> None:
    """Score chest radiographs, called films.

    PATH is a DICOM, PNG or JPEG file, a folder (with everything below it), the DICOMDIR of a disc, a zip archive,
    or - for one film on standard input. Standard error gets one line for each film that is refused, and a count of the
    files in folders and archives that are clearly no films.

    Example: xraytransfer predict films/ -o results.csv
    """
    keep_films_private()
    archive = {name: options.pop(name) for name in ARCHIVE_OPTIONS}
    if (status := archive.pop("status")) is not None:
        click.get_current_context().exit(print_status(status))
    check_archive_usage(archive, options["output"], {"PATH": paths, "--sample": sample} | beside_a_manifest(options))
    if archive["manifest"] is not None:
        with as_usage_error():
            place = read_place(**{name: archive.pop(name) for name in CLUSTER_OPTIONS})
        shared = {name: options[name] for name in SHARED_OPTIONS}
        click.get_current_context().exit(score_archive(place=place, **archive, **shared))
    options["output"] = output_file(options["output"])
    options["form"] = options["form"] or form_of(options["output"])
    check_usage(bool(paths or sample), options)
    if sample:
        paths = (*paths, sample_film())
    outputs = FilmOutputs(**{name: options.pop(name) for name in ("overlay", "observations", "sr", "sc")})
    click.get_current_context().exit(run(paths, outputs, **options))
