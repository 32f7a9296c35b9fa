"""The report of a study: one HTML file with its figures inside, Markdown, a CSV file for each table.

Everything is a function of the files in the results folder. Numbers are rounded in HTML and Markdown, and have all
their digits in the CSV files. Where the runs cannot answer a question, the report says so in place of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from xraytransfer.errors import OutputError, StudyError
from xraytransfer.plural import counted
from xraytransfer.study.analysis.cells import score_results
from xraytransfer.study.analysis.cost import Cost, measure_costs, read_costs
from xraytransfer.study.analysis.data_summary import headline
from xraytransfer.study.analysis.question_truncation import MARGIN
from xraytransfer.study.analysis.results_folder import Results, read_results
from xraytransfer.study.report.page import ReportSection, page_html, page_markdown
from xraytransfer.study.report.sections import report_sections

__all__ = ["write_report"]


WITHOUT_FILMS = "Not drawn: this report was asked to show no films."


def write_report(
    results: Path,
    out: Path | None = None,
    *,
    replicates: int = 1000,
    seed: int = 0,
    workers: int = 1,
    measure: bool = True,
    films: bool = True,
    margin: float = MARGIN,
    log: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write the report of a results folder.

    Parameters
    ----------
    results : Path
        With ``runs/``.
    out : Path, optional
        Folder to write to; ``<results>/report`` if absent.
    replicates : int
        Bootstrap replicates.
    seed : int
        Seed of the bootstrap.
    workers : int
        Threads.
    measure : bool
        Measure the latency of networks that have none stored, and draw activation maps; both need torch.
    films : bool
        Whether the report may show films, under activation maps. Must be false for a report that is published
        where the films may not be.
    margin : float
        AUROC that a smaller network may lose and still count as not worse.
    log : callable
        Takes each line of progress.

    Returns
    -------
    Path
        ``report.html``.

    Raises
    ------
    StudyError
        There is no finished run, or no observation has positives and negatives among the test films.
    OutputError
        The report cannot be written.
    """
    runs = read_results(results)
    _refuse_without_classes(runs)
    folder = out or results / "report"
    _make_folders(folder)
    log(f"{counted(len(runs.runs), 'run')}, {len(runs.test.image)} test films, {replicates} bootstrap replicates")
    scores = score_results(runs, replicates=replicates, seed=seed, workers=workers)
    log("latency and activation maps" if measure else "tables and figures")
    costs = _costs(runs, measure)
    no_maps = "Not drawn: asked for tables only." if not measure else "" if films else WITHOUT_FILMS
    sections = report_sections(scores, costs, no_maps=no_maps, workers=workers, margin=margin)
    _name_others(folder, sections, log)
    return _write(folder, *headline(scores), sections)


def _name_others(folder: Path, sections: Sequence[ReportSection], log: Callable[[str], None]) -> None:
    """Say which tables and figures in the folder are of an earlier report, or of somebody else."""
    if others := _of_an_earlier_report(folder, sections):
        log(f"{folder}: {', '.join(others)}: not of this report; an earlier one wrote them, or you did")


def _of_an_earlier_report(folder: Path, sections: Sequence[ReportSection]) -> list[str]:
    """Return the tables and figures in the folder that this report does not write, sorted."""
    own = {f"figures/{picture.file}" for section in sections for picture in section.pictures}
    own |= {f"tables/{table.name}.csv" for section in sections for table in section.tables}
    found = {f"{name}/{path.name}" for name in ("figures", "tables") for path in (folder / name).glob("[!.]*")}
    return sorted(found - own)


def _refuse_without_classes(results: Results) -> None:
    """Raise `StudyError` if no AUROC can be computed."""
    label = results.test.label
    if ((label == 1).any(axis=0) & (label == 0).any(axis=0)).any():
        return
    counts = ", ".join(
        f"{name.replace('_', ' ')} {int((column == 1).sum())} positive and {int((column == 0).sum())} negative"
        for name, column in zip(results.observations, label.T, strict=True)
    )
    raise StudyError(
        f"{results.folder}: no observation has both classes among the {len(label)} test films ({counts}), so there is "
        "no AUROC to report; train with a split whose test films show a finding and its absence"
    )


def _costs(results: Results, measure: bool) -> dict[tuple[str, int], Cost]:
    """Return costs: measured where that is asked for and torch is installed, else those that are stored."""
    with suppress(ImportError):
        if measure:
            return measure_costs(results)
    return read_costs(results)


def _make_folders(folder: Path) -> None:
    """Make the folders first, so that a folder that cannot be written fails before minutes of work."""
    try:
        for name in ("figures", "tables"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: the report cannot be written: {error}") from error


def _write(folder: Path, title: str, notice: str, sections: Sequence[ReportSection]) -> Path:
    """Write everything and return the page; `OutputError` if that fails."""
    page = folder / "report.html"
    try:
        for section in sections:
            for picture in section.pictures:
                (folder / "figures" / picture.file).write_bytes(picture.data)
            for table in section.tables:
                table.write_csv(folder / "tables")
        (folder / "report.md").write_text(page_markdown(title, notice, sections), encoding="utf-8")
        page.write_text(page_html(title, notice, sections), encoding="utf-8")
    except OSError as error:
        raise OutputError(f"{folder}: the report cannot be written: {error}") from error
    return page
