"""The grid: which runs a study consists of, and the configuration of each.

A grid is architectures x initialisations x truncations x seeds at one setting of everything else. It is
stored as ``<results>/grid.json`` (several grids may share a results folder: each adds its runs).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from xraytransfer.errors import StudyError
from xraytransfer.study.data.cache import FilmCache, Progress, build_cache
from xraytransfer.study.data.labels import parse_policy, read_policy
from xraytransfer.study.data.run_data import describe_data, read_table
from xraytransfer.study.data.split import FRACTIONS, SALT, check_fractions
from xraytransfer.study.networks.architectures import (
    ARCHITECTURES,
    Architecture,
    find_architecture,
    read_architectures,
)
from xraytransfer.study.training.distillation import DEFAULT_SHARE, describe_teachers
from xraytransfer.study.training.presets import Preset, change_preset
from xraytransfer.study.training.run_folder import place_config

__all__ = ["Cell", "Grid", "cells", "grid_teachers", "place_runs", "run_config"]


@dataclass(frozen=True)
class Cell:
    """One run of a grid."""

    architecture: Architecture
    initialisation: str
    truncation: int
    seed: int

    @property
    def name(self) -> str:
        """The run's name: ``resnet18-pretrained-t0-s0``."""
        return f"{self.architecture.name}-{self.initialisation}-t{self.truncation}-s{self.seed}"


@dataclass(frozen=True)
class Grid:
    """What `study plan` and `study run` are told.

    Attributes
    ----------
    results : Path
        Where everything is written.
    data, folder, mapping, views
        As `datasets.read_dataset`.
    architectures : tuple of str
        Names of rows; ``study`` stands for all sixteen.
    architecture_file : Path or None
        CSV file with rows of the user's own.
    initialisations, truncations, seeds : tuple
        See `network.build_network`.
    preset : str
        See `presets.PRESETS`.
    changes : mapping
        Settings changed, see `presets.parse_changes`.
    resolution : int or None
        Side in pixels; None for the preset's.
    head : str
        ``product`` or ``paper``.
    label_policy : str
        See `labels.parse_policy`.
    intensity : str
        Recipe.
    split, fractions, salt, evaluation_minimum_width
        As `split.split_films`.
    weights : Path or None
        Folder or file of pretrained weights; None for timm's hub.
    cache : Path or None
        Folder of caches; None for ``<results>/cache``.
    keep_test : bool
        Leave the test patients alone: nothing is predicted for them, so that settings may be compared.
    teachers : tuple of Path
        Folders of finished runs on the same data and split that the runs also learn from.
    teacher_share : float
        Their weight in the loss; None for the usual one, or where there are none.
    """

    results: Path
    data: str
    folder: Path
    architectures: tuple[str, ...]
    mapping: Path | None = None
    views: str = "frontal"
    architecture_file: Path | None = None
    initialisations: tuple[str, ...] = ("pretrained",)
    truncations: tuple[int, ...] = (0,)
    seeds: tuple[int, ...] = (0,)
    preset: str = "modern"
    changes: Mapping[str, object] | None = None
    resolution: int | None = None
    head: str = "product"
    label_policy: str = "u_zeros"
    intensity: str = "voi"
    split: str = "patient-hash"
    fractions: tuple[float, ...] = FRACTIONS
    salt: str = SALT
    evaluation_minimum_width: int = 0
    weights: Path | None = None
    cache: Path | None = None
    keep_test: bool = False
    teachers: tuple[Path, ...] = ()
    teacher_share: float | None = None

    def check(self) -> None:
        """Raise `StudyError` for what no data set could fulfil, before one is read."""
        self.training()
        if not cells(self):
            raise StudyError("the grid holds no run: name at least one architecture")
        check_fractions(self.fractions)
        read_policy(self.label_policy)
        if self.teacher_share is not None and not self.teachers:
            raise StudyError(
                "a teachers' share without teachers: name them with --teacher, or leave --teacher-share out"
            )

    def training(self) -> Preset:
        """Return the preset with the changes made."""
        changes = dict(self.changes or {})
        if self.resolution is not None:
            changes["resolution"] = self.resolution
        return change_preset(self.preset, changes)

    def cache_root(self) -> Path:
        """Return the folder of caches."""
        return (self.cache or self.results / "cache").resolve()


