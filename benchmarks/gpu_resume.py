"""A run that is killed and resumed, beside runs that nothing disturbs: the part `resume` of `gpu_study.py`."""

from __future__ import annotations

import math
import random
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from xraytransfer.files import read_json
from xraytransfer.study.phantoms.dataset import write_phantoms
from xraytransfer.study.runs.grid import Grid
from xraytransfer.study.runs.grid_runs import place_runs
from xraytransfer.study.training.run_folder import load_run


def measure_resume(out: Path, device: str, architecture: str, patients: int) -> dict[str, Any]:
    """Return how far undisturbed runs are from each other, and a killed one from them.

    Parameters
    ----------
    out : Path
        Where runs and phantoms are kept, in a new folder of each call.
    device : str
        Of torch.
    architecture : str
        Name of a row.
    patients : int
        Phantoms drawn.
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
    for name in ("a", "b", "c"):
        _train(folders[name], device)
    chance = random.Random(0)
    kills = [_kill(folders["killed"], device, chance) for _ in range(2)]
    _train(folders["killed"], device)
    return {
        "device": device,
        "kills": kills,
        "undisturbed": max(_distance(folders[x], folders[y]) for x, y in (("a", "b"), ("a", "c"), ("b", "c"))),
        "killed": min(_distance(folders["killed"], folders[x]) for x in ("a", "b", "c")),
        "auroc": {name: load_run(folder).done["validation_auroc"]["macro"] for name, folder in folders.items()},
    }


def _command(folder: Path, device: str) -> list[str]:
    return [sys.executable, "-m", "xraytransfer", "study", "train", str(folder), "--device", device]


def _train(folder: Path, device: str) -> None:
    done = subprocess.run(_command(folder, device), capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{folder}: training ended with {done.returncode}:\n{done.stderr[-2000:]}")


def _kill(folder: Path, device: str, chance: random.Random) -> int:
    """Start the run, end it with SIGKILL a moment after its next state; return the step that is saved."""
    state = folder / "last" / "state.json"
    before = state.read_text() if state.is_file() else ""
    with subprocess.Popen(_command(folder, device), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and (not state.is_file() or state.read_text() == before):
            time.sleep(0.01)
        time.sleep(chance.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
    return int(read_json(state)["step"])


def _distance(one: Path, two: Path) -> float:
    """Return the greatest difference of any stored probability of two runs, over the films of both splits."""
    if load_run(one).done["steps"] != load_run(two).done["steps"]:
        return math.inf
    return max(
        float(np.abs(load_run(one).predictions(split).ensemble() - load_run(two).predictions(split).ensemble()).max())
        for split in ("validation", "test")
    )


def resumed_well(found: dict[str, Any]) -> bool:
    """Return whether the killed run ended where undisturbed ones do."""
    limit = 0.0 if found["device"] == "cpu" else 2 * found["undisturbed"] + 1e-6
    return bool(found["killed"] <= limit)


def show_resume(found: dict[str, Any]) -> str:
    """Return Markdown."""
    verdict = "ends where undisturbed runs do" if resumed_well(found) else "DIFFERS MORE than undisturbed runs do"
    return (
        f"Killed with SIGKILL (states at steps {', '.join(map(str, found['kills']))}) and resumed, the run {verdict}: "
        f"its probabilities differ from the nearest undisturbed run's by at most {found['killed']:.2e}, those of three "
        f"undisturbed runs from each other by at most {found['undisturbed']:.2e}. Validation AUROC: "
        + ", ".join(f"{name} {value}" for name, value in found["auroc"].items())
        + "."
    )
