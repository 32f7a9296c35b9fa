"""The runs of a grid: their names, their configurations, and the cache that they share.

Several grids may share a results folder: each adds its runs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from xraytransfer.errors import StudyError
from xraytransfer.files import read_json
from xraytransfer.study.data.cache import FilmCache, Progress
from xraytransfer.study.data.labels import parse_policy, read_policy
from xraytransfer.study.data.run_data import build_checked_cache, describe_data, read_table
from xraytransfer.study.data.split import check_fractions
from xraytransfer.study.networks.architectures import (
    ARCHITECTURES,
    CHEXPERT_MEAN,
    CHEXPERT_STD,
    Architecture,
    find_architecture,
    read_architectures,
)
from xraytransfer.study.networks.network import check_body
from xraytransfer.study.networks.weights import check_hub_weights, describe_weights, find_weights
from xraytransfer.study.runs.grid import Grid
from xraytransfer.study.training.distillation import DEFAULT_SHARE, describe_teachers
from xraytransfer.study.training.presets import Preset
from xraytransfer.study.training.run_folder import write_config

__all__ = [
    "GridRun",
    "build_grid_cache",
    "check_grid",
    "check_networks",
    "grid_runs",
    "grid_teachers",
    "place_runs",
    "run_config",
]


@dataclass(frozen=True)
class GridRun:
    """One run of a grid."""

    architecture: Architecture
    initialisation: str
    truncation: int
    seed: int

    @property
    def name(self) -> str:
        """The run's name: ``resnet18-pretrained-t0-s0``."""
        return f"{self.architecture.name}-{self.initialisation}-t{self.truncation}-s{self.seed}"


def check_grid(grid: Grid, *, without_runs: bool = False) -> None:
    """Check what can be checked before a data set is read; a cache needs no run.

    Raises
    ------
    StudyError
        If the settings make no sense with any data set.
    """
    grid.training()
    if not grid_runs(grid) and not without_runs:
        raise StudyError(
            "no network is named: give --architecture NAME, or --architecture study for the sixteen of the paper"
        )
    check_fractions(grid.fractions)
    read_policy(grid.label_policy)
    if grid.data == "csv" and grid.mapping is None:
        raise StudyError("--data csv needs the mapping file of its table: --mapping FILE")
    if grid.teacher_share is not None and not grid.teachers:
        raise StudyError("a teachers' share without teachers: name them with --teacher, or leave --teacher-share out")
    if grid.corrections_folder is not None and grid.corrections is None:
        raise StudyError("--correct-folder says where corrected labels are: name their mapping file with --correct")


def grid_runs(grid: Grid) -> list[GridRun]:
    """Return the runs, seed by seed, so that first results of all architectures come early.

    Raises
    ------
    StudyError
        If an architecture is unknown.
    """
    sixteen = [row.name for row in ARCHITECTURES if row.group == "study"]
    names = [one for name in grid.architectures for one in (sixteen if name == "study" else [name])]
    more = read_architectures(grid.architecture_file, names) if grid.architecture_file else ()
    rows = [find_architecture(name, more) for name in dict.fromkeys(names)]
    return [
        GridRun(row, initialisation, truncation, seed)
        for seed in dict.fromkeys(grid.seeds)
        for truncation in dict.fromkeys(grid.truncations)
        for initialisation in dict.fromkeys(grid.initialisations)
        for row in rows
    ]


def check_networks(grid: Grid) -> None:
    """Check that each network of a grid can be cut as its row says, and that its weights are where they should be.

    Weights of timm's hub are looked for in its local cache and on the hub, for runs that have not begun.

    Raises
    ------
    StudyError
        If the row's body does not fit timm's model, or weights are missing.
    """
    for run in {(run.architecture.name, run.truncation, run.initialisation): run for run in grid_runs(grid)}.values():
        if run.architecture not in ARCHITECTURES:
            check_body(run.architecture, run.truncation)
        if run.initialisation == "pretrained" and grid.weights and grid.weights.is_dir():
            find_weights(run.architecture, grid.weights)
    if grid.weights is None:
        check_hub_weights(_rows_that_load(grid))


def _rows_that_load(grid: Grid) -> list[Architecture]:
    """Return the architectures of which a run has yet to load pretrained weights from the hub."""
    runs = [run for run in grid_runs(grid) if run.initialisation == "pretrained"]
    rows = {run.architecture.name: run.architecture for run in runs if _loads(grid.results / "runs" / run.name)}
    return list(rows.values())


