"""Commands ``xraytransfer study test | relabel | thin``, which work on finished runs.

The module is light: everything heavy is imported in the bodies of the commands.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from xraytransfer.errors import StudyError
from xraytransfer.study.finished_runs.settings import ExternalTestSettings
from xraytransfer.study.runs.grid import EXISTING_FILE, EXISTING_FOLDER, GRID_OPTIONS, VIEWS, WORKERS
from xraytransfer.study.runs.option_fields import add_options, field_options
from xraytransfer.usable_cores import cpu_limit
from xraytransfer.usage_errors import as_usage_error

if TYPE_CHECKING:
    from xraytransfer.study.data.row_filter import RowFilter
    from xraytransfer.study.finished_runs.external_test import ExternalFilms

__all__ = ["relabel", "test", "thin"]

RUNS = click.argument("runs", nargs=-1, required=True, type=EXISTING_FOLDER)
ROWS = click.option(
    "--rows",
    multiple=True,
    metavar="COLUMN=VALUE",
    help="Read only the rows with this value; may be repeated, also for one column.",
)
SETTINGS = field_options(ExternalTestSettings)


@click.command()
@RUNS
@add_options(*(GRID_OPTIONS[name] for name in ("data", "folder", "mapping")))
@click.option("--views", type=VIEWS, default="frontal", show_default=True, help="Views to use.")
@ROWS
@click.option("--name", help="Name of the test in files and in the report. [default: that of the data set]")
@add_options(*SETTINGS.values())
@click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, or cuda:N. auto takes a GPU, else the CPU."
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads on the CPU.")
@WORKERS
def test(
    *,
    runs: tuple[Path, ...],
    data: str,
    folder: Path,
    mapping: Path | None,
    views: str,
    rows: tuple[str, ...],
    name: str | None,
    device: str,
    threads: int,
    workers: int | None,
    **options: Any,
) -> int:
    """Test finished runs on another data set.

    RUNS are run folders, or results folders, of which all finished runs are taken. The predictions are stored in the
    folder of each run, and the report shows them. Exit code 1 if a run was refused; the others continue.
    """
    import torch

    from xraytransfer.study.finished_runs.external_test import run_external_test
    from xraytransfer.study.training.interrupts import stoppable
    from xraytransfer.study.training.run import prepare_device, resolve_device

    films = _films(data, folder, mapping, views, _row_filter(rows))
    device = resolve_device(device)
    prepare_device(torch.device(device))
    torch.set_num_threads(threads)
    settings = ExternalTestSettings(
        name=name or films.table.name, device=device, workers=workers or cpu_limit(), **options
    )
    with stoppable() as stop:
        return _for_each_run(runs, lambda run: run_external_test(run, films, settings, stop))


@click.command()
@RUNS
@click.option("--name", required=True, help="Name of the test in files and in the report.")
@click.option("--folder", type=EXISTING_FOLDER, required=True, help="Folder of the CSV file with the labels.")
@click.option(
    "--mapping", type=EXISTING_FILE, required=True, help="Mapping file (JSON); no column of patients is needed."
)
@ROWS
@click.option(
    "--source", default="test", show_default=True, help="Films to relabel: test, or the name of an external test."
)
@click.option(
    "--correct",
    is_flag=True,
    help="Evaluate all films: labels in the CSV file replace stored ones, the others stay. Without it, films that are "
    "not listed are left out.",
)
@SETTINGS["again"]
def relabel(
    *,
    runs: tuple[Path, ...],
    name: str,
    folder: Path,
    mapping: Path,
    rows: tuple[str, ...],
    source: str,
    correct: bool,
    again: bool,
) -> int:
    """Evaluate stored predictions of finished runs with other labels.

    RUNS are as for `study test`. No network runs. Exit code 1 if a run was refused; the others continue.
    """
    from xraytransfer.study.data.other_labels import read_other_labels
    from xraytransfer.study.finished_runs.relabelling import relabel_run

    labels = read_other_labels(folder, mapping, _row_filter(rows))

    def relabel_one(run: Path) -> str:
        return relabel_run(run, labels, name=name, source=source, correct=correct, again=again)

    return _for_each_run(runs, relabel_one)


@click.command()
@RUNS
@click.option(
    "--keep",
    type=click.Choice(["predictions", "soup", "all"]),
    required=True,
    help="predictions: no weights. soup: one file, the mean of the checkpoints' weights. all: all checkpoints, but no "
    "resume state.",
)
def thin(runs: tuple[Path, ...], keep: str) -> int:
    """Delete weights of finished runs that are no longer needed.

    RUNS are as for `study test`. Predictions, metrics and settings always stay. Exit code 1 if a run was refused: one
    that is not done, that another process works on, or whose files are damaged. The others continue.
    """
    from xraytransfer.study.finished_runs.thinning import thin_run

    freed = 0

    def thin_one(run: Path) -> str:
        nonlocal freed
        size = thin_run(run, keep)
        freed += size
        return f"{run.name}: {size:,} bytes freed"

    exit_code = _for_each_run(runs, thin_one)
    click.echo(f"{freed:,} bytes freed in all")
    return exit_code


def _for_each_run(folders: tuple[Path, ...], action: Callable[[Path], str]) -> int:
    """Call `action` with each run folder and print its answer; return 1 if it refused a run, else 0."""
    from safetensors import SafetensorError

    from xraytransfer.study.finished_runs.run_list import run_folders
    from xraytransfer.study.training.run import explain

    exit_code = 0
    for run in run_folders(folders):
        try:
            click.echo(action(run))
        except (StudyError, RuntimeError, OSError, MemoryError, SafetensorError) as error:
            reason = explain(error)
            click.echo(f"refused: {reason if run.name in reason else f'{run.name}: {reason}'}", err=True)
            exit_code = 1
    return exit_code


def _row_filter(conditions: tuple[str, ...]) -> RowFilter:
    from xraytransfer.study.data.row_filter import parse_row_filter

    with as_usage_error():
        return parse_row_filter(conditions)


def _films(data: str, folder: Path, mapping: Path | None, views: str, rows: RowFilter) -> ExternalFilms:
    """Read the table of the films, and describe the data set for the record of the test."""
    from xraytransfer.study.data.datasets import read_dataset
    from xraytransfer.study.data.mapping_file import read_mapping
    from xraytransfer.study.finished_runs.external_test import ExternalFilms
    from xraytransfer.study.finished_runs.known_films import name_space

    table = read_dataset(data, folder, mapping=mapping, views=views, rows=rows)
    if mapping:
        rows = {**read_mapping(mapping).rows, **rows}
    source = {
        "data": table.name,
        "layout": data,
        "folder": folder.resolve().name,
        "mapping": mapping.name if mapping else None,
        "views": views,
        "rows": {column: sorted(values) for column, values in rows.items()},
    }
    return ExternalFilms(table, name_space({"name": data, "folder": folder, "mapping": mapping}), source)