def cells(grid: Grid) -> list[Cell]:
    """Return the runs, seed by seed, so that a first answer over all architectures comes early.

    Raises
    ------
    StudyError
        If an architecture is unknown.
    """
    more = read_architectures(grid.architecture_file) if grid.architecture_file else ()
    names: list[str] = []
    for name in grid.architectures:
        names += [row.name for row in ARCHITECTURES if row.group == "study"] if name == "study" else [name]
    rows = [find_architecture(name, more) for name in dict.fromkeys(names)]
    return [
        Cell(row, initialisation, truncation, seed)
        for seed in dict.fromkeys(grid.seeds)
        for truncation in dict.fromkeys(grid.truncations)
        for initialisation in dict.fromkeys(grid.initialisations)
        for row in rows
    ]


def run_config(
    grid: Grid, cell: Cell, outputs: Sequence[str], data: Mapping[str, Any], split: Mapping[str, Any]
) -> dict[str, Any]:
    """Return config.json of a run.

    Parameters
    ----------
    grid, cell
        What to train.
    outputs : sequence of str
        Observations trained.
    data, split : mapping
        From `run_data.describe_data`.
    """
    preset = grid.training()
    pretrained = cell.initialisation == "pretrained"
    return {
        "schema": 1,
        "writer": f"xraytransfer {version('xraytransfer')}",
        "architecture": cell.architecture.name,
        "timm": cell.architecture.timm,
        "family": cell.architecture.family,
        "row": cell.architecture.to_dict(),
        "initialisation": cell.initialisation,
        "truncation": cell.truncation,
        "seed": cell.seed,
        "outputs": list(outputs),
        "resolution": [preset.resolution, preset.resolution],
        "intensity": grid.intensity,
        "preset": preset.to_dict(),
        "label_policy": grid.label_policy,
        "weights": {"path": str(grid.weights.resolve()) if pretrained and grid.weights else None},
        "data": dict(data),
        "split": dict(split),
        **({"test": "untouched"} if grid.keep_test else {}),
        **({"teacher": taught} if (taught := grid_teachers(grid, outputs, split)) else {}),
    }


def grid_teachers(grid: Grid, outputs: Sequence[str], split: Mapping[str, Any]) -> dict[str, Any]:
    """Return the teachers' part of a configuration, empty where there are none.

    Raises
    ------
    StudyError
        As `teacher.describe_teachers`.
    """
    if grid.teachers:
        share = DEFAULT_SHARE if grid.teacher_share is None else grid.teacher_share
        return describe_teachers(grid.teachers, share, outputs, split, grid.label_policy)
    return {}


def data_source(grid: Grid) -> dict[str, Any]:
    """Return the ``data`` part of a configuration, as far as the grid knows it."""
    return {
        "name": grid.data,
        "folder": str(grid.folder.resolve()),
        "mapping": str(grid.mapping.resolve()) if grid.mapping else None,
        "views": grid.views,
        "cache": str(grid.cache_root()),
    }


def build_grid_cache(grid: Grid, *, workers: int = 1, progress: Progress | None = None) -> FilmCache:
    """Build, or repair, the cache that a grid's runs need."""
    side = grid.training().resolution
    table = read_table(data_source(grid))
    return build_cache(grid.cache_root(), table, (side, side), grid.intensity, workers=workers, progress=progress)


def place_runs(grid: Grid, *, workers: int = 1, progress: Progress | None = None) -> list[Path]:
    """Build the cache and write each run's config.json; return the run folders.

    Raises
    ------
    StudyError
        If data or settings do not fit, or a run exists with other settings.
    """
    grid.check()
    preset = grid.training()
    division = {
        "method": grid.split,
        "fractions": list(grid.fractions),
        "salt": grid.salt,
        "evaluation_minimum_width": grid.evaluation_minimum_width,
    }
    resolution = (preset.resolution, preset.resolution)
    table, data, split = describe_data(
        data_source(grid), division, resolution, grid.intensity, workers=workers, progress=progress
    )
    outputs = table.outputs(grid.head)
    parse_policy(grid.label_policy, outputs)
    folders = []
    for cell in cells(grid):
        folder = grid.results / "runs" / cell.name
        place_config(folder, run_config(grid, cell, outputs, data, split))
        folders.append(folder)
    return folders
