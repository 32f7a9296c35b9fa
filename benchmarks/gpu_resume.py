"""A run that is killed and resumed, compared with undisturbed runs: the part `resume` of `gpu_study.py`."""

from __future__ import annotations

import math
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from xraytransfer.files import read_json
from xraytransfer.study.phantoms.dataset import write_phantoms
from xraytransfer.study.runs.grid import Grid
from xraytransfer.study.runs.grid_runs import place_runs
from xraytransfer.study.training.run_folder import load_run


def measure_resume(out: Path, device: str, architecture: str, patients: int) -> dict[str, Any]:
    """Return how far the predictions of undisturbed runs are from each other, and those of a killed run from them.

    Runs of `architecture` on phantoms of so many `patients` are kept in a new folder in `out`.
    """
    scratch = out / f"resume-{time.strftime('%Y%m%d-%H%M%S')}"
    films = write_phantoms(scratch / "phantoms", patients=patients, size=96)
    grid = Grid(
        results=scratch,
        data="chexpert",
        folder=films,
        cache=scratch / "cache",
        architectures=(architecture,),
        initialisations=("random",),
        preset="modern",
        resolution=64,
        changes={"epochs": 3, "batch": 16, "evaluate_every": 64},
        fractions=(0.5, 0.2, 0.3),
    )
    folders = {name: place_runs(replace(grid, results=scratch / name))[0] for name in ("a", "b", "c", "killed")}
    undisturbed = [folders[name] for name in ("a", "b", "c")]
    for folder in undisturbed:
        _train(folder, device)
    chance = random.Random(0)
    kills = [_kill(folders["killed"], device, chance) for _ in range(2)]
    _train(folders["killed"], device)
    return {
        "device": device,
        "kills": kills,
        "undisturbed": max(_distance(one, two) for one, two in combinations(undisturbed, 2)),
        "killed": min(_distance(folders["killed"], folder) for folder in undisturbed),
        "auroc": {name: load_run(folder).done["validation_auroc"]["macro"] for name, folder in folders.items()},
    }


def _command(folder: Path, device: str) -> list[str]:
    return [sys.executable, "-m", "xraytransfer", "study", "train", str(folder), "--device", device]


def _train(folder: Path, device: str) -> None:
    done = subprocess.run(_command(folder, device), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{folder}: training ended with {done.returncode}:\n{done.stderr[-2000:]}")


def _kill(folder: Path, device: str, chance: random.Random) -> int:
    """Start the run and end it with SIGKILL a moment after it saves its state; return the saved step."""
    state = folder / "last" / "state.json"
    before = state.read_text() if state.is_file() else ""
    with subprocess.Popen(_command(folder, device), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and (not state.is_file() or state.read_text() == before):
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
    return int(read_json(state)["step"])


def _distance(one: Path, two: Path) -> float:
    """Return the greatest difference between the stored probabilities of two runs, over the films of both splits."""
    runs = load_run(one), load_run(two)
    if runs[0].done["steps"] != runs[1].done["steps"]:
        return math.inf
    pairs = [[run.predictions(split).ensemble() for run in runs] for split in ("validation", "test")]
    return max(float(np.abs(first - second).max()) for first, second in pairs)


def resumed_well(result: dict[str, Any]) -> bool:
    """Return whether the killed run ended where undisturbed runs do."""
    limit = 0.0 if result["device"] == "cpu" else 2 * result["undisturbed"] + 1e-6
    return bool(result["killed"] <= limit)


def show_resume(result: dict[str, Any]) -> str:
    """Return Markdown."""
    verdict = "ends where undisturbed runs do" if resumed_well(result) else "DIFFERS MORE than undisturbed runs do"
    return (
        f"Killed with SIGKILL (states at steps {', '.join(map(str, result['kills']))}) and resumed, the run {verdict}: "
        f"its probabilities differ from the nearest undisturbed run's by at most {result['killed']:.2e}, those of "
        f"three undisturbed runs from each other by at most {result['undisturbed']:.2e}. Validation AUROC: "
        + ", ".join(f"{name} {value}" for name, value in result["auroc"].items())
        + "."
    )
