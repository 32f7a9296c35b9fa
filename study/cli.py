"""Commands: ``xraytransfer study plan | cache | prepare | run | train | status | tensorboard | report | demo``.

The commands ``test``, ``relabel`` and ``thin`` are defined in `xraytransfer.study.finished_runs.cli`, and
``quality-gate`` in `xraytransfer.study.quality_gate.cli`.

The module is light: everything heavy is imported in the bodies of the commands.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import click

from xraytransfer.clusters.demand import CLUSTER_OPTIONS, cluster_options, read_place
from xraytransfer.errors import BusyError, StudyError
from xraytransfer.study.finished_runs.cli import relabel, test, thin
from xraytransfer.study.quality_gate.cli import judge, quality_gate
from xraytransfer.study.runs.grid import RESULTS, Grid, grid_options
from xraytransfer.study.runs.grid_help import GridGroup
from xraytransfer.usable_cores import cpu_limit
from xraytransfer.usage_errors import as_usage_error

__all__ = ["study"]

DEVICE = click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:N. auto: a GPU for each run, or the CPU."
)


@click.group(cls=GridGroup)
def study() -> None:
    """Train and compare networks on a data set."""


for command in (quality_gate, judge, test, relabel, thin):
    study.add_command(command)


def _grid(options: dict[str, Any], *, without_runs: bool = False) -> Grid:
    """Return the grid of some options; senseless ones are wrong usage, before any data set is read."""
    from xraytransfer.study.runs.grid_runs import check_grid
    from xraytransfer.study.training.presets import parse_changes

    with as_usage_error():
        grid = Grid(**{**options, "changes": parse_changes(options["changes"])})
        check_grid(grid, without_runs=without_runs)
    return grid


SHOWN = 20
"""Films that `study cache` names on the terminal; its file names all."""
SLOTS = click.option(
    "--slots", type=click.IntRange(1), help="Runs at the same time. [default: one per GPU, or per core]"
)
THREADS = click.option(
    "--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads of each run on the CPU."
)


LOCAL_CACHE = click.option(
    "--local-cache", type=click.Path(file_okay=False, path_type=Path),
    help="Copy the film cache into this folder on a disk of the machine that trains, and read it there.",
)  # fmt: skip


def _warn(line: str) -> None:
    click.echo(f"warning: {line}", err=True)


def _show_progress(done: int, films: int) -> None:
    if done == films or done % 1024 == 0:
        click.echo(f"{done} of {films} films in the cache")


@study.command()
@grid_options
@DEVICE
@SLOTS
@THREADS
@click.option(
    "--probe", "seconds", type=click.FloatRange(0), default=2.0, show_default=True,
    help="Seconds to measure each network; 0 measures nothing.",
)  # fmt: skip
def plan(device: str, slots: int | None, threads: int, seconds: float, workers: int | None, **options: Any) -> None:
    """Print the runs of a grid, and the disk space and time that they need; start nothing.

    The grid is all combinations of the given architectures, initialisations, truncations and seeds. To estimate the
    time, each network runs for two seconds.
    """
    from xraytransfer.study.runs.plan import make_plan
    from xraytransfer.study.runs.scheduler import local_slots

    free = local_slots(device, slots, threads)
    made = make_plan(
        _grid(options), device=free[0].device, slots=len(free), threads=threads, seconds=seconds,
        log=lambda line: click.echo(line, err=True),
    )  # fmt: skip
    click.echo(made.table())


@study.command()
@grid_options
def cache(workers: int | None, **options: Any) -> None:
    """Read every film once into a cache.

    A damaged cache is repaired. `run` builds the cache too. No architecture is needed.
    """
    from xraytransfer.study.runs.grid_runs import build_grid_cache

    built = build_grid_cache(
        _grid(options, without_runs=True), workers=workers or cpu_limit(), progress=_show_progress, warn=_warn
    )
    click.echo(f"{built.folder}: {int(built.done.sum())} films")
    for image, reason in list(built.refused.items())[:SHOWN]:
        click.echo(f"left out: {image}: {reason}", err=True)
    if len(built.refused) > SHOWN:
        click.echo(f"and {len(built.refused) - SHOWN:,} more; {built.folder / 'refused.csv'} lists all", err=True)


@study.command()
@grid_options
def prepare(workers: int | None, **options: Any) -> None:
    """Build the cache and the run folders of a grid; train nothing.

    The run folders are printed, one a line. Start `study train FOLDER` for each of them, on any machine.
    """
    from xraytransfer.study.runs.grid_runs import place_runs

    def progress(done: int, films: int) -> None:
        if done == films or done % 1024 == 0:
            click.echo(f"{done} of {films} films in the cache", err=True)

    for folder in place_runs(_grid(options), workers=workers or cpu_limit(), progress=progress, warn=_warn):
        click.echo(folder)


@study.command()
@grid_options
@DEVICE
@SLOTS
@THREADS
@click.option(
    "--retries", type=click.IntRange(0), default=0, show_default=True,
    help="How often a run that fails is started again; failed.json keeps every reason.",
)  # fmt: skip
@cluster_options
@LOCAL_CACHE
def run(
    *,
    device: str,
    slots: int | None,
    threads: int,
    workers: int | None,
    retries: int,
    local_cache: Path | None,
    **options: Any,
) -> int:
    """Train every run of a grid that is not done.

    You may interrupt the command and repeat it; several of them may share a results folder. If a run fails, failed.json
    in its folder gives the reason, the others continue, and the exit code is 1. After SIGTERM or SIGUSR1 it is 75.
    """
    from xraytransfer.study.runs.cluster_runs import slurm_script, train_on_cluster
    from xraytransfer.study.runs.grid_runs import grid_runs, place_runs
    from xraytransfer.study.runs.scheduler import local_slots, run_all, start_here
    from xraytransfer.study.training.interrupts import Preempted

    places = {name: options.pop(name) for name in CLUSTER_OPTIONS}
    grid = _grid(options)
    with as_usage_error():
        place = read_place(**places)
    place.check()
    if place.on == "slurm" and place.print_script:
        names = [run.name for run in grid_runs(grid)]
        click.echo(slurm_script(names, grid.results, place.demand, device=device, cache=local_cache), nl=False)
        return 0
    folders = place_runs(grid, workers=workers or cpu_limit(), progress=_show_progress, warn=_warn)
    if place.on is not None:
        return 1 if train_on_cluster(folders, grid.results, place, device, local_cache, log=click.echo) else 0
    try:
        free = local_slots(device, slots, threads, memory_gb=place.demand.memory_gb)
        failed = run_all(folders, free, click.echo, partial(start_here, cache=local_cache), retries=retries)
    except Preempted:
        return _requeue()
    return 1 if failed else 0


def _requeue() -> int:
    """Say that a command stopped before its end, as the system asked, and return its exit code."""
    from xraytransfer.study.training.interrupts import EXIT_REQUEUE

    click.echo("stopped by a signal; what was done is kept, and the same command continues", err=True)
    return EXIT_REQUEUE


@study.command()
@RESULTS
@click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")
def status(results: Path, as_json: bool) -> None:
    """Print the progress of each run, also while they run."""
    import json

    from xraytransfer.study.runs.status import run_status, table
    from xraytransfer.study.training.run_folder import list_runs

    runs = [run_status(folder) for folder in list_runs(results)]
    if not results.is_dir() or not (runs or as_json):
        found = "holds no run (runs/NAME/config.json)" if results.is_dir() else "no such folder"
        raise StudyError(f"{results}: {found}; `xraytransfer study run --results {results} ...` makes them")
    click.echo(json.dumps([one.to_dict() for one in runs], indent=1) if as_json else table(runs))


@study.command()
@RESULTS
@click.option(
    "--logs", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of event files to write."
)
def tensorboard(results: Path, logs: Path) -> None:
    """Write each run's metrics as TensorBoard event files."""
    from xraytransfer.study.runs.tensorboard_log import write_logs

    click.echo(f"{write_logs(results, logs)} runs written; look at them with: tensorboard --logdir {logs}")


