"""The grid: the settings of a study, and the options of ``study plan``, ``cache`` and ``run`` made from them.

A grid is architectures x initialisations x truncations x seeds, with one setting of everything else. This module is
light, because the commands are defined with it; what a grid becomes is in `grid_runs`.
"""

# ruff: noqa: RUF009 - `option` returns a field
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from xraytransfer.study.runs.option_fields import add_options, field_options, option
from xraytransfer.study.training.presets import GRID_DEFAULTS, Preset, change_preset

__all__ = ["GRID_OPTIONS", "RESULTS", "Grid", "grid_options"]

FOLDER = click.Path(file_okay=False, path_type=Path)
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
VIEWS = click.Choice(["frontal", "lateral", "all"])


@dataclass(frozen=True, kw_only=True)
class Grid:
    """The settings of ``study plan``, ``cache`` and ``run``; each field is an option, and its help text explains it.

    In addition to the help texts: `data`, `folder`, `mapping` and `views` are parameters of `datasets.read_dataset`;
    `split`, `fractions`, `salt` and `evaluation_minimum_width` of `split.split_films`; `initialisations` and
    `truncations` of `network.build_network`; `changes` comes from `presets.parse_changes`; `label_policy` is read by
    `labels.parse_policy`. `views`, `head` and `label_policy` are what the preset decides where they are not given.
    """

    data: str = option("Layout of the data set.", type=click.Choice(["chexpert", "nih", "csv"]))
    folder: Path = option("The data set.", type=EXISTING_FOLDER)
    mapping: Path | None = option("Mapping file (JSON), for --data csv.", None, type=EXISTING_FILE)
    views: str = option(
        "Views to use. [default: frontal; with the preset paper all]",
        None,
        type=VIEWS,
    )
    results: Path = option("Folder of the study's results.", type=FOLDER)
    cache: Path | None = option("Folder of caches. [default: RESULTS/cache]", None, type=FOLDER)
    architectures: tuple[str, ...] = option(
        "Name of an architecture, or 'study' for the sixteen; may be repeated.",
        (),
        flag="--architecture",
    )
    architecture_file: Path | None = option("CSV file with your own architectures.", None, type=EXISTING_FILE)
    initialisations: tuple[str, ...] = option(
        "Initial weights; may be repeated.",
        ("pretrained",),
        flag="--initialisation",
        type=click.Choice(["pretrained", "random"]),
    )
    truncations: tuple[int, ...] = option(
        "Number of final stages to remove; may be repeated.",
        (0,),
        flag="--truncation",
        type=click.IntRange(0, 4),
    )
    seeds: tuple[int, ...] = option("Random seed; may be repeated.", (0,), flag="--seed", type=click.IntRange(0))
    preset: str = option("Settings of training: paper, modern or tiny.", "modern")
    changes: Mapping[str, object] | None = option(
        "Change a setting of the preset.", None, flag="--set", multiple=True, metavar="NAME=VALUE"
    )
    resolution: int | None = option(
        "Side of the pictures, in pixels. [default: the preset's]", None, type=click.IntRange(32, 2048)
    )
    head: str = option(
        "Train the six observations (product), or all that are labelled (paper). [default: product; with the preset "
        "paper paper]",
        None,
        type=click.Choice(["product", "paper"]),
    )
    label_policy: str = option(
        "Uncertain labels: u_zeros, u_ones or u_ignore; exceptions as in u_zeros,edema=u_ones. [default: u_zeros; "
        "with the preset paper u_ignore]",
        None,
    )
    intensity: str = option("Intensity recipe.", "voi", type=click.Choice(["voi", "minmax", "chexpert"]))
    split: str = option("How patients are divided.", "patient-hash", type=click.Choice(["patient-hash", "official"]))
    # as in `split.split_films`, which is not imported here because it needs numpy; a test holds the two equal
    fractions: tuple[float, ...] = option(
        "Shares of patients for training, validation and test.", (0.70, 0.15, 0.15), nargs=3, type=float
    )
    salt: str = option("Salt of the hash that divides patients; another salt gives another split.", "xraytransfer")
    evaluation_minimum_width: int = option(
        "Train on films made from narrower pictures, but do not evaluate on them.", 0, type=click.IntRange(0)
    )
    weights: Path | None = option(
        "Folder of pretrained weights, NAME.safetensors. [default: timm's hub]",
        None,
        flag="--weights-dir",
        type=click.Path(exists=True, path_type=Path),
    )
    allow_missing: float = option(
        "Share of films that may be missing or unreadable: of all films, and of each official split.",
        0.01,
        type=click.FloatRange(0, 1),
    )
    corrections: Path | None = option(
        "Mapping file (JSON) of other labels, which correct those of training and validation films.",
        None,
        flag="--correct",
        type=EXISTING_FILE,
    )
    corrections_folder: Path | None = option(
        "Folder of the CSV file with these labels. [default: that of the data set]",
        None,
        flag="--correct-folder",
        type=EXISTING_FOLDER,
    )
    half: str | None = option(
        "Train on one half of the training patients, to teach the other half.", None, type=click.Choice(["A", "B"])
    )
    keep_test: bool = option("Predict nothing for the test patients while you compare settings.", False)
    teachers: tuple[Path, ...] = option(
        "Folder of a finished run on the same data and split, to learn from; may be repeated.",
        (),
        flag="--teacher",
        type=EXISTING_FOLDER,
    )
    teacher_share: float | None = option(
        "Weight of the teachers in the loss; that of the labels is 1 minus this. [default: 0.5]",
        None,
        type=click.FloatRange(0, 1, min_open=True),
    )

    def __post_init__(self) -> None:
        """Take what the preset decides for options that are not given."""
        for name, (default, by_preset) in GRID_DEFAULTS.items():
            if getattr(self, name) is None:
                object.__setattr__(self, name, by_preset.get(self.preset, default))

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
        source = {
            "name": self.data,
            "folder": str(self.folder.resolve()),
            "mapping": str(self.mapping.resolve()) if self.mapping else None,
            "views": self.views,
            "cache": str(self.cache_root()),
        }
        if self.corrections is None:
            return source
        folder = self.corrections_folder or self.folder
        return {
            **source,
            "corrected": {"folder": str(folder.resolve()), "mapping": str(self.corrections.resolve())},
        }


GRID_OPTIONS = field_options(Grid)
"""Field of `Grid` -> its option."""
RESULTS = GRID_OPTIONS["results"]
WORKERS = click.option(
    "--workers", type=click.IntRange(1), help="Processes that decode films. [default: the cores allowed]"
)

grid_options = add_options(*GRID_OPTIONS.values(), WORKERS)
"""Add the options that say what a grid is."""
