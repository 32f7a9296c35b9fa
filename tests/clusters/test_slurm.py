"""Slurm: the batch script, and array jobs on Debian's own Slurm."""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from xraytransfer.cli.predict import predict
from xraytransfer.clusters.demand import Demand
from xraytransfer.clusters.slurm import ArrayJob, batch_script
from xraytransfer.errors import XrayTransferError

WORK = ArrayJob("scores", 3, ['echo "$SLURM_ARRAY_TASK_ID" >> done.txt'], ".")


def test_script_is_complete_and_readable():
    job = ArrayJob("name", 500, ["first=1", "xraytransfer work $first"], "logs", before="xraytransfer study prepare")
    script = batch_script(job, Demand(cpus=4, gpus=1, memory_gb=7.5, time_limit="1:00:00", at_once=20))
    assert script == (
        "#!/bin/bash\n"
        "#SBATCH --job-name=name\n"
        "#SBATCH --array=1-500%20\n"
        "#SBATCH --cpus-per-task=4\n"
        "#SBATCH --gpus-per-task=1\n"
        "#SBATCH --mem=7680M\n"
        "#SBATCH --time=1:00:00\n"
        "#SBATCH --output=logs/%A_%a.txt\n"
        "#SBATCH --signal=USR1@120\n"
        "#SBATCH --ntasks=1\n"
        "#SBATCH --requeue\n"
        "#SBATCH --open-mode=append\n"
        "\n"
        "# What your cluster needs before Python programs run, such as:\n"
        "# module load python cuda\n"
        "# source /path/to/environment/bin/activate\n"
        "# Once before this job: xraytransfer study prepare\n"
        "\n"
        "first=1\n"
        "srun xraytransfer work $first\n"
        "code=$?\n"
        "if [ $code -eq 75 ]; then  # it saved its state and wants to go on\n"
        '  scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"\n'
        "fi\n"
        "exit $code\n"
    )


@pytest.mark.parametrize(("work", "asked"), [(0, "no"), (1, "no"), (75, "requeue 7_2")])
def test_only_work_that_asks_for_it_is_requeued(tmp_path: Path, work: int, asked: str):
    for name, body in {"srun": f"exit {work}", "scontrol": 'echo "$@" > asked'}.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "2"}
    script = batch_script(WORK, Demand())
    done = subprocess.run(["bash"], input=script, text=True, check=False, env=environment, cwd=tmp_path)
    assert done.returncode == work
    assert ((tmp_path / "asked").read_text().strip() if (tmp_path / "asked").exists() else "no") == asked


def test_what_slurm_cannot_do_is_refused():
    with pytest.raises(XrayTransferError, match="1 to 1000"):
        batch_script(ArrayJob("name", 1001, ["x"], "."), Demand())
    with pytest.raises(XrayTransferError, match="whole GPUs"):
        batch_script(WORK, Demand(gpus=0.5))


@pytest.mark.parametrize(("place", "word"), [("slurm", "sbatch"), ("ray", "ray is not installed")])
def test_what_a_place_needs_is_looked_for_first(
    place: str, word: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, manifest: Path
):
    monkeypatch.setenv("PATH", str(tmp_path))
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == "ray" else find(name, *more))
    done = CliRunner().invoke(predict, ["--manifest", str(manifest), "-o", str(tmp_path / "scores"), "--on", place])
    assert isinstance(done.exception, XrayTransferError)
    assert word in str(done.exception)
    assert not (tmp_path / "scores").exists()


def test_printing_needs_slurm(manifest: Path):
    done = CliRunner().invoke(predict, ["--manifest", str(manifest), "-o", "scores", "--print"])
    assert done.exit_code == 2
    assert "--print goes with --on slurm" in done.output


def test_printing_submits_and_writes_nothing(manifest: Path, tmp_path: Path):
    command = [sys.executable, "-m", "xraytransfer", "predict", "--manifest", manifest, "-o", tmp_path / "scores"]
    done = subprocess.run(
        [*command, "--shards", "2500", "--on", "slurm", "--print"], capture_output=True, text=True, check=True
    )
    assert "#SBATCH --array=1-1000\n" in done.stdout
    assert f"--shard $first-$last/2500 --manifest {shlex.quote(str(manifest))}" in done.stdout
    assert not (tmp_path / "scores").exists()


@pytest.mark.peer
def test_archive_is_scored_by_an_array_that_is_preempted(
    *,
    on_slurm: Callable[..., str],
    start_again: Callable[[str], None],
    manifest: Path,
    tmp_path: Path,
    toy_model: Path,
    wait: Callable[..., None],
):
    from xraytransfer.archives.collection import collect, read_status
    from xraytransfer.archives.manifest import open_manifest
    from xraytransfer.archives.stores import open_store

    scores = tmp_path / "scores"
    options = ["--manifest", manifest, "-o", scores, "--shards", "4", "--model", toy_model, "--device", "cpu"]
    job = on_slurm("xraytransfer", "predict", *options, "--on", "slurm").split()[1].rstrip(":")
    wait(lambda: "RUNNING" in on_slurm("squeue", "-h", "-r", "-o", "%T"))
    running = on_slurm("squeue", "-h", "-r", "-t", "RUNNING", "-o", "%i").split()
    for task in running:
        on_slurm("scontrol", "requeue", task)  # ends it as a preemption does
    for task in running:
        start_again(task)
    wait(lambda: job not in on_slurm("squeue", "-h", "-r", "-o", "%F"), seconds=120)
    folder = open_store(str(scores))
    assert not read_status(folder).missing
    counts = collect(folder, tmp_path / "all.csv", manifest=open_manifest(str(manifest)))
    assert counts == {"ok": 40}
