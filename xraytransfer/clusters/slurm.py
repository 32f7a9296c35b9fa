"""Slurm: writes an array job as a batch script that a person can read and change, and submits it.

Conventions
-----------
Each task of the array does one piece of work that may be started again at any time: a task that is requeued, or that
runs twice, does no harm. Two minutes before the time limit Slurm sends SIGUSR1 to the work. Work that can save then
does so and ends with exit code 75, and the script puts its task back into the queue.
"""

from __future__ import annotations

import math
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass

from xraytransfer.clusters.demand import Demand
from xraytransfer.errors import XrayTransferError

__all__ = ["MAX_TASKS", "ArrayJob", "batch_script", "submit"]

MAX_TASKS = 1000
"""Slurm's own default for MaxArraySize is 1001, and the highest index is one less."""

EXIT_REQUEUE = 75


@dataclass(frozen=True)
class ArrayJob:
    """An array job.

    Attributes
    ----------
    name : str
        What ``squeue`` shows.
    tasks : int
        Number of tasks, counted from 1.
    lines : sequence of str
        Shell lines of each task; the last one is the work, without ``srun``. They may use ``SLURM_ARRAY_TASK_ID``.
    logs : str
        Folder of the tasks' outputs; it must be there when the job starts.
    before : str
        What must have been done before, as a comment.
    """

    name: str
    tasks: int
    lines: Sequence[str]
    logs: str
    before: str = ""


def batch_script(job: ArrayJob, demand: Demand) -> str:
    """Return the batch script of an array job.

    Raises
    ------
    XrayTransferError
        There are more tasks than an array holds, or the demand is one that Slurm cannot fulfil.
    """
    if not 1 <= job.tasks <= MAX_TASKS:
        raise XrayTransferError(f"{job.tasks} tasks: an array job of Slurm holds 1 to {MAX_TASKS}")
    return "\n".join([*_header(job, demand), *_body(job)]) + "\n"


def _header(job: ArrayJob, demand: Demand) -> list[str]:
    if demand.gpus != int(demand.gpus):
        raise XrayTransferError(f"{demand.gpus:g} GPUs: Slurm gives whole GPUs")
    settings = {
        "job-name": job.name,
        "array": f"1-{job.tasks}" + (f"%{demand.at_once}" if demand.at_once else ""),
        "cpus-per-task": demand.cpus,
        "gpus-per-task": int(demand.gpus) or None,
        "mem": None if demand.memory_gb is None else f"{math.ceil(1024 * demand.memory_gb)}M",
        "time": demand.time_limit,
        "output": f"{job.logs}/%A_%a.txt",
        "signal": "USR1@120",
    }
    lines = [f"#SBATCH --{name}={value}" for name, value in settings.items() if value is not None]
    return ["#!/bin/bash", *lines, "#SBATCH --ntasks=1", "#SBATCH --requeue", "#SBATCH --open-mode=append"]


def _body(job: ArrayJob) -> list[str]:
    *lines, work = job.lines
    return [
        "",
        "# What your cluster needs before Python programs run, such as:",
        "# module load python cuda",
        "# source /path/to/environment/bin/activate",
        *([f"# Once before this job: {job.before}"] if job.before else []),
        "",
        *lines,
        f"srun {work}",
        "code=$?",
        f"if [ $code -eq {EXIT_REQUEUE} ]; then  # it saved its state and wants to go on",
        '  scontrol requeue "${SLURM_ARRAY_JOB_ID}_${SLURM_ARRAY_TASK_ID}"',
        "fi",
        "exit $code",
    ]


def submit(script: str) -> str:
    """Submit a batch script and return the number of the job.

    Raises
    ------
    XrayTransferError
        Slurm refuses the job.
    """
    done = subprocess.run(["sbatch", "--parsable"], input=script, capture_output=True, text=True, check=False)
    if done.returncode:
        raise XrayTransferError(f"sbatch refuses the job: {done.stderr.strip()}")
    return done.stdout.strip().partition(";")[0]