@study.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@DEVICE
@THREADS
@LOCAL_CACHE
@click.option("--own-output", is_flag=True, hidden=True, help="Write the output to output.txt in FOLDER.")
def train(folder: Path, device: str, threads: int, local_cache: Path | None, own_output: bool) -> int:
    """Start or resume the one run in FOLDER.

    FOLDER is RESULTS/runs/NAME; `study prepare` makes it. After SIGUSR1 or SIGTERM the run saves its state and ends
    with exit code 75: start it again to continue. It is also 75 if another process works in FOLDER.
    """
    from xraytransfer.study.training.interrupts import EXIT_REQUEUE, Preempted, preemptible

    try:
        with preemptible():
            from xraytransfer.study.training.run import run_one

            run_one(folder, device=device, threads=threads, log=click.echo, own_output=own_output, cache=local_cache)
    except Preempted:
        return _requeue()
    except BusyError as error:
        click.echo(f"error: {error}", err=True)
        return EXIT_REQUEUE
    return 0


@study.command()
@RESULTS
@click.option(
    "--out", type=click.Path(file_okay=False, path_type=Path), help="Folder of the report. [default: RESULTS/report]"
)
@click.option(
    "--replicates", type=click.IntRange(10), default=1000, show_default=True, help="Bootstrap replicates, by patient."
)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of the bootstrap.")
@click.option(
    "--measure/--no-measure", default=True, show_default=True,
    help="Measure latency where none is stored and draw activation maps; needs torch.",
)  # fmt: skip
@click.option(
    "--films/--no-films", default=True, show_default=True,
    help="Show example films under activation maps; leave them out where films may not be published.",
)  # fmt: skip
@click.option(
    "--margin", type=click.FloatRange(0, 0.5, min_open=True), default=0.01, show_default=True,
    help="AUROC that a smaller network may lose and still count as not worse.",
)  # fmt: skip
def report(results: Path, out: Path | None, **options: Any) -> None:
    """Write the report of the runs that are done.

    report.html, report.md, tables and figures.
    """
    from xraytransfer.study.report.report import write_report

    click.echo(write_report(results, out, workers=cpu_limit(), log=click.echo, **options))


@study.command()
@click.option(
    "--results", type=click.Path(file_okay=False, path_type=Path), default=Path("xraytransfer-demo"), show_default=True,
    help="Folder of everything that the demo makes.",
)  # fmt: skip
@click.option("--patients", type=click.IntRange(40), default=500, show_default=True, help="Phantom patients drawn.")
@click.option("--slots", type=click.IntRange(1), help="Runs at the same time. [default: one per core]")
def demo(results: Path, patients: int, slots: int | None) -> None:
    """Run a whole small study on drawn phantoms.

    It goes from films to the report in a few minutes, and needs no data.
    """
    from xraytransfer.study.demo.demo import run_demo

    click.echo(run_demo(results, patients=patients, slots=slots, log=click.echo))
