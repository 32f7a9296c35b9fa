"""The options that say what a grid is, shared by ``study plan``, ``cache`` and ``run``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

__all__ = ["RESULTS", "grid_options"]

RESULTS = click.option(
    "--results", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the study's results."
)


def grid_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the options that say what the grid is."""
    options = [
        click.option(
            "--data", type=click.Choice(["chexpert", "nih", "csv"]), required=True, help="Layout of the data set."
        ),
        click.option(
            "--folder",
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            required=True,
            help="The data set.",
        ),
        click.option(
            "--mapping",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="Mapping file (JSON), for --data csv.",
        ),
        click.option(
            "--views",
            type=click.Choice(["frontal", "lateral", "all"]),
            default="frontal",
            show_default=True,
            help="Views used.",
        ),
        RESULTS,
        click.option(
            "--cache",
            type=click.Path(file_okay=False, path_type=Path),
            help="Folder of caches. [default: RESULTS/cache]",
        ),
        click.option(
            "--architecture",
            "architectures",
            multiple=True,
            required=True,
            help="Name of a row, or 'study' for the sixteen; may be given several times.",
        ),
        click.option(
            "--architecture-file",
            type=click.Path(exists=True, dir_okay=False, path_type=Path),
            help="CSV file with rows of your own.",
        ),
        click.option(
            "--initialisation",
            "initialisations",
            multiple=True,
            type=click.Choice(["pretrained", "random"]),
            default=["pretrained"],
            show_default=True,
            help="Where the weights start; may be given several times.",
        ),
        click.option(
            "--truncation",
            "truncations",
            multiple=True,
            type=click.IntRange(0, 4),
            default=[0],
            show_default=True,
            help="Final stages removed; may be given several times.",
        ),
        click.option(
            "--seed",
            "seeds",
            multiple=True,
            type=click.IntRange(0),
            default=[0],
            show_default=True,
            help="Seed; may be given several times.",
        ),
        click.option("--preset", default="modern", show_default=True, help="paper, modern or tiny."),
        click.option("--set", "changes", multiple=True, metavar="NAME=VALUE", help="Change a setting of the preset."),
        click.option("--resolution", type=click.IntRange(32, 2048), help="Side in pixels. [default: the preset's]"),
        click.option(
            "--head",
            type=click.Choice(["product", "paper"]),
            default="product",
            show_default=True,
            help="Train the six observations, or all that are labelled.",
        ),
        click.option(
            "--label-policy",
            default="u_zeros",
            show_default=True,
            help="u_zeros, u_ones or u_ignore; exceptions as u_zeros,edema=u_ones.",
        ),
        click.option(
            "--intensity",
            type=click.Choice(["voi", "minmax", "chexpert"]),
            default="voi",
            show_default=True,
            help="Intensity recipe.",
        ),
        click.option(
            "--split",
            type=click.Choice(["patient-hash", "official"]),
            default="patient-hash",
            show_default=True,
            help="How patients are divided.",
        ),
        click.option(
            "--fractions",
            nargs=3,
            type=float,
            default=(0.70, 0.15, 0.15),
            show_default=True,
            help="Train, validation and test.",
        ),
        click.option(
            "--salt", default="xraytransfer", show_default=True, help="Of the hash: another salt, another split."
        ),
        click.option(
            "--evaluation-minimum-width",
            type=click.IntRange(0),
            default=0,
            show_default=True,
            help="Films made from narrower pictures are trained on but not judged.",
        ),
        click.option(
            "--weights-dir",
            "weights",
            type=click.Path(exists=True, path_type=Path),
            help="Folder of pretrained weights, NAME.safetensors. [default: timm's hub]",
        ),
        click.option(
            "--keep-test",
            is_flag=True,
            help="Predict nothing for the test patients: for choosing among settings before the one last look.",
        ),
        click.option(
            "--teacher",
            "teachers",
            multiple=True,
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help="Folder of a finished run, same data and split, to learn from too; may be given several times.",
        ),
        click.option(
            "--teacher-share",
            type=click.FloatRange(0, 1, min_open=True),
            help="Weight of the teachers in the loss; the labels have the rest. [default: 0.5]",
        ),
        click.option("--workers", type=click.IntRange(1), help="Processes that decode. [default: the cores allowed]"),
    ]
    for option in reversed(options):
        command = option(command)
    return command
