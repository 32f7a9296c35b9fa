"""What a grid will cost: a few measured steps of each network, before anything starts."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from xraytransfer.plural import counted
from xraytransfer.study.data.cache import cache_bytes
from xraytransfer.study.data.run_data import read_table
from xraytransfer.study.data.split import SPLITS, split_films
from xraytransfer.study.networks.network import build_network
from xraytransfer.study.runs.grid import Cell, Grid, cells, grid_teachers
from xraytransfer.study.training.augment import augment
from xraytransfer.study.training.loss import masked_loss
from xraytransfer.study.training.optimizer import make_optimizer
from xraytransfer.study.training.precision import resolve_precision
from xraytransfer.study.training.predict import EVALUATION_BATCH, predict_rows
from xraytransfer.study.training.presets import Preset
from xraytransfer.study.training.run import prepare_device, resolve_device
from xraytransfer.study.training.train import LOG_STEPS

__all__ = ["CellPlan", "Plan", "make_plan", "probe", "seconds_needed"]

PICTURES = 256
"""Random pictures that batches are drawn from, as from a cache."""
WARM_UP = 5
"""Batches before the clock starts on a GPU, which searches for its fastest kernels first."""


@dataclass(frozen=True)
class CellPlan:
    """What one run will cost.

    Attributes
    ----------
    name : str
        Of the run.
    parameters : int
        See `Network.parameter_count`.
    disk : int
        Bytes of its checkpoints and resume state.
    seconds : float or None
        Of training, evaluation and prediction; None without a probe.
    """

    name: str
    parameters: int
    disk: int
    seconds: float | None


@dataclass(frozen=True)
class Plan:
    """What a grid will cost.

    Attributes
    ----------
    runs : list of CellPlan
        In the order in which they start.
    films : dict
        Split -> number of films.
    cache : int
        Bytes of the cache.
    slots : int
        Runs side by side that the time is reckoned with.
    teachers : int
        That each run asks about its training films first; the time does not count that.
    """

    runs: list[CellPlan]
    films: dict[str, int]
    cache: int
    slots: int
    teachers: int = 0

    def table(self) -> str:
        """Return the plan for people."""
        width = max(len(run.name) for run in self.runs)
        lines = [f"{'run':{width}}  parameters   disk MB  minutes"]
        for run in self.runs:
            minutes = "-" if run.seconds is None else f"{run.seconds / 60:.1f}"
            lines.append(f"{run.name:{width}}  {run.parameters:>10,}  {run.disk / 1e6:>8.0f}  {minutes:>7}")
        films = ", ".join(f"{count:,} {name}" for name, count in self.films.items())
        disk = (sum(run.disk for run in self.runs) + self.cache) / 1e9
        lines.append(
            f"{counted(len(self.runs), 'run')} on {films} films; {disk:.2f} GB of disk, "
            f"{self.cache / 1e9:.2f} of it cache"
        )
        times = [run.seconds for run in self.runs if run.seconds is not None]
        if times:
            hours = max(sum(times) / self.slots, *times) / 3600
            about = f"{hours:.1f} hours" if hours >= 1 else f"{max(1, round(60 * hours))} minutes"
            lines.append(f"about {about} with {self.slots} side by side, measured here, load included")
        if self.teachers:
            asked = f"each run first asks {self.teachers} teachers about {self.films['train']:,} films"
            lines.append(f"{asked}, which the time does not count")
        return "\n".join(lines)


def probe(cell: Cell, preset: Preset, outputs: int, device: str, seconds: float) -> tuple[float, float]:
    """Return images per second of training and of evaluation, on random pictures.

    Parameters
    ----------
    cell : Cell
        What to build, with random weights.
    preset : Preset
        How it would be trained.
    outputs : int
        Observations.
    device : str
        ``cpu`` or ``cuda:N``.
    seconds : float
        To spend on each of the two; at least one batch is measured, after one to warm up.
    """
    place = torch.device(device)
    prepare_device(place)
    network = build_network(cell.architecture, outputs=outputs, truncation=cell.truncation, initialisation="random").to(
        place
    )
    network = network.to(memory_format=torch.channels_last)
    optimizer = make_optimizer(network, preset)
    dtype = resolve_precision(preset, cell.architecture.family, place)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (PICTURES, preset.resolution, preset.resolution), dtype=np.uint8)
    # a slow network on a slow machine would take minutes for a whole batch of evaluation
    judged = np.arange(preset.batch if place.type == "cpu" else EVALUATION_BATCH) % PICTURES
    forward = torch.compile(network) if preset.compile else network
    target = torch.from_numpy(random.integers(0, 2, (preset.batch, outputs)).astype(np.float32)).to(place)

    def step() -> None:
        network.train()
        chosen = random.integers(0, PICTURES, preset.batch)
        x = torch.from_numpy(pixels[chosen])[:, None].to(place, non_blocking=True).float()
        x = augment(x, preset, torch.Generator().manual_seed(0)).contiguous(memory_format=torch.channels_last)
        with torch.autocast(place.type, dtype=dtype, enabled=dtype != torch.float32):
            logits = forward(x)
        loss = masked_loss(logits, target, None)
        optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        optimizer.step()

    def judge() -> None:
        predict_rows(network, pixels, judged, place, lambda: None)

    def finished() -> None:
        if place.type == "cuda":
            torch.cuda.synchronize(place)

    rates = []
    for work, films, together in ((step, preset.batch, LOG_STEPS), (judge, len(judged), 1)):
        for _ in range(1 if place.type == "cpu" else WARM_UP):
            work()
        finished()
        start, count = time.perf_counter(), 0
        while count == 0 or time.perf_counter() - start < seconds:
            # training lets a GPU run ahead for as many steps
            for _ in range(1 if place.type == "cpu" else together):
                work()
                count += 1
            finished()
        rates.append(count * films / (time.perf_counter() - start))
    return rates[0], rates[1]


def make_plan(grid: Grid, *, device: str, slots: int, threads: int, seconds: float = 2.0) -> Plan:
    """Return what a grid will cost.

    Parameters
    ----------
    grid : Grid
        What would be run.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; of several GPUs one is probed.
    slots : int
        Runs side by side.
    threads : int
        Of each run on the CPU: measured so.
    seconds : float
        See `probe`; 0 for no probe. Networks that differ in nothing but initialisation and seed are probed
        once.
    """
    preset, wanted = grid.training(), cells(grid)
    table = read_table({"name": grid.data, "folder": grid.folder, "mapping": grid.mapping, "views": grid.views})
    split = split_films(
        table,
        method=grid.split,
        fractions=grid.fractions,
        salt=grid.salt,
        evaluation_minimum_width=grid.evaluation_minimum_width,
    )
    films = {name: len(split.rows(name)) for name in SPLITS}
    predicted = {**films, "test": 0} if grid.keep_test else films
    taught = grid_teachers(grid, table.outputs(grid.head), split.record)
    outputs = len(table.outputs(grid.head))
    measured: dict[tuple[str, int], tuple[int, float | None]] = {}
    place = resolve_device(device)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    for cell in wanted:
        key = (cell.architecture.name, cell.truncation)
        if key not in measured:
            network = build_network(
                cell.architecture, outputs=outputs, truncation=cell.truncation, initialisation="random"
            )
            time_needed = None
            if seconds:
                time_needed = seconds_needed(preset, predicted, *probe(cell, preset, outputs, place, seconds))
            measured[key] = (network.parameter_count(), time_needed)
    torch.set_num_threads(before)
    cache = cache_bytes(len(table), (preset.resolution,) * 2)
    return Plan(_rows(wanted, preset, measured), films, cache, slots, len(taught.get("runs", [])))


def seconds_needed(preset: Preset, films: dict[str, int], training: float, evaluation: float) -> float:
    """Return how long a run takes, from films of each split and the two rates of `probe`."""
    examples = films["train"] // preset.batch * preset.batch * preset.epochs
    evaluations = examples // preset.evaluate_every + 1
    # validation films by the soup too; test films by each kept checkpoint and the soup
    judged = (evaluations + 1) * films["validation"] + (min(preset.keep, evaluations) + 1) * films["test"]
    return examples / training + judged / evaluation


def _rows(
    wanted: Sequence[Cell], preset: Preset, measured: dict[tuple[str, int], tuple[int, float | None]]
) -> list[CellPlan]:
    # weights, two moments, perhaps the average; twice while the new state is written beside the old
    states = 2 * (4 if preset.ema else 3)
    rows = []
    for cell in wanted:
        parameters, needed = measured[cell.architecture.name, cell.truncation]
        rows.append(CellPlan(cell.name, parameters, 4 * parameters * (preset.keep + 1 + states), needed))
    return rows
