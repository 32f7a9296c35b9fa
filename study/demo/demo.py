"""A whole study in minutes, without any data: phantoms, toy networks, a grid, and a report.

The code of the commands runs: the data set is read as CheXpert is, the grid is scheduled and trained as any other,
and the report is written from its files. Only two things are special: films are drawn (`phantoms.dataset`), and
networks are pretrained on drawn shapes (`shape_pretraining`).

Its size is chosen so that answers are seen. Training films are few and the learning rate is low, so that networks gain
from having seen shapes before; test patients are many, so that intervals are narrow; and the miniature networks have
no stage to spare, so that cutting hurts. Six networks of four families are too few for correlations, and the report
has to say so.
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

from xraytransfer.errors import BusyError, StudyError
from xraytransfer.study.networks.architectures import Architecture
from xraytransfer.study.phantoms.dataset import write_phantoms
from xraytransfer.study.runs.grid import Grid
from xraytransfer.study.runs.grid_runs import place_runs
from xraytransfer.study.runs.scheduler import Slot, local_slots, run_all
from xraytransfer.study.training.interrupts import EXIT_REQUEUE
from xraytransfer.usable_cores import cpu_limit

__all__ = ["ARCHITECTURES", "run_demo"]

ARCHITECTURES = tuple(
    Architecture(name, timm, family, body, group="demo", source="accuracy on drawn shapes, not on ImageNet")
    for name, timm, family, body in (
        ("toy_resnet", "test_resnet", "ResNet", "resnet"),
        ("resnet10t", "resnet10t", "ResNet", "resnet"),
        ("toy_efficientnet", "test_efficientnet", "EfficientNet", "efficientnet"),
        ("mobilenetv3_small_050", "mobilenetv3_small_050", "MobileNetV3", "mobilenetv3"),
        ("mobilenetv4_small_035", "mobilenetv4_conv_small_035", "MobileNetV4", "mobilenetv3"),
        ("mobilenetv4_small_050", "mobilenetv4_conv_small_050", "MobileNetV4", "mobilenetv3"),
    )
)
"""Small timm models of four families, without ImageNet weights."""

TRUNCATED = ("toy_resnet", "toy_efficientnet")
"""Names of the architectures that are truncated too."""

CUTS = (1, 3)
"""Stages that are removed from them."""

FRACTIONS = (0.35, 0.1, 0.55)
"""Shares of patients for training, validation and test: few to learn from, many to be sure."""

SIZE = 64
"""Resolution of the networks in pixels."""


def run_demo(
    results: Path,
    *,
    patients: int = 500,
    epochs: int = 6,
    shapes: int = 6400,
    seeds: Sequence[int] = (0, 1),
    architectures: Sequence[Architecture] = ARCHITECTURES,
    replicates: int = 1000,
    slots: int | None = None,
    log: Callable[[str], None] = lambda line: None,
) -> Path:
    """Run the demo.

    Parameters
    ----------
    results : Path
        Folder of everything. A demo that was interrupted continues.
    patients : int
        Number of phantom patients.
    epochs : int
        Epochs of each run.
    shapes : int
        Number of drawn shapes that each network is pretrained on.
    seeds : sequence of int
        Seeds of all networks.
    architectures : sequence of Architecture
        Rows of the architectures that are trained.
    replicates : int
        Bootstrap replicates of the report.
    slots : int, optional
        Runs side by side; one per core if absent.
    log : callable
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
    # here and not above: the processes of runs import this module, and need no matplotlib
    from xraytransfer.study.report.report import write_report

    places = local_slots("cpu", slots or cpu_limit(), 1)
    log(f"drawing {patients} phantom patients")
    folder = write_phantoms(results / "phantoms", patients=patients, size=96, workers=len(places))
    table = _pretrain(results / "weights", architectures, shapes, len(places), log)
    _train(_grids(results, folder, table, rows=architectures, epochs=epochs, seeds=seeds), places, log)
    return write_report(results, replicates=replicates, workers=len(places), log=log)


