"""What finished runs say of other films, or of their test films by other labels, beside their own test.

Conventions
-----------
Read are the files of ``predictions/external`` of the runs that are compared. Runs of one external test are comparable
if their films and labels are the same; the largest such set is reported, the others are named. Cells, seeds and
intervals by patient are those of `xraytransfer.study.analysis.cells`. A run is judged by the ensemble of its
checkpoints; where a run of the test was thinned and has the soup only, all are judged by the soup, on both sides.
The own test's macro AUROC is taken over the observations that the external test has.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import StudyError
from xraytransfer.plural import counted
from xraytransfer.study.analysis.cells import Cell, Scored, score_results
from xraytransfer.study.analysis.results_folder import Results, RunResult, reduce_to_six
from xraytransfer.study.analysis.table import Column, Row, Table, interval_row, number, show_interval, text
from xraytransfer.study.data.external_predictions import external_names, read_external
from xraytransfer.study.data.predictions import Predictions
from xraytransfer.study.stats.auroc import auroc

__all__ = [
    "ExternalTest",
    "external_run_table",
    "external_sentences",
    "external_tables",
    "read_external_tests",
    "run_table",
]


@dataclass(frozen=True, eq=False)
class ExternalTest:
    """One external test of the runs that are compared.

    Attributes
    ----------
    name : str
        Of the test.
    record : mapping
        What the first run's NAME.json says of the films.
    stored : dict
        Run's name -> its predictions, the six observations only; see `reduce_to_six`.
    by_soup : bool
        Whether the runs are judged by their soups.
    absent : tuple of (str, str)
        Names of compared runs without it, and why.
    """

    name: str
    record: Mapping[str, Any]
    stored: Mapping[str, Predictions]
    by_soup: bool
    absent: tuple[tuple[str, str], ...]

    @property
    def films(self) -> Predictions:
        """The films, with the first run's predictions."""
        return next(iter(self.stored.values()))


def read_external_tests(results: Results) -> list[ExternalTest]:
    """Return the external tests that any of the runs has, by name."""
    names = sorted({name for run in results.runs for name in external_names(run.folder)})
    tests = [_read_test(results.runs, name) for name in names]
    return [test for test in tests if test is not None]


def _read_test(runs: Sequence[RunResult], name: str) -> ExternalTest | None:
    """Return one test of the runs; None if none can be read."""
    groups: dict[tuple[str, str], dict[str, tuple[Predictions, Mapping[str, Any]]]] = {}
    absent: list[tuple[str, str]] = []
    for run in runs:
        if name not in external_names(run.folder):
            absent.append((run.name, "not tested"))
            continue
        try:
            one = read_external(run.folder, name)
        except StudyError as error:
            absent.append((run.name, f"cannot be read: {error}".replace(str(run.folder), run.name)))
        else:
            key = str(one.record["films_sha256"]), str(one.record["labels_sha256"])
            groups.setdefault(key, {})[run.name] = one.predictions, one.record
    if not groups:
        return None
    chosen = max(groups.values(), key=len)
    absent += [(run, "other films or labels") for group in groups.values() if group is not chosen for run in group]
    by_soup = any(not len(predictions.checkpoint_steps) for predictions, _ in chosen.values())
    stored = {}
    for run_name, (predictions, _) in chosen.items():
        try:
            stored[run_name] = reduce_to_six(predictions, run_name, by_soup=by_soup)
        except StudyError as error:
            absent.append((run_name, f"cannot be compared: {error}"))
    record = next(iter(chosen.values()))[1]
    return ExternalTest(name, record, stored, by_soup, tuple(sorted(absent))) if stored else None


def external_sentences(tests: Sequence[ExternalTest]) -> tuple[str, ...]:
    """Return a sentence on each test: what the films are, and what was left out."""
    return tuple(_sentence(test) for test in tests)


