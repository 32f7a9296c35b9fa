"""Commands ``xraytransfer study test | relabel | thin``: what is done with finished runs.

Light on purpose: everything heavy is imported inside the commands' bodies.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from xraytransfer.usage_errors import as_usage_error

if TYPE_CHECKING:
    from xraytransfer.study.data.row_filter import RowFilter
    from xraytransfer.study.finished_runs.external_test import ExternalFilms

__all__ = ["relabel_command", "test_command", "thin_command"]

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

RUNS = click.argument("runs", nargs=-1, required=True, type=FOLDER)
ROWS = click.option(
    "--rows",
    multiple=True,
    metavar="COLUMN=VALUE",
    help="Only rows with this value; one column may be given several times.",
)
AGAIN = click.option("--again", is_flag=True, help="Make a test of this name anew.")


@click.command("test")
@RUNS
@click.option("--data", type=click.Choice(["chexpert", "nih", "csv"]), required=True, help="Layout of the data set.")
@click.option("--folder", type=FOLDER, required=True, help="The data set.")
@click.option("--mapping", type=FILE, help="Mapping file (JSON), for --data csv.")
@click.option(
    "--views",
    type=click.Choice(["frontal", "lateral", "all"]),
    default="frontal",
    show_default=True,
    help="Views used.",
)
@ROWS
@click.option("--name", help="Of the test, in files and in the report. [default: the data set's]")
@click.option(
    "--strangers-only", is_flag=True, help="Leave patients out that a run knows, instead of refusing the run."
)
@AGAIN
@click.option("--own-folder", type=FOLDER, help="Where the runs' own data set is now. [default: as in config.json]")
@click.option(
    "--cache", type=click.Path(file_okay=False, path_type=Path), help="Folder of caches. [default: each run's own]"
)
@click.option(
    "--device", default="auto", show_default=True, help="auto, cpu, cuda, or cuda:N. auto takes a GPU, else the CPU."
)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True, help="Threads on the CPU.")
@click.option("--workers", type=click.IntRange(1), help="Processes that decode. [default: the cores allowed]")
def test_command(
    *,
    runs: tuple[Path, ...],
    data: str,
    folder: Path,
    mapping: Path | None,
    views: str,
    rows: tuple[str, ...],
    name: str | None,
    strangers_only: bool,
    again: bool,
    own_folder: Path | None,
    cache: Path | None,
    device: str,
    threads: int,
    workers: int | None,
) -> int:
    """Test finished runs on another data set.

    RUNS are run folders, or results folders, of which all finished runs are taken. What they predict is stored beside
    their own predictions, once; the report shows it. Exit code 1 if a run was refused: the others go on.
    """
    import torch

    from xraytransfer.runtime import cpu_limit
    from xraytransfer.study.finished_runs.external_test import ExternalTestOptions, run_external_test
    from xraytransfer.study.finished_runs.run_list import for_each_run
    from xraytransfer.study.training.interrupts import stoppable
    from xraytransfer.study.training.run import prepare_device, resolve_device

    films = _films(data, folder, mapping, views, _row_filter(rows))
    place = resolve_device(device)
    prepare_device(torch.device(place))
    torch.set_num_threads(threads)
    workers = workers or cpu_limit()
    options = ExternalTestOptions(
        name or films.table.name, strangers_only, again, own_folder, cache, device=place, workers=workers
    )
    with stoppable() as stop:
        refused = for_each_run(runs, lambda run: run_external_test(run, films, options, stop=stop), click.echo, _refuse)
    return 1 if refused else 0


@click.command("relabel")
@RUNS
@click.option("--name", required=True, help="Of the test, in files and in the report.")
@click.option("--folder", type=FOLDER, required=True, help="Folder of the CSV file with the labels.")
@click.option("--mapping", type=FILE, required=True, help="Mapping file (JSON); no column of patients is needed.")
@ROWS
@click.option("--source", default="test", show_default=True, help="Whose films: test, or the name of an external test.")
@click.option(
    "--correct",
    is_flag=True,
    help="Judge all films: labels in the CSV file replace stored ones, the others stay. Without it, films that are not "
    "listed are left out.",
)
@AGAIN
def relabel_command(
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
    """Judge films that runs have predicted by other labels.

    RUNS as for `study test`. The stored predictions are taken, no network is asked. Exit code 1 if a run was refused.
    """
    from xraytransfer.study.finished_runs.relabelling import read_other_labels, relabel_run
    from xraytransfer.study.finished_runs.run_list import for_each_run

    labels = read_other_labels(folder, mapping, _row_filter(rows))

    def relabel(run: Path) -> str:
        return relabel_run(run, labels, name=name, source=source, correct=correct, again=again)

    return 1 if for_each_run(runs, relabel, click.echo, _refuse) else 0


@click.command("thin")
@RUNS
@click.option(
    "--keep",
    type=click.Choice(["predictions", "soup", "all"]),
    required=True,
    help="predictions: no weights; soup: one file, the mean of the checkpoints' weights; all: no resume state.",
)
def thin_command(runs: tuple[Path, ...], keep: str) -> int:
    """Delete what finished runs need not keep.

    RUNS as for `study test`. Predictions, metrics and settings always stay. Exit code 1 if a run was refused: one that
    is not done, that another process works on, or whose files are damaged.
    """
    from xraytransfer.study.finished_runs.run_list import for_each_run
    from xraytransfer.study.finished_runs.thinning import thin_run

    freed = 0

    def thin(run: Path) -> str:
        nonlocal freed
        size = thin_run(run, keep)
        freed += size
        return f"{run.name}: {size:,} bytes freed"

    refused = for_each_run(runs, thin, click.echo, _refuse)
    click.echo(f"{freed:,} bytes freed in all")
    return 1 if refused else 0


def _refuse(line: str) -> None:
    click.echo(line, err=True)


def _row_filter(conditions: tuple[str, ...]) -> RowFilter:
    from xraytransfer.study.data.row_filter import parse_row_filter

    with as_usage_error():
        return parse_row_filter(conditions)


def _films(data: str, folder: Path, mapping: Path | None, views: str, rows: RowFilter) -> ExternalFilms:
    """Read the table of the films, and what the record of a test says of it."""
    from xraytransfer.study.data.datasets import read_dataset
    from xraytransfer.study.data.mapping_file import read_mapping
    from xraytransfer.study.finished_runs.external_test import ExternalFilms
    from xraytransfer.study.finished_runs.strangers import name_space

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