def _train(grids: Sequence[Grid], slots: list[Slot], log: Callable[[str], None]) -> None:
    """Train every run of the grids; raise `StudyError` if one fails."""
    folders = [folder for grid in grids for folder in place_runs(grid, workers=len(slots))]
    if failed := run_all(folders, slots, log, start=_ForkedRun):
        raise StudyError(f"{len(failed)} runs of the demo failed, first {failed[0].name}: see its failed.json")


def _grids(
    results: Path, folder: Path, table: Path, *, rows: Sequence[Architecture], epochs: int, seeds: Sequence[int]
) -> list[Grid]:
    """Return the grid of whole networks and that of truncated ones."""
    whole = Grid(
        results=results,
        data="chexpert",
        folder=folder,
        architectures=tuple(row.name for row in rows),
        architecture_file=table,
        initialisations=("pretrained", "random"),
        seeds=tuple(seeds),
        preset="tiny",
        changes={"epochs": epochs, "evaluate_every": 256, "learning_rate": 1e-3},
        resolution=SIZE,
        weights=table.parent,
        fractions=FRACTIONS,
    )
    names = tuple(row.name for row in rows if row.name in TRUNCATED)
    truncated = replace(whole, architectures=names, initialisations=("pretrained",), truncations=CUTS)
    return [whole, truncated] if names else [whole]


def _pretrain(
    folder: Path, rows: Sequence[Architecture], shapes: int, workers: int, log: Callable[[str], None]
) -> Path:
    """Pretrain on shapes, unless done before; return the table of architectures beside the weights."""
    table = folder / "architectures.csv"
    if table.is_file() and all((folder / f"{row.name}.safetensors").is_file() for row in rows):
        return table
    log(f"pretraining {len(rows)} networks on {shapes} drawn shapes")
    lines = []
    with ProcessPoolExecutor(workers, mp_context=_processes()) as pool:
        for row, percent in zip(rows, pool.map(partial(_pretrain_one, folder, shapes), rows), strict=True):
            log(f"{row.name}: pretrained, {percent:.0f} % of other shapes named right")
            line = replace(row, imagenet_top1=round(percent, 2)).to_dict()
            lines.append({k: " ".join(map(str, v)) if isinstance(v, list) else v for k, v in line.items()})
    with table.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    return table


def _pretrain_one(folder: Path, shapes: int, row: Architecture) -> float:
    """Pretrain one network on one core, in a process of its own; return its accuracy in percent."""
    import torch

    from xraytransfer.study.demo.shape_pretraining import pretrain

    torch.set_num_threads(1)
    return pretrain(row, folder / f"{row.name}.safetensors", pictures=shapes, size=SIZE)


def _processes() -> multiprocessing.context.BaseContext:
    """Return how processes are made: where possible, forked from one that has already imported torch."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["xraytransfer.study.training.run", "xraytransfer.study.demo.shape_pretraining"])
    return context


class _ForkedRun:
    """A run in a process that need not import torch again, because importing takes longer than a toy run."""

    def __init__(self, folder: Path, slot: Slot) -> None:
        self.process = _processes().Process(target=_run, args=(folder, slot))  # type: ignore[attr-defined]
        self.process.start()

    def poll(self) -> int | None:
        """Return the exit code; None while the run goes on."""
        code: int | None = self.process.exitcode
        return code

    def terminate(self) -> None:
        """Ask the run to save and stop."""
        self.process.terminate()

    def kill(self) -> None:
        """End the run at once."""
        self.process.kill()


def _run(folder: Path, slot: Slot) -> None:
    """Run one folder, with its output in the folder; exit code 3 if it fails."""
    from xraytransfer.study.training.run import run_one

    try:
        run_one(folder, device=slot.device, threads=slot.threads, own_output=True)
    except BusyError:
        sys.exit(EXIT_REQUEUE)
    except StudyError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(3)
