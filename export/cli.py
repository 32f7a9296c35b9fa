"""Commands: ``xraytransfer export`` and ``xraytransfer calibrate``.

Light on purpose: everything heavy is imported inside the command bodies.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from xraytransfer.constants import DEVICES
from xraytransfer.film_privacy import keep_films_private
from xraytransfer.usage_errors import as_usage_error

__all__ = ["calibrate", "export"]

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE_THAT_IS = click.Path(exists=True, dir_okay=False, path_type=Path)
NEW_FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)


def _deprecated(_: click.Context, __: click.Parameter, folder: Path | None) -> Path | None:
    """Print that ``--judge`` is the former name of ``--quality-gate``."""
    if folder is not None:
        click.echo("--judge is deprecated: write --quality-gate", err=True)
    return folder


@click.command()
@click.argument("runs", nargs=-1, type=FOLDER)
@click.option("--study", type=FOLDER, metavar="RESULTS", help="With --best: all finished runs of this results folder.")
@click.option(
    "--best",
    type=click.IntRange(1),
    metavar="K",
    help="Choose at most K members (checkpoints or soups) among the runs, by validation patients.",
)
@click.option(
    "--chosen-by",
    metavar="NAME",
    help="With --best: choose by this external test of the runs (`study test --name`) instead.",
)
@click.option("--max-mb", type=click.FloatRange(0, min_open=True), help="With --best: largest file, in MB.")
@click.option(
    "--max-ms",
    type=click.FloatRange(0, min_open=True),
    help="With --best: longest time for one film, in ms on one thread of this processor.",
)
@click.option("-o", "--output", type=FILE, required=True, help="The model file; its cards are written beside it.")
@click.option(
    "--checkpoints",
    default="all",
    show_default=True,
    metavar="all|best|N|STEP,STEP",
    help="Checkpoints of each run: all kept, or the N best; of one run also by step, as in 560,840.",
)
@click.option(
    "--fuse",
    type=click.Choice(["none", "soup"]),
    default="none",
    show_default=True,
    help="soup: average the weights of each run's checkpoints into one member.",
)
@click.option(
    "--precision",
    type=click.Choice(["float32", "float16-weights", "float16", "int8"]),
    default="float32",
    show_default=True,
    help="float16-weights halves the file; float16 is for GPUs, int8 for CPUs.",
)
@click.option(
    "--int8-except",
    multiple=True,
    metavar="ARCHITECTURE",
    help="In an int8 file, leave members of this architecture in float16-weights; may be repeated.",
)
@click.option(
    "--input",
    type=click.Choice(["any", "fixed"]),
    default="any",
    show_default=True,
    help="any: films of any size. fixed: films only at the model's resolution, for runtimes that need it.",
)
@click.option(
    "--input-type",
    type=click.Choice(["uint8", "float32"]),
    default="uint8",
    show_default=True,
    help="Type of a fixed input; grey levels are 0 to 255 in both.",
)
@click.option(
    "--calibration",
    type=click.Choice(["auto", "none", "temperature", "platt", "beta"]),
    default="auto",
    show_default=True,
    help="auto takes the method with the smallest calibration error on other patients.",
)
@click.option(
    "--margin", type=click.FloatRange(0, 1), help="AUROC that the precision may lose.  [default: by precision]"
)
@click.option(
    "--quality-gate", type=FOLDER, help="Folder of `study quality-gate`: put this quality gate into the file."
)
@click.option("--judge", type=FOLDER, hidden=True, callback=_deprecated, help="Former name of --quality-gate.")
@click.option(
    "--external",
    nargs=2,
    multiple=True,
    type=(FILE_THAT_IS, FOLDER),
    metavar="MAPPING FOLDER",
    help="Also test the file on films of other patients, labelled by others, for the card.",
)
@click.option(
    "--correct",
    nargs=2,
    type=(FILE_THAT_IS, FOLDER),
    metavar="MAPPING FOLDER",
    help="Also evaluate the test films with corrected labels, as `study relabel --correct` does.",
)
@click.option(
    "--robustness", is_flag=True, help="Also score the test films in variants, as other hospitals might send them."
)
@click.option("--name", help="Name of the model.  [default: that of the output file, without .onnx]")
@click.option("--model-version", "version", default="1", show_default=True, help="Version of the model.")
@click.option("--licence", default="Apache-2.0", show_default=True, help="SPDX identifier of the weights' licence.")
@click.option(
    "--device", type=click.Choice(DEVICES), default="auto", show_default=True, help="Where the file is checked."
)
@click.option("--data-folder", "folder", type=FOLDER, help="Where the data set is now.  [default: as in config.json]")
@click.option("--cache", type=FOLDER, help="Where the folder of caches is now.  [default: as in config.json]")
@click.option("--weights-out", type=NEW_FOLDER, help="Also write the members' weights here, as safetensors.")
@click.option("--triton", type=NEW_FOLDER, help="Also write a Triton model repository here.")
@click.option("--overwrite", is_flag=True, help="Replace the file, and Triton's folder of it, if it exists.")
@click.option("--force", is_flag=True, help="Write the file even if a check fails; the file and its card then say so.")
def export(
    runs: tuple[Path, ...], study: Path | None, output: Path, triton: Path | None, judge: Path | None, **options: Any
) -> None:
    """Write the ensemble of RUNS as one ONNX file.

    RUNS are folders of finished runs, such as results/runs/NAME. Other programs can use the file without this package.
    With --study RESULTS --best K, the members are chosen among all finished runs of a study.
    """
    if bool(runs) == (study is not None):
        raise click.UsageError(
            "name run folders, or give --study RESULTS, and not both; a run folder is RESULTS/runs/NAME"
        )
    if study is not None and options["best"] is None:
        raise click.UsageError("--study RESULTS needs --best K: the number of members to choose")
    from xraytransfer.export.options import ExportOptions
    from xraytransfer.export.triton import check_name, check_place, write_repository

    options |= {"name": options["name"] or output.stem, "quality_gate": options["quality_gate"] or judge}
    export_options = ExportOptions(**options)
    with as_usage_error():  # before torch is loaded
        export_options.check_combination()
        if triton is not None:
            check_name(export_options.name)
    export_options.check(output)
    if triton is not None:
        check_place(triton, export_options.name, export_options.overwrite)

    from xraytransfer.export.candidates import finished_runs
    from xraytransfer.export.exporter import export_runs

    export_runs(finished_runs(study) if study else runs, output, export_options, click.echo)
    if triton is not None:
        click.echo(f"Triton: {write_repository(output, triton, overwrite=export_options.overwrite)}")


@click.command()
@click.argument("model")
@click.argument("labelled", type=FILE_THAT_IS)
@click.option("-o", "--output", type=FILE, required=True, help="The copy of the model file, with its cards beside it.")
@click.option(
    "--calibration",
    "method",
    type=click.Choice(["auto", "none", "temperature", "platt", "beta"]),
    default="auto",
    show_default=True,
    help="auto takes the method with the smallest calibration error on other patients.",
)
@click.option("--name", help="Name of the copy.  [default: the model's]")
@click.option("--version", help="Version of the copy.  [default: the model's, +site. and digits of the checksum]")
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True, help="Where films are scored.")
@click.option("--overwrite", is_flag=True, help="Replace the copy if it exists.")
def calibrate(model: str, labelled: Path, output: Path, **options: Any) -> None:
    """Fit calibration and thresholds of MODEL to a site's own films.

    LABELLED is a CSV file with a column path, one column for each labelled observation (1, 0 or empty),
    and optionally a column patient.
    """
    from xraytransfer.export.site_calibration import calibrate_site

    keep_films_private()
    calibrate_site(model, labelled, output, log=click.echo, **options)
