"""A whole study in minutes, without any data: phantoms, toy networks, a grid, and a report.

The commands' own code runs: the data set is read as CheXpert is, the grid placed and trained as any other,
the report written from its files. Only two things are special: films are drawn (`phantom_data`), and
networks are pretrained on drawn shapes (`shapes`).
"""

from __future__ import annotations

import csv
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from xraytransfer.errors import StudyError
from xraytransfer.study.networks.architectures import Architecture
from xraytransfer.study.phantoms.dataset import write_phantoms

if TYPE_CHECKING:
    from xraytransfer.study.runs.grid import Grid
    from xraytransfer.study.runs.scheduler import Job, Slot

__all__ = ["ARCHITECTURES", "run_demo"]

ARCHITECTURES = tuple(
    Architecture(name, timm, family, body, group="demo", source="accuracy on drawn shapes, not on ImageNet")
    for name, timm, family, body in (
        ("toy_resnet", "test_resnet", "Toy ResNet", "resnet"),
        ("toy_efficientnet", "test_efficientnet", "Toy EfficientNet", "efficientnet"),
        ("mobilenetv2_050", "mobilenetv2_050", "MobileNetV2", "efficientnet"),
        ("mobilenetv3_small_050", "mobilenetv3_small_050", "MobileNetV3", "mobilenetv3"),
        ("mobilenetv3_small_075", "mobilenetv3_small_075", "MobileNetV3", "mobilenetv3"),
    )
)
"""Small timm models of four families; without ImageNet weights."""

CUT = ("toy_resnet", "toy_efficientnet")
"""Those that are truncated too."""

SIZE = 64


def run_demo(
    results: Path,
    *,
    patients: int = 320,
    epochs: int = 4,
    shapes: int = 2400,
    seeds: Sequence[int] = (0, 1),
    architectures: Sequence[Architecture] = ARCHITECTURES,
    replicates: int = 1000,
    slots: int | None = None,
    say: Callable[[str], None] | None = None,
) -> Path:
    """Run the demo.

    Parameters
    ----------
    results : Path
        Folder of everything. A demo that was interrupted goes on.
    patients : int
        Phantom patients.
    epochs : int
        Of each run.
    shapes : int
        Drawn shapes that each network is pretrained on.
    seeds : sequence of int
        Of the whole networks; truncated ones have the first only.
    architectures : sequence of Architecture
        Rows.
    replicates : int
        Bootstrap replicates of the report.
    slots : int, optional
        Runs side by side; as many as there are cores if absent.
    say : callable, optional
        Takes each line of progress.

    Returns
    -------
    Path
        ``report.html``.

    Raises
    ------
    StudyError
        A run failed.
    """
    from xraytransfer.runtime import cpu_limit
    from xraytransfer.study.report.report import write_report
    from xraytransfer.study.runs.grid_runs import place_runs
    from xraytransfer.study.runs.scheduler import local_slots, run_all

    tell = say or (lambda line: None)
    places = local_slots("cpu", slots or cpu_limit(), 1)
    tell(f"drawing {patients} phantom patients")
    folder = write_phantoms(results / "phantoms", patients=patients, size=96, workers=len(places))
    table = _pretrained(results, architectures, shapes, len(places), tell)
    folders: list[Path] = []
    for grid in _grids(results, folder, table, rows=architectures, epochs=epochs, seeds=seeds):
        folders += place_runs(grid, workers=len(places))
    if failed := run_all(folders, places, tell, start=_starter()):
        raise StudyError(f"{len(failed)} runs of the demo failed, first {failed[0].name}: see its failed.json")
    return write_report(results, replicates=replicates, workers=len(places), say=tell)


def _grids(
    results: Path, folder: Path, table: Path, *, rows: Sequence[Architecture], epochs: int, seeds: Sequence[int]
) -> list[Grid]:
    """Return the grid of whole networks and that of truncated ones."""
    from xraytransfer.study.runs.grid import Grid

    whole = Grid(
        results=results,
        data="chexpert",
        folder=folder,
        architectures=tuple(row.name for row in rows),
        architecture_file=table,
        initialisations=("pretrained", "random"),
        seeds=tuple(seeds),
        preset="tiny",
        changes={"epochs": epochs, "evaluate_every": 256, "batch": 8},
        resolution=SIZE,
        weights=table.parent,
        fractions=(0.5, 0.15, 0.35),
    )
    cut = tuple(row.name for row in rows if row.name in CUT)
    truncated = replace(
        whole, architectures=cut, initialisations=("pretrained",), truncations=(1, 2), seeds=tuple(seeds[:1])
    )
    return [whole, truncated] if cut else [whole]


def _pretrained(
    results: Path, rows: Sequence[Architecture], shapes: int, workers: int, tell: Callable[[str], None]
) -> Path:
    """Pretrain on shapes; return the table of architectures beside the weights."""
    folder = results / "weights"
    table = folder / "architectures.csv"
    if table.is_file() and all((folder / f"{row.name}.safetensors").is_file() for row in rows):
        return table
    tell(f"pretraining {len(rows)} networks on {shapes} drawn shapes")
    accuracy = []
    with ProcessPoolExecutor(workers, mp_context=_processes()) as pool:
        for row, percent in zip(rows, pool.map(partial(_pretrain_one, folder, shapes), rows), strict=True):
            tell(f"{row.name}: pretrained, {percent:.0f} % of other shapes named right")
            accuracy.append(percent)
    with table.open("w", newline="", encoding="utf-8") as file:
        lines = []
        for row, percent in zip(rows, accuracy, strict=True):
            line = replace(row, imagenet_top1=round(percent, 2)).to_dict()
            spaced = {key: " ".join(map(str, value)) for key, value in line.items() if isinstance(value, list)}
            lines.append(line | spaced)
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return table


def _pretrain_one(folder: Path, shapes: int, row: Architecture) -> float:
    """Pretrain one network on one core, in a process of its own."""
    import torch

    from xraytransfer.study.demo.shape_pretraining import pretrain

    torch.set_num_threads(1)
    return pretrain(row, folder / f"{row.name}.safetensors", pictures=shapes, size=SIZE)


def _processes() -> multiprocessing.context.BaseContext:
    """Return how processes are made: forked from one that has imported torch already, where that exists."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["xraytransfer.study.training.run", "xraytransfer.study.demo.shape_pretraining"])
    return context


class _Forked:
    """A run in a process that need not import torch again: importing takes longer than a toy run."""

    def __init__(self, folder: Path, slot: Slot) -> None:
        self.process = _processes().Process(target=_run, args=(folder, slot))  # type: ignore[attr-defined]
        self.process.start()

    def poll(self) -> int | None:
        """Return the exit code, None while it runs."""
        code: int | None = self.process.exitcode
        return code

    def terminate(self) -> None:
        """Ask it to save and stop."""
        self.process.terminate()

    def kill(self) -> None:
        """End it at once."""
        self.process.kill()


def _starter() -> Callable[[Path, Slot], Job]:
    return _Forked


def _run(folder: Path, slot: Slot) -> None:
    """Run one folder, its output in the folder; exit code 3 if it fails."""
    from xraytransfer.study.training.run import run_one

    with (folder / "output.txt").open("w", encoding="utf-8", buffering=1) as output:
        sys.stdout = sys.stderr = output
        try:
            run_one(folder, device=slot.device, threads=slot.threads)
        except StudyError as error:
            output.write(f"{error}\n")
            sys.exit(3)
