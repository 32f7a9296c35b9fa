"""The runs of a grid on a cluster: a Slurm array job of one task for each run, or Ray tasks."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from xraytransfer.clusters.demand import Demand, Place
from xraytransfer.clusters.ray_tasks import cluster, run_tasks
from xraytransfer.clusters.slurm import ArrayJob, batch_script, submit
from xraytransfer.errors import StudyError
from xraytransfer.plural import counted

__all__ = ["RunTask", "slurm_script", "train_on_cluster", "train_on_ray", "train_run"]


@dataclass(frozen=True)
class RunTask:
    """One run, in a form that can be sent to another machine.

    Attributes
    ----------
    folder : Path
        The run folder, on a disk that all machines share.
    device : str
        ``auto``, ``cpu`` or ``cuda``: inside a task the GPU that was given is always ``cuda:0``.
    threads : int
        Threads of torch on the CPU.
    cache : Path or None
        Folder on a disk of the machine that trains; see `local_cache`.
    """

    folder: Path
    device: str
    threads: int
    cache: Path | None = None


def slurm_script(names: Sequence[str], results: Path, demand: Demand, *, device: str, cache: Path | None) -> str:
    """Return the batch script of an array job with one task for each run.

    Parameters
    ----------
    names : sequence of str
        Names of the runs.
    results : Path
        Results folder, on a disk that all nodes share.
    demand : Demand
        What one run needs.
    device : str
        ``auto``, ``cpu`` or ``cuda``.
    cache : Path or None
        Folder on a disk of each node for a copy of the film cache, such as ``/tmp/xraytransfer``.
    """
    words = ["--device", device, "--threads", str(demand.cpus)]
    words += [] if cache is None else ["--local-cache", str(cache)]
    lines = [
        f"results={shlex.quote(str(results.resolve()))}",
        "runs=(",
        *(f"  {shlex.quote(name)}" for name in names),
        ")",
        "run=${runs[SLURM_ARRAY_TASK_ID - 1]}",
        f'xraytransfer study train "$results/runs/$run" {shlex.join(words)}',
    ]
    job = ArrayJob(
        "xraytransfer-study", len(names), lines, ".", before="xraytransfer study prepare, with these options"
    )
    return batch_script(job, demand)


def train_on_cluster(
    folders: Sequence[Path],
    results: Path,
    place: Place,
    device: str,
    cache: Path | None,
    *,
    log: Callable[[str], None],
) -> list[Path]:
    """Submit a job to Slurm, or train as Ray tasks; return the folders of runs that failed, as far as they are known.

    Parameters
    ----------
    folders : sequence of Path
        The run folders.
    results, device, cache
        As `slurm_script` takes them.
    place : Place
        The cluster.
    log : callable
        Takes each line of progress.
    """
    if place.on == "slurm":
        names = [folder.name for folder in folders]
        job = submit(slurm_script(names, results, place.demand, device=device, cache=cache))
        log(f"job {job}: one task for each of {counted(len(folders), 'run')}; see: study status --results {results}")
        return []
    tasks = [RunTask(folder.resolve(), device, place.demand.cpus, cache) for folder in folders]
    return train_on_ray(tasks, place.demand, log)


def train_on_ray(tasks: Sequence[RunTask], demand: Demand, log: Callable[[str], None]) -> list[Path]:
    """Train every run that is not done as a Ray task; return the folders of those that failed."""
    left = [task for task in tasks if not (task.folder / "done.json").is_file()]
    log(f"{counted(len(tasks), 'run')}, {len(tasks) - len(left)} done")
    failed: list[Path] = []

    def finished(task: RunTask, auroc: str) -> None:
        log(f"{task.folder.name}: done, validation AUROC of its ensemble {auroc}")

    def note(task: RunTask, error: Exception) -> None:
        failed.append(task.folder)
        log(f"{task.folder.name}: failed: {error}")

    with cluster():
        run_tasks(train_run, left, demand, finished=finished, failed=note, log=log)
    return failed


def train_run(task: RunTask) -> str:
    """Start or resume a run in a worker of a cluster; return its validation AUROC in words.

    A worker that died with its machine may seem to own the folder for two minutes: it is waited for.
    """
    from xraytransfer.study.training.run import run_one

    if not (task.folder / "config.json").is_file():
        raise StudyError(f"{task.folder}: no run here; the results folder must be on a disk that all machines share")
    done = run_one(task.folder, device=task.device, threads=task.threads, wait=True, cache=task.cache)
    macro = done["validation_auroc"]["macro"]
    return "undefined" if macro is None else f"{macro:.3f}"
