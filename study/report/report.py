"""The report of a study: one HTML file with its figures inside, Markdown, a CSV file for each table.

Everything is a function of the files in the results folder. Numbers are rounded in HTML and Markdown, and have all
their digits in the CSV files. Where the runs cannot answer a question, the report says so in place of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from matplotlib.figure import Figure

from xraytransfer.errors import OutputError, StudyError
from xraytransfer.plural import counted
from xraytransfer.study.analysis.cells import Cell, Scores, score_results
from xraytransfer.study.analysis.claims import claims_table, summary_sentences
from xraytransfer.study.analysis.cost import Cost, measure_costs, read_costs
from xraytransfer.study.analysis.data_summary import (
    data_section_tables,
    headline,
    is_synthetic,
    limits,
    settings_table,
)
from xraytransfer.study.analysis.ensembles import across_table, checkpoint_table, ensemble_verdicts
from xraytransfer.study.analysis.external_tables import external_cells, external_run_table, external_tables, run_table
from xraytransfer.study.analysis.external_tests import ExternalTest, external_sentences, read_external_tests
from xraytransfer.study.analysis.paper_differences import differences_table
from xraytransfer.study.analysis.question_accuracy import accuracy_name, answer_accuracy
from xraytransfer.study.analysis.question_boost import answer_boost
from xraytransfer.study.analysis.question_size import answer_size
from xraytransfer.study.analysis.question_truncation import MARGIN, answer_truncation
from xraytransfer.study.analysis.results_folder import Results, read_results
from xraytransfer.study.analysis.smallest import answer_smallest
from xraytransfer.study.analysis.subgroups import (
    observation_table,
    published_table,
    reference_cell,
    reference_table,
    subset_table,
)
from xraytransfer.study.analysis.table import QuestionAnswer
from xraytransfer.study.report.activation_maps import draw_maps
from xraytransfer.study.report.figure_parts import svg
from xraytransfer.study.report.figures import (
    accuracy_figure,
    boost_figure,
    calibration_figure,
    curves_figure,
    observations_figure,
    size_figure,
    truncation_figure,
)
from xraytransfer.study.report.page import Picture, ReportSection, page_html
from xraytransfer.study.report.smallest_figures import smallest_external_figure, smallest_figure
from xraytransfer.study.training.kept_weights import WeightsGoneError

__all__ = ["write_report"]


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
    sections = _sections(scores, costs, no_maps=no_maps, workers=workers, margin=margin)
    title, notice = headline(scores)
    try:
        return _write(folder, title, notice, sections)
    except OSError as error:
        raise OutputError(f"{folder}: the report cannot be written: {error}") from error


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


def _sections(
    scores: Scores, costs: dict[tuple[str, int], Cost], *, no_maps: str, workers: int, margin: float
) -> list[ReportSection]:
    """Return the sections in their order on the page."""
    answers = [
        answer_accuracy(scores),
        answer_boost(scores),
        answer_size(scores),
        answer_truncation(scores, costs, margin),
    ]
    external = read_external_tests(scores.results)
    elsewhere = {test.name: external_cells(scores, test, workers) for test in external}
    smallest = answer_smallest(scores, costs, elsewhere, margin)
    return [
        *_summary(scores, [*answers, smallest], margin),
        ReportSection("data", "Films and runs", limits(scores), tables=data_section_tables(scores)),
        *_questions(scores, answers),
        _smallest(scores, costs, smallest, elsewhere),
        *_external(scores, external, workers),
        ReportSection("appendix", "Appendix", (APPENDIX,)),
        *_reference(scores),
        _ensembles(scores, workers),
        _maps(scores, no_maps),
        ReportSection(
            "curves",
            "Training",
            (),
            _pictures("curves", curves_figure(scores), "Macro AUROC on the validation patients while training."),
        ),
        _runs(scores, external),
        ReportSection(
            "cells",
            "Every cell",
            (),
            tables=[subset_table(scores), observation_table(scores), settings_table(scores)],
            folded=True,
        ),
        ReportSection("methods", "Methods", METHODS),
    ]


def _pictures(name: str, figure: Figure | None, caption: str) -> list[Picture]:
    return [] if figure is None else [Picture(f"{name}.svg", svg(figure).encode(), caption)]


def _questions(scores: Scores, answers: Sequence[QuestionAnswer]) -> list[ReportSection]:
    """Return a section for each of the four questions, with its figure."""
    figures = (
        (accuracy_figure(scores), f"{accuracy_name(scores)} against macro AUROC; {LINE}"),
        (boost_figure(scores), f"Pretraining boost against parameters; {LINE}"),
        (size_figure(scores), "Parameters against macro AUROC; lines join a family"),
        (
            truncation_figure(scores),
            "AUROC lost by removing final stages, against their number and against the parameters left",
        ),
    )
    return [
        ReportSection(a.slug, a.question, a.verdicts, _pictures(a.slug, figure, f"{caption}; {BARS}."), a.tables)
        for a, (figure, caption) in zip(answers, figures, strict=True)
    ]


def _reference(scores: Scores) -> list[ReportSection]:
    """Return the sections on the reference cell: its observations and its calibration."""
    cell, reference, published = reference_cell(scores), reference_table(scores), published_table(scores)
    return [
        ReportSection(
            "observations",
            "By observation and view",
            (),
            _pictures("observations", observations_figure(reference, cell), f"AUROC of {cell.label}; {BARS}."),
            [reference, *([published] if published else [])],
        ),
        ReportSection(
            "calibration",
            "Calibration",
            ("Probabilities as trained, before any calibration; the export calibrates on the validation patients.",),
            _pictures(
                "calibration",
                calibration_figure(scores, cell),
                f"Reliability of {cell.label}: ten bins of equally many films; bars are Wilson's 95 % intervals.",
            ),
        ),
    ]


LINE = "from three networks on with a line by least squares, whose band holds 95 % of such lines over other patients"

APPENDIX = (
    "What follows is no part of the four questions: observations and views, calibration, ways of combining "
    "checkpoints and runs, activation maps, and every run and cell by itself."
)

BARS = "bars are 95 % bootstrap intervals by patient"

WITHOUT_FILMS = "Not drawn: this report was asked to show no films."

METHODS = (
    "A cell is an architecture, an initialisation and a number of stages removed. Its prediction is the mean of the "
    "kept checkpoints' probabilities, chosen on the validation patients; its AUROC is the mean over its seeds.",
    "Macro AUROC is the plain mean over the observations that have positives and negatives among the test films.",
    "Intervals are percentiles of a bootstrap by patient. All cells share the draws, so differences are paired. The "
    "chance of training is pooled over all cells with several seeds and added to every cell; where no cell has two "
    "seeds, an interval says nothing about training again.",
    "Rank correlations are Spearman's. Interval and p are of one method, Fisher's z with the number of independent "
    "models that these are worth if those of a family are alike. The power is that of this test, by simulation.",
    "Size is tested within families: a slope on log parameters, each family with its own level. Over all models it "
    "would be claimed in one of five studies in which only families differ.",
    "p values of a table are corrected by Holm where a column says so. Not significant never means equal.",
    "Published numbers are printed only where they were read at the source named beside them.",
)


def _summary(scores: Scores, answers: Sequence[QuestionAnswer], margin: float) -> list[ReportSection]:
    """Return the answer on one page: the claims, and the first sentence on each question."""
    answered = [f"**{answer.question}** {' '.join(answer.verdicts[: SHORT.get(answer.slug, 1)])}" for answer in answers]
    if is_synthetic(scores):
        return [ReportSection("summary", "In short", answered)]
    claims = claims_table(scores, margin)
    tables = [claims, differences_table(scores)]
    return [ReportSection("summary", "In short", [*summary_sentences(claims), *answered], tables=tables)]


SHORT = {"accuracy": 2, "boost": 2, "size": 4, "truncation": 2}
"""How many sentences of each answer stand in the summary."""


def _smallest(
    scores: Scores, costs: dict[tuple[str, int], Cost], answer: QuestionAnswer, elsewhere: Mapping[str, Sequence[Cell]]
) -> ReportSection:
    front = "the line joins the networks that nothing smaller or as fast beats; hollow: random weights."
    pictures = [
        *_pictures("smallest", smallest_figure(scores, costs), f"Macro AUROC over size and time; {front}"),
        *_pictures(
            "smallest-external",
            smallest_external_figure(scores, elsewhere),
            f"Macro AUROC over size on the films or labels of each external test; {front}",
        ),
    ]
    return ReportSection(answer.slug, answer.question, answer.verdicts, pictures, answer.tables)


def _external(scores: Scores, tests: Sequence[ExternalTest], workers: int) -> list[ReportSection]:
    """Return the section on external tests, if there is any."""
    if not tests:
        return []
    title = "On other films, and with other labels"
    return [ReportSection("external", title, external_sentences(tests), tables=external_tables(scores, tests, workers))]


def _runs(scores: Scores, tests: Sequence[ExternalTest]) -> ReportSection:
    tables = [run_table(scores, tests), *(external_run_table(scores, test) for test in tests)]
    return ReportSection("runs", "Every run", (), tables=tables, folded=True)


def _ensembles(scores: Scores, workers: int) -> ReportSection:
    inside, across = checkpoint_table(scores, workers), across_table(scores)
    tables = [table for table in (inside, across) if table is not None and table.rows]
    return ReportSection("ensembles", "Ensembles", ensemble_verdicts(inside), tables=tables)


def _maps(scores: Scores, no_maps: str) -> ReportSection:
    title = "Where the networks look"
    if no_maps:
        return ReportSection("maps", title, (no_maps,))
    try:
        data, caption = draw_maps(scores, reference_cell(scores))
    except ImportError as error:
        return ReportSection("maps", title, (f"Not drawn: {error.name} is not installed.",))
    except WeightsGoneError as error:
        return ReportSection("maps", title, (f"Not drawn: {error.reason}.",))
    except StudyError:
        return ReportSection(
            "maps", title, ("Not drawn: the checkpoints, the data or the cache are not there any more.",)
        )
    return ReportSection("maps", title, (), [Picture("activation-maps.png", data, caption)])


def _make_folders(folder: Path) -> None:
    """Make the folders first, so that a folder that cannot be written fails before minutes of work."""
    try:
        for name in ("figures", "tables"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: the report cannot be written: {error}") from error


def _write(folder: Path, title: str, notice: str, sections: Sequence[ReportSection]) -> Path:
    figures, tables = folder / "figures", folder / "tables"
    for section in sections:
        for picture in section.pictures:
            (figures / picture.file).write_bytes(picture.data)
        for table in section.tables:
            table.write_csv(tables)
    (folder / "report.md").write_text(_markdown(title, notice, sections), encoding="utf-8")
    page = folder / "report.html"
    page.write_text(page_html(title, notice, sections), encoding="utf-8")
    return page


def _markdown(title: str, notice: str, sections: Sequence[ReportSection]) -> str:
    parts = [f"# {title}\n", f"{notice}\n"]
    for section in sections:
        parts.append(f"## {section.title}\n")
        if section.sentences:
            parts.append("\n".join(f"- {sentence}" for sentence in section.sentences) + "\n")
        parts += [f"![{p.caption}](figures/{p.file})\n\n*{p.caption}*\n" for p in section.pictures]
        parts += [table.markdown() for table in section.tables]
    return "\n".join(parts)
