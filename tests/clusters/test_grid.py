"""A grid of runs on Slurm and on Ray: preempted and moved, each run ends with the bits of an undisturbed one."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("torch", reason="pip install 'xraytransfer[study]'")

PROGRAM = [sys.executable, "-m", "xraytransfer", "study"]
SEEDS = ("0", "1")


def grid(films: Path, results: Path) -> list[str]:
    """Return the options of a grid of two toy runs of some seconds each."""
    settings = ["resolution=32", "epochs=40", "evaluate_every=480"]
    options = ["--data", "nih", "--folder", films, "--results", results, "--architecture", "toy_efficientnet"]
    options += ["--initialisation", "random", "--preset", "tiny", "--fractions", "0.6", "0.2", "0.2"]
    options += [word for setting in settings for word in ("--set", setting)]
    return [*map(str, options), *(word for seed in SEEDS for word in ("--seed", seed)), "--device", "cpu"]


def run_folders(results: Path) -> list[Path]:
    return [results / "runs" / f"toy_efficientnet-random-t0-s{seed}" for seed in SEEDS]


def checkpoints(results: Path) -> dict[str, bytes]:
    """Return the weights and predictions of all runs."""
    found = [path for folder in run_folders(results) for part in ("checkpoints", "predictions")
             for path in sorted((folder / part).glob("*.*"))]  # fmt: skip
    return {str(path.relative_to(results)): path.read_bytes() for path in found}


@pytest.fixture(scope="module")
def undisturbed(made_up_films: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return weights and predictions of the runs that nothing disturbed."""
    results = tmp_path_factory.mktemp("undisturbed")
    subprocess.run([*PROGRAM, "run", *grid(made_up_films, results)], check=True)
    return checkpoints(results)


def test_script_names_every_run(made_up_films: Path, tmp_path: Path):
    command = [*PROGRAM, "run", *grid(made_up_films, tmp_path / "results"), "--on", "slurm", "--print", "--gpus", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "#SBATCH --array=1-2\n" in done.stdout
    assert "#SBATCH --gpus-per-task=1\n" in done.stdout
    for folder in run_folders(tmp_path / "results"):
        assert f"\n  {folder.name}\n" in done.stdout
    assert f"results={tmp_path / 'results'}\n" in done.stdout
    assert not (tmp_path / "results").exists()


@pytest.mark.peer
@pytest.mark.slow
def test_preempted_array_ends_with_the_same_bits(
    *,
    on_slurm: Callable[..., str],
    start_again: Callable[[str], None],
    made_up_films: Path,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    wait: Callable[..., None],
):
    results = tmp_path / "results"
    cache = ["--local-cache", tmp_path / "node"]
    answer = on_slurm(*PROGRAM, "run", *grid(made_up_films, results), "--on", "slurm", *cache)
    job = answer.splitlines()[-1].split()[1].rstrip(":")
    for signal, folder in zip(("USR1", "requeue"), run_folders(results), strict=True):
        wait(lambda folder=folder: (folder / "last" / "state.json").is_file(), seconds=120)
        task = f"{job}_{SEEDS.index(folder.name[-1]) + 1}"
        if (
            signal == "USR1"
        ):  # what Slurm sends before the time limit: the run saves and asks for its place in the queue
            on_slurm("scancel", "--signal=USR1", task)
        else:
            on_slurm("scontrol", "requeue", task)
        start_again(task)
    wait(lambda: job not in on_slurm("squeue", "-h", "-r", "-o", "%F"), seconds=240)
    logs = [(folder / "log.txt").read_text() for folder in run_folders(results)]
    assert all("resumed at step" in log for log in logs), logs
    assert checkpoints(results) == undisturbed


@pytest.mark.peer
@pytest.mark.slow
def test_runs_of_a_lost_node_end_with_the_same_bits(
    two_nodes: subprocess.Popen[str],
    made_up_films: Path,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    wait: Callable[..., None],
):
    results = tmp_path / "results"
    command = [*PROGRAM, "run", *grid(made_up_films, results), "--on", "ray"]
    driver = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    for folder in run_folders(results):
        wait(lambda folder=folder: (folder / "last" / "state.json").is_file(), seconds=120)
    assert two_nodes.stdin is not None
    two_nodes.stdin.write("lose a node\n")
    two_nodes.stdin.flush()
    output, _ = driver.communicate(timeout=240)
    assert driver.returncode == 0, output
    assert checkpoints(results) == undisturbed


@pytest.mark.slow
def test_two_machines_on_a_disk_whose_locks_hold_nothing(
    made_up_films: Path,
    undisturbed: dict[str, bytes],
    tmp_path: Path,
    locks_that_hold_nothing: dict[str, str],
    wait: Callable[..., None],
):
    results = tmp_path / "results"
    subprocess.run([*PROGRAM, "prepare", *grid(made_up_films, results)[:-2]], check=True)
    folder = run_folders(results)[0]
    command = [*PROGRAM, "train", folder, "--device", "cpu"]
    first = subprocess.Popen(command, env=locks_that_hold_nothing)
    wait((folder / "last" / "state.json").is_file, seconds=120)
    second = subprocess.run(command, env=locks_that_hold_nothing, capture_output=True, text=True, check=False)
    assert second.returncode == 75
    assert "another process works in this folder" in second.stderr
    assert first.wait(120) == 0
    steps = [line.partition(",")[0] for line in (folder / "metrics.csv").read_text().splitlines()]
    assert len(steps) == len(set(steps))
    here = {name: data for name, data in checkpoints(results).items() if folder.name in name}
    assert here == {name: data for name, data in undisturbed.items() if folder.name in name}
