"""The grid: the settings of a study, and the options of ``study plan``, ``cache`` and ``run`` made from them.

A grid is architectures x initialisations x truncations x seeds, with one setting of everything else. This module is
light, because the commands are defined with it; what a grid becomes is in `grid_runs`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from xraytransfer.study.runs.option_fields import add_options, field_options, option
from xraytransfer.study.training.presets import Preset, change_preset

__all__ = ["GRID_OPTIONS", "RESULTS", "Grid", "grid_options"]

FOLDER = click.Path(file_okay=False, path_type=Path)
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The settings of ``study plan``, ``cache`` and ``run``: each field is an option, and its help says what it means.

    In addition to the help texts: `data`, `folder`, `mapping` and `views` are those of `datasets.read_dataset`;
    `split`, `fractions`, `salt` and `evaluation_minimum_width` those of `split.split_films`; `initialisations`,
    `truncations` and `seeds` those of `network.build_network`; `changes` comes from `presets.parse_changes`;
    `label_policy` is read by `labels.parse_policy`.
    """

    data: str = field(metadata=option("Layout of the data set.", type=click.Choice(["chexpert", "nih", "csv"])))
    folder: Path = field(metadata=option("The data set.", type=EXISTING_FOLDER))
    mapping: Path | None = field(
        default=None, metadata=option("Mapping file (JSON), for --data csv.", type=EXISTING_FILE)
    )
    views: str = field(
        default="frontal", metadata=option("Views used.", type=click.Choice(["frontal", "lateral", "all"]))
    )
    results: Path = field(metadata=option("Folder of the study's results.", type=FOLDER))
    cache: Path | None = field(default=None, metadata=option("Folder of caches. [default: RESULTS/cache]", type=FOLDER))
    architectures: tuple[str, ...] = field(
        metadata=option(
            "Name of a row, or 'study' for the sixteen; may be given several times.",
            flag="--architecture",
            multiple=True,
        )
    )
    architecture_file: Path | None = field(
        default=None, metadata=option("CSV file with rows of your own.", type=EXISTING_FILE)
    )
    initialisations: tuple[str, ...] = field(
        default=("pretrained",),
        metadata=option(
            "Where the weights start; may be given several times.",
            flag="--initialisation",
            type=click.Choice(["pretrained", "random"]),
        ),
    )
    truncations: tuple[int, ...] = field(
        default=(0,),
        metadata=option(
            "Final stages removed; may be given several times.", flag="--truncation", type=click.IntRange(0, 4)
        ),
    )
    seeds: tuple[int, ...] = field(
        default=(0,), metadata=option("Seed; may be given several times.", flag="--seed", type=click.IntRange(0))
    )
    preset: str = field(default="modern", metadata=option("paper, modern or tiny."))
    changes: Mapping[str, object] | None = field(
        default=None,
        metadata=option("Change a setting of the preset.", flag="--set", multiple=True, metavar="NAME=VALUE"),
    )
    resolution: int | None = field(
        default=None, metadata=option("Side in pixels. [default: the preset's]", type=click.IntRange(32, 2048))
    )
    head: str = field(
        default="product",
        metadata=option(
            "Train the six observations, or all that are labelled.", type=click.Choice(["product", "paper"])
        ),
    )
    label_policy: str = field(
        default="u_zeros",
        metadata=option("u_zeros, u_ones or u_ignore; exceptions as u_zeros,edema=u_ones."),
    )
    intensity: str = field(
        default="voi", metadata=option("Intensity recipe.", type=click.Choice(["voi", "minmax", "chexpert"]))
    )
    split: str = field(
        default="patient-hash",
        metadata=option("How patients are divided.", type=click.Choice(["patient-hash", "official"])),
    )
    # as in `split.split_films`, which is not imported here because it needs numpy; a test holds the two equal
    fractions: tuple[float, ...] = field(
        default=(0.70, 0.15, 0.15), metadata=option("Train, validation and test.", nargs=3, type=float)
    )
    salt: str = field(default="xraytransfer", metadata=option("Of the hash: another salt, another split."))
    evaluation_minimum_width: int = field(
        default=0,
        metadata=option("Films made from narrower pictures are trained on but not judged.", type=click.IntRange(0)),
    )
    weights: Path | None = field(
        default=None,
        metadata=option(
            "Folder of pretrained weights, NAME.safetensors. [default: timm's hub]",
            flag="--weights-dir",
            type=click.Path(exists=True, path_type=Path),
        ),
    )
    keep_test: bool = field(
        default=False,
        metadata=option("Predict nothing for the test patients: for choosing among settings before the one last look."),
    )
    teachers: tuple[Path, ...] = field(
        default=(),
        metadata=option(
            "Folder of a finished run, same data and split, to learn from too; may be given several times.",
            flag="--teacher",
            type=EXISTING_FOLDER,
        ),
    )
    teacher_share: float | None = field(
        default=None,
        metadata=option(
            "Weight of the teachers in the loss; the labels have the rest. [default: 0.5]",
            type=click.FloatRange(0, 1, min_open=True),
        ),
    )

    def training(self) -> Preset:
        """Return the preset with the changes made.

        Raises
        ------
        StudyError
            If the preset is unknown, or a value makes no sense.
        """
        changes = dict(self.changes or {})
        if self.resolution is not None:
            changes["resolution"] = self.resolution
        return change_preset(self.preset, changes)

    def cache_root(self) -> Path:
        """Return the folder of caches."""
        return (self.cache or self.results / "cache").resolve()

    def division(self) -> dict[str, Any]:
        """Return how patients are divided, as `run_data.describe_data` takes it."""
        return {
            "method": self.split,
            "fractions": list(self.fractions),
            "salt": self.salt,
            "evaluation_minimum_width": self.evaluation_minimum_width,
        }

    def data_source(self) -> dict[str, Any]:
        """Return the ``data`` part of config.json, as far as the grid knows it."""
        return {
            "name": self.data,
            "folder": str(self.folder.resolve()),
            "mapping": str(self.mapping.resolve()) if self.mapping else None,
            "views": self.views,
            "cache": str(self.cache_root()),
        }


GRID_OPTIONS = field_options(Grid)
"""Field of `Grid` -> its option."""
RESULTS = GRID_OPTIONS["results"]
WORKERS = click.option("--workers", type=click.IntRange(1), help="Processes that decode. [default: the cores allowed]")

grid_options = add_options(*GRID_OPTIONS.values(), WORKERS)
"""Add the options that say what a grid is."""