def _loads(folder: Path) -> bool:
    """Return whether a run has yet to load weights from the hub: not once it has begun, or has a folder of weights."""
    if (folder / "done.json").is_file() or (folder / "last" / "state.json").is_file():
        return False
    config = folder / "config.json"
    return not (config.is_file() and read_json(config)["weights"]["path"])


def run_config(
    grid: Grid, run: GridRun, outputs: Sequence[str], data: Mapping[str, Any], split: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the content of config.json of a run.

    Parameters
    ----------
    grid : Grid
        The settings.
    run : GridRun
        One of its runs.
    outputs : sequence of str
        Observations that the run trains.
    data, split : mapping
        From `run_data.describe_data`.
    """
    preset = grid.training()
    pretrained = run.initialisation == "pretrained"
    return {
        "schema": 1,
        "writer": f"xraytransfer {version('xraytransfer')}",
        "architecture": run.architecture.name,
        "timm": run.architecture.timm,
        "family": run.architecture.family,
        "row": _row(run, preset).to_dict(),
        "initialisation": run.initialisation,
        "truncation": run.truncation,
        "seed": run.seed,
        "outputs": list(outputs),
        "resolution": [preset.resolution, preset.resolution],
        "intensity": grid.intensity,
        "preset": preset.to_dict(),
        "label_policy": grid.label_policy,
        "weights": describe_weights(run.architecture, grid.weights) if pretrained and grid.weights else {"path": None},
        "data": dict(data),
        "split": dict(split),
        **({"half": grid.half} if grid.half else {}),
        **({"test": "untouched"} if grid.keep_test else {}),
        **({"teacher": teachers} if (teachers := grid_teachers(grid, outputs, split)) else {}),
    }


def _row(run: GridRun, preset: Preset) -> Architecture:
    """Return the row of the network that a run trains: random weights need no normalisation of ImageNet's."""
    if run.initialisation == "random" and preset.random_normalisation == "chexpert":
        return replace(run.architecture, mean=CHEXPERT_MEAN, std=CHEXPERT_STD)
    return run.architecture


def grid_teachers(grid: Grid, outputs: Sequence[str], split: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ``teacher`` part of config.json; empty if there are no teachers.

    Raises
    ------
    StudyError
        See `distillation.describe_teachers`.
    """
    if not grid.teachers:
        return {}
    share = DEFAULT_SHARE if grid.teacher_share is None else grid.teacher_share
    return describe_teachers(grid.teachers, share, outputs, split, grid.label_policy)


def build_grid_cache(
    grid: Grid,
    *,
    workers: int = 1,
    progress: Progress | None = None,
    warn: Callable[[str], None] = lambda line: None,
) -> FilmCache:
    """Build or repair the cache that the runs of a grid share; arguments and errors as `build_checked_cache`."""
    side = grid.training().resolution
    table = read_table(grid.data_source())
    return build_checked_cache(
        grid.cache_root(), table, (side, side), grid.intensity, grid.training().placement,
        workers=workers, progress=progress, allow_missing=grid.allow_missing, warn=warn,
    )  # fmt: skip


def place_runs(
    grid: Grid,
    *,
    workers: int = 1,
    progress: Progress | None = None,
    warn: Callable[[str], None] = lambda line: None,
) -> list[Path]:
    """Build the cache and write config.json of each run; return the run folders.

    Raises
    ------
    StudyError
        If data or settings do not fit, or a run exists with other settings.
    """
    check_grid(grid)
    read_table(grid.data_source())  # a wrong folder is reported before weights are looked for on a network
    check_networks(grid)
    side = grid.training().resolution
    table, data, split = describe_data(
        grid.data_source(), grid.division(), (side, side), grid.intensity, grid.training().placement,
        workers=workers, progress=progress, allow_missing=grid.allow_missing, warn=warn,
    )  # fmt: skip
    outputs = table.outputs(grid.head)
    parse_policy(grid.label_policy, outputs)
    folders = []
    for run in grid_runs(grid):
        folder = grid.results / "runs" / run.name
        write_config(folder, run_config(grid, run, outputs, data, split))
        folders.append(folder)
    return folders