def _sentence(test: ExternalTest) -> str:
    record, films = test.record, test.films
    shown = f"{counted(len(films.image), 'film')} of {counted(len(np.unique(films.patient)), 'patient')}"
    if record.get("kind") == "relabelled":
        scope = "all films, corrected where labels are listed" if record.get("correct") else "the listed films only"
        parts = [
            f"{test.name}: the {record['source']} films by the labels of {record['data']} ({scope}): {shown}, "
            f"{counted(sum(record['labels_changed'].values()), 'label')} changed"
        ]
    else:
        parts = [f"{test.name}: {shown} of {record['data']}, strangers to the runs"]
        left_out = record["left_out"]
        if left_out["known_patients"]:
            parts.append(f"{counted(left_out['known_patients'], 'patient')} that the runs know left out")
        if refused := sum(left_out["refused"].values()):
            parts.append(f"{counted(refused, 'film')} not readable")
        if not record["patients_compared"]:
            parts.append("identifiers of patients are of another name space, only names of images were compared")
    if rows := record.get("rows"):
        parts.append("rows " + ", ".join(f"{column} = {' or '.join(values)}" for column, values in rows.items()))
    if record["labels_absent"]:
        parts.append(f"no labels for {', '.join(name.replace('_', ' ') for name in record['labels_absent'])}")
    if test.by_soup:
        parts.append("judged by the soup, because runs were thinned before the test")
    if test.absent:
        parts.append(f"absent: {'; '.join(f'{name} ({reason})' for name, reason in test.absent)}")
    return "; ".join(parts) + "."


def external_tables(scored: Scored, tests: Sequence[ExternalTest], workers: int = 1) -> list[Table]:
    """Return the tables of every external test: cells beside their own test, and observations.

    Parameters
    ----------
    scored : Scored
        The runs' own test.
    tests : sequence of ExternalTest
        From `read_external_tests`.
    workers : int
        Threads.
    """
    tables = []
    for test in tests:
        outside = _score(scored, test, workers)
        own = _own(scored, test, workers)
        tables += [_cell_table(test, outside, own), _observation_table(test, outside)]
    return tables


def _score(scored: Scored, test: ExternalTest, workers: int) -> Scored:
    """Judge the cells on the external films."""
    runs = tuple(replace(run, test=test.stored[run.name]) for run in scored.results.runs if run.name in test.stored)
    names = tuple(str(name) for name in test.films.observations)
    results = Results(scored.results.folder, runs, (), names)
    return score_results(results, replicates=len(scored.weights), seed=scored.seed, workers=workers)


def _own(scored: Scored, test: ExternalTest, workers: int) -> Scored | None:
    """Judge the same runs in the same way on their own test; None where that needs soups that are not stored."""
    runs = [run for run in scored.results.runs if run.name in test.stored]
    if test.by_soup:
        if any(run.test.soup is None for run in runs):
            return None
        runs = [replace(run, test=reduce_to_six(run.test, run.name, by_soup=True)) for run in runs]
    elif len(runs) == len(scored.results.runs):
        return scored
    results = replace(scored.results, runs=tuple(runs))
    return score_results(results, replicates=len(scored.weights), seed=scored.seed, workers=workers)


def _cell_row(cell: Cell) -> dict[str, object]:
    return {
        "architecture": cell.architecture,
        "initialisation": cell.initialisation,
        "truncation": cell.truncation,
        "seeds": len(cell.runs),
    }


CELL_COLUMNS = (
    Column("Architecture", text("architecture"), right=False),
    Column("Weights", text("initialisation"), right=False),
    Column("Removed", text("truncation")),
    Column("Seeds", text("seeds")),
)


def _cell_table(test: ExternalTest, outside: Scored, own: Scored | None) -> Table:
    """Return one row per cell: macro AUROC on the own test and on the external one."""
    inside = own.results.observations if own else ()
    defined = {name for k, name in enumerate(outside.results.observations) if not np.isnan(outside.cells[0].value[k])}
    counts = np.array([name in defined for name in inside], dtype=bool)
    rows = []
    for cell in outside.cells:
        row = _cell_row(cell) | interval_row(cell.macro)
        other = own.find(*cell.key) if own else None
        if other is not None:
            row |= interval_row(replace(other, value=np.where(counts, other.value, np.nan)).macro, "own_")
        rows.append(row)
    columns = (
        *CELL_COLUMNS,
        Column("Own test (95 %)", show_interval("own_")),
        Column(f"{test.name} (95 %)", show_interval()),
    )
    names = ", ".join(name.replace("_", " ") for name in outside.results.observations if name in defined)
    note = f"Macro AUROC over {names or 'nothing: no observation has both classes'}, in both columns."
    if own is None:
        note += " The own test is absent: some of the runs stored no soup for it."
    return Table(f"external_{test.name}", f"{test.name}: macro AUROC beside the own test", columns, rows, note)


