"""What a grid will cost: a few measured steps of each network, before anything starts."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from xraytransfer.observations import OBSERVATIONS
from xraytransfer.plural import counted
from xraytransfer.study.data.cache import cache_bytes, cache_folder, cached_films
from xraytransfer.study.data.film_table import FilmTable
from xraytransfer.study.data.missing_films import missing_films
from xraytransfer.study.data.run_data import read_table
from xraytransfer.study.data.split import SPLITS, patient_halves, split_films
from xraytransfer.study.networks.network import build_network
from xraytransfer.study.runs.grid import Grid
from xraytransfer.study.runs.grid_runs import GridRun, check_networks, grid_runs, grid_teachers
from xraytransfer.study.training.predict import EVALUATION_BATCH, predict_rows
from xraytransfer.study.training.presets import Preset
from xraytransfer.study.training.run import prepare_device, resolve_device
from xraytransfer.study.training.step import TrainingStep
from xraytransfer.study.training.train import LOG_STEPS

__all__ = ["Plan", "RunPlan", "make_plan", "probe", "seconds_needed"]

PICTURES = 256
"""Random pictures that batches are drawn from, as from a cache."""
WARM_UP = 5
"""Batches before the clock starts on a GPU, which searches for its fastest kernels first."""


@dataclass(frozen=True)
class RunPlan:
    """What one run will cost.

    Attributes
    ----------
    name : str
        Name of the run.
    parameters : int
        See `Network.parameter_count`.
    disk : int
        Bytes of its checkpoints and resume state.
    seconds : float or None
        Time of training, evaluation and prediction; None if it was not measured.
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
    runs : list of RunPlan
        In the order in which they start.
    films, patients : dict
        Split -> number of films, and of patients.
    cache : int
        Bytes of the cache.
    slots : int
        Number of runs at the same time; the total time assumes it.
    teachers : int
        Number of teachers whose probabilities each run computes first; the times do not include that.
    missing : str
        A line that counts the films that are not on the disk; empty if there are none.
    unlabelled : str
        A line that names those of the six observations that the data set does not label; empty if there are none.
    """

    runs: list[RunPlan]
    films: dict[str, int]
    patients: dict[str, int]
    cache: int
    slots: int
    teachers: int = 0
    missing: str = ""
    unlabelled: str = ""

    def table(self) -> str:
        """Return the plan as text."""
        width = max(len(run.name) for run in self.runs)
        lines = [f"{'run':{width}}  parameters   disk MB  minutes"]
        for run in self.runs:
            minutes = "-" if run.seconds is None else f"{run.seconds / 60:.1f}"
            lines.append(f"{run.name:{width}}  {run.parameters:>10,}  {run.disk / 1e6:>8.0f}  {minutes:>7}")
        films = ", ".join(f"{name} {count:,} ({self.patients[name]:,})" for name, count in self.films.items())
        disk = (sum(run.disk for run in self.runs) + self.cache) / 1e9
        lines.append(
            f"{counted(len(self.runs), 'run')}; films (patients): {films}; "
            f"{disk:.2f} GB of disk, {self.cache / 1e9:.2f} of it cache"
        )
        times = [run.seconds for run in self.runs if run.seconds is not None]
        if times:
            hours = max(sum(times) / self.slots, *times) / 3600
            about = f"{hours:.1f} hours" if hours >= 1 else f"{max(1, round(60 * hours))} minutes"
            lines.append(
                f"about {about} with {counted(self.slots, 'run')} at a time, measured here under the present load"
            )
        if self.teachers:
            lines.append(
                f"each run first computes what {self.teachers} teachers say of {self.films['train']:,} films; "
                "the time above does not include that"
            )
        if self.missing:
            lines.append(f"{self.missing}; the counts above include them")
        if self.unlabelled:
            lines.append(self.unlabelled)
        return "\n".join(lines)


def probe(run: GridRun, preset: Preset, outputs: int, device_name: str, seconds: float) -> tuple[float, float]:
    """Return images per second of training and of evaluation, measured on random pictures.

    Parameters
    ----------
    run : GridRun
        The network to build, with random weights.
    preset : Preset
        The settings of training.
    outputs : int
        Number of observations.
    device_name : str
        ``cpu`` or ``cuda:N``.
    seconds : float
        Time for each of the two. At least one batch is measured, after one or more to warm up.
    """
    device = torch.device(device_name)
    on_cpu = device.type == "cpu"
    prepare_device(device)
    network = build_network(run.architecture, outputs=outputs, truncation=run.truncation, initialisation="random")
    network = network.to(device).to(memory_format=torch.channels_last)
    training = TrainingStep(network, preset, run.architecture.family, device)
    random = np.random.default_rng(0)
    pixels = random.integers(0, 256, (PICTURES, preset.resolution, preset.resolution), dtype=np.uint8)
    target = random.integers(0, 2, (preset.batch, outputs)).astype(np.float32)
    # with a slow network on a CPU, a whole batch of evaluation would take minutes
    rows = np.arange(preset.batch if on_cpu else EVALUATION_BATCH) % PICTURES

    def train() -> None:
        x = training.make_batch(pixels[random.integers(0, PICTURES, preset.batch)], seed=0)
        training.learn(x, target, preset.learning_rate)

    def evaluate() -> None:
        predict_rows(network, pixels, rows, device, lambda: None)

    # in training, a GPU may fall behind the CPU by LOG_STEPS steps
    train_rate = _batches_per_second(train, device, seconds, 1 if on_cpu else LOG_STEPS)
    return preset.batch * train_rate, len(rows) * _batches_per_second(evaluate, device, seconds, 1)


def _batches_per_second(work: Callable[[], None], device: torch.device, seconds: float, together: int) -> float:
    """Return how often `work` runs in a second, waiting for a GPU after every `together` calls."""

    def wait() -> None:
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    for _ in range(1 if device.type == "cpu" else WARM_UP):
        work()
    wait()
    start, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - start < seconds:
        for _ in range(together):
            work()
        count += together
        wait()
    return count / (time.perf_counter() - start)


def make_plan(
    grid: Grid,
    *,
    device: str,
    slots: int,
    threads: int,
    seconds: float = 2.0,
    log: Callable[[str], None] = lambda line: None,
) -> Plan:
    """Return what a grid will cost.

    Parameters
    ----------
    grid : Grid
        The settings.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``; if there are several GPUs, one is measured.
    slots : int
        Number of runs side by side.
    threads : int
        Threads of each run on the CPU; the measurement uses as many.
    seconds : float
        See `probe`; 0 measures nothing. Networks that differ only in initialisation and seed are measured once.
    log : callable
        Is called with a line before each network is measured.
    """
    preset, runs = grid.training(), grid_runs(grid)
    table = read_table(grid.data_source())  # a wrong folder is reported before weights are looked for on a network
    check_networks(grid)
    missing = missing_films(table, cached_films(_cache_folder(grid, table), len(table)))
    split = split_films(table, **grid.division())
    rows = {name: split.rows(name) for name in SPLITS}
    if grid.half:
        rows["train"] = rows["train"][patient_halves(table.patient[rows["train"]], grid.salt) == grid.half]
    films = {name: len(part) for name, part in rows.items()}
    patients = {name: len(np.unique(table.patient[part])) for name, part in rows.items()}
    predicted = {**films, "test": 0} if grid.keep_test else films
    outputs = table.outputs(grid.head)
    teachers = grid_teachers(grid, outputs, split.record)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        measured = _measure(
            runs, preset, predicted, outputs=len(outputs), device=resolve_device(device), seconds=seconds, log=log
        )
    finally:
        torch.set_num_threads(before)
    # weights, two moments, perhaps the average; twice, because a new state is written beside the old one
    states = 2 * (4 if preset.ema else 3)
    planned = []
    for run in runs:
        parameters, needed = measured[run.architecture.name, run.truncation]
        planned.append(RunPlan(run.name, parameters, 4 * parameters * (preset.keep + 1 + states), needed))
    cache = cache_bytes(len(table), (preset.resolution,) * 2, preset.placement)
    return Plan(
        planned, films, patients, cache, slots, len(teachers.get("runs", [])), missing.line(), _unlabelled(table)
    )


def _unlabelled(table: FilmTable) -> str:
    """Return a line on those of the six observations that a data set does not label, perhaps because of their names."""
    six = [one.identifier for one in OBSERVATIONS]
    absent, others = set(six) - set(table.observations), set(table.observations) - set(six)
    if not absent:
        return ""
    rest = f"; the data set's other labels are {', '.join(sorted(others))}" if others else ""
    return f"{table.name} has no labels for {', '.join(sorted(absent))}: not trained, not evaluated{rest}"


def _measure(
    runs: Sequence[GridRun],
    preset: Preset,
    films: dict[str, int],
    *,
    outputs: int,
    device: str,
    seconds: float,
    log: Callable[[str], None],
) -> dict[tuple[str, int], tuple[int, float | None]]:
    """Return parameters and seconds of each network, by architecture and truncation; None if nothing is measured."""
    networks: dict[tuple[str, int], GridRun] = {}
    for run in runs:
        networks.setdefault((run.architecture.name, run.truncation), run)
    measured = {}
    for number, (key, run) in enumerate(networks.items(), start=1):
        needed = None
        if seconds:
            log(f"measuring {run.architecture.name}, truncation {run.truncation}: {number} of {len(networks)}")
            needed = seconds_needed(preset, films, *probe(run, preset, outputs, device, seconds))
        network = build_network(run.architecture, outputs=outputs, truncation=run.truncation, initialisation="random")
        measured[key] = network.parameter_count(), needed
    return measured


def _cache_folder(grid: Grid, table: FilmTable) -> Path:
    preset = grid.training()
    return cache_folder(grid.cache_root(), table, (preset.resolution,) * 2, grid.intensity, preset.placement)


def seconds_needed(preset: Preset, films: dict[str, int], training: float, evaluation: float) -> float:
    """Return how long a run takes, from the number of films of each split and the two rates of `probe`."""
    examples = films["train"] // preset.batch * preset.batch * preset.epochs
    evaluations = examples // preset.evaluate_every + 1
    # the soup predicts the validation films too; each kept checkpoint and the soup predict the test films
    predicted = (evaluations + 1) * films["validation"] + (min(preset.keep, evaluations) + 1) * films["test"]
    return examples / training + predicted / evaluation