def _observation_table(test: ExternalTest, outside: Scored) -> Table:
    """Return a row of positive films, then one row per cell with each observation's AUROC."""
    films = outside.results.test
    counts: dict[str, object] = {"architecture": "positive films", "films": len(films.image)}
    for k, name in enumerate(outside.results.observations):
        counts[f"{name}_positives"] = int((films.label[:, k] == 1).sum())
        counts[f"{name}_known"] = int((~np.isnan(films.label[:, k])).sum())
    rows: list[Row] = [counts]
    for cell in outside.cells:
        row = _cell_row(cell)
        for k, name in enumerate(outside.results.observations):
            row |= interval_row(cell.observation(k), f"{name}_")
        rows.append(row)
    columns = [*CELL_COLUMNS, *(_observation_column(name) for name in outside.results.observations)]
    title = f"{test.name}: AUROC (95 %) of every cell by observation"
    return Table(f"external_{test.name}_observations", title, columns, rows)


def _observation_column(name: str) -> Column:
    """Return a column that shows an AUROC with its interval, or in the row of counts the positive films."""
    interval = show_interval(f"{name}_", 2)

    def show(row: Row) -> str:
        if f"{name}_positives" in row:
            return f"{row[f'{name}_positives']} of {row[f'{name}_known']}"
        return interval(row)

    return Column(name.replace("_", " ").capitalize(), show)


def external_run_table(scored: Scored, test: ExternalTest) -> Table:
    """Return one row per run and seed: AUROC of each observation on the external films."""
    names = [str(name) for name in test.films.observations]
    rows = []
    for run in scored.results.runs:
        if run.name not in test.stored:
            continue
        films = test.stored[run.name]
        values = _each(films.label, films.probability[:, 0])
        rows.append(_run_row(run) | {"macro": _macro(values)} | dict(zip(names, values, strict=True)))
    columns = [
        Column("Run", text("run"), right=False),
        Column("Macro", number("macro")),
        *(Column(name.replace("_", " ").capitalize(), number(name)) for name in names),
    ]
    return Table(f"external_{test.name}_runs", f"{test.name}: AUROC of every run", columns, rows)


def run_table(scored: Scored, tests: Sequence[ExternalTest]) -> Table:
    """Return one row per run and seed: macro AUROC of its ensemble, best checkpoint and soup on every test.

    An empty cell: the run has no such test, or no such prediction of it.
    """
    rows = []
    for run in scored.results.runs:
        row = _run_row(run) | _three("test", run.test, thinned=False)
        for test in tests:
            if run.name in test.stored:
                row |= _three(test.name, test.stored[run.name], thinned=test.by_soup)
        rows.append(row)
    columns = [
        Column("Run", text("run"), right=False),
        Column("Parameters, millions", number("parameters", 2, times=1e-6)),
    ]
    for name in ("test", *(test.name for test in tests)):
        columns += [Column(f"{name}, {side}", number(f"{name}_{side}")) for side in ("ensemble", "best", "soup")]
    note = "Macro AUROC over the observations that have both classes among the films of the test."
    return Table("runs", "Every run, one row per seed", columns, rows, note)


def _run_row(run: RunResult) -> dict[str, object]:
    return {
        "run": run.name,
        "architecture": run.cell[0],
        "initialisation": run.cell[1],
        "truncation": run.cell[2],
        "seed": run.seed,
        "parameters": int(run.done.get("parameters", 0)) or None,
    }


def _three(name: str, films: Predictions, *, thinned: bool) -> dict[str, object]:
    """Return macro AUROC of the ensemble, the best checkpoint and the soup."""
    probability: dict[str, NDArray[np.float32] | None] = {
        "ensemble": None if thinned else films.probability[:, 0],
        "best": None if thinned else films.probability[:, 1],
        "soup": films.soup,
    }
    return {
        f"{name}_{side}": None if one is None else _macro(_each(films.label, one)) for side, one in probability.items()
    }


def _each(label: NDArray[np.float32], probability: NDArray[np.float32]) -> list[float]:
    return [auroc(label[:, k], probability[:, k]) for k in range(label.shape[1])]


def _macro(values: Sequence[float]) -> float:
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else float("nan")
