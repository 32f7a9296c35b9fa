"""The sections of the report: the paper's claims, the four questions, the smallest network, and the appendix."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from xraytransfer.errors import StudyError
from xraytransfer.study.analysis.cells import Cell, Scores
from xraytransfer.study.analysis.claims import claims_table, summary_sentences
from xraytransfer.study.analysis.cost import Cost
from xraytransfer.study.analysis.data_summary import (
    data_section_tables,
    is_demo,
    is_synthetic,
    limits,
    settings_table,
)
from xraytransfer.study.analysis.ensembles import across_table, checkpoint_table, ensemble_verdicts
from xraytransfer.study.analysis.external_comparisons import comparison_tables
from xraytransfer.study.analysis.external_tables import external_cells, external_run_table, external_tables, run_table
from xraytransfer.study.analysis.external_tests import ExternalTest, external_sentences, read_external_tests
from xraytransfer.study.analysis.paper_differences import differences_table
from xraytransfer.study.analysis.question_accuracy import accuracy_name, answer_accuracy
from xraytransfer.study.analysis.question_boost import answer_boost, boost_by_observation
from xraytransfer.study.analysis.question_size import answer_size
from xraytransfer.study.analysis.question_truncation import answer_truncation
from xraytransfer.study.analysis.short_answers import short_answers
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
from xraytransfer.study.report.page import Picture, ReportSection
from xraytransfer.study.report.smallest_figures import smallest_external_figure, smallest_figure
from xraytransfer.study.training.kept_weights import WeightsGoneError

__all__ = ["report_sections"]


def report_sections(
    scores: Scores, costs: dict[tuple[str, int], Cost], *, no_maps: str, workers: int, margin: float
) -> list[ReportSection]:
    """Return the sections in their order on the page.

    Parameters
    ----------
    scores : Scores
        The cells of the runs.
    costs : dict
        From `measure_costs` or `read_costs`.
    no_maps : str
        Why no activation maps are drawn; empty if they are.
    workers : int
        Threads.
    margin : float
        AUROC that a smaller network may lose and still count as not worse.
    """
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
        *_boost_by_observation(scores),
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


def _boost_by_observation(scores: Scores) -> list[ReportSection]:
    """Return the section on the boost of each observation, if any network was trained both ways."""
    tables = boost_by_observation(scores)
    return [ReportSection("boost-by-observation", "Pretraining by observation", (), tables=tables)] if tables else []


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
    "What follows is no part of the four questions: pretraining by observation, observations and views, calibration, "
    "ways of combining checkpoints and runs, activation maps, and every run and cell by itself."
)

BARS = "bars are 95 % intervals over patients and, if any network has several seeds, over trainings"

DEMO = (
    "**What is true of these drawn films.** Pretraining helps: the training patients are few, and a network that has "
    "seen drawn shapes brings filters for edges, bands and discs, of which the drawn signs are made.",
    "Cutting hurts: the miniature networks have no stage to spare. Their last stages see the whole chest, which a wide "
    "heart or fluid at both bases needs.",
    "On accuracy, size and family there is no such knowledge, and six networks of four families are too few to find "
    "out. That it cannot be told is then the right answer, and a report has to give it.",
)
"""What a reader of the demo should find, and why."""

METHODS = (
    "A cell is an architecture, an initialisation and a number of stages removed. Its prediction is the mean of the "
    "kept checkpoints' probabilities, chosen on the validation patients; its AUROC is the mean over its seeds.",
    "Macro AUROC is the plain mean over the observations that have positives and negatives among the test films.",
    "Intervals are percentiles of a bootstrap by patient. All cells share the draws, so differences are paired. The "
    "chance of training is pooled over the cells of an initialisation that have several seeds (over all cells, where "
    "these are few) and added to every cell; where no cell has two seeds, an interval says nothing about training "
    "again.",
    "Rank correlations are Spearman's. Interval and p are of one method, Fisher's z with the number of independent "
    "models that these are worth if those of a family are alike. The power is that of this test, by simulation.",
    "Size is tested within families: a slope on log parameters, each family with its own level. Over all models it "
    "would be claimed in one of five studies in which only families differ.",
    "p values of a table are corrected by Holm where a column says so: made larger, so that the probability of any "
    "wrong claim among them is at most 5 %. Not significant never means equal.",
    "Published numbers are printed only where they were read at the source named beside them.",
)


def _summary(scores: Scores, answers: Sequence[QuestionAnswer], margin: float) -> list[ReportSection]:
    """Return the answer on one page: the claims, then each question in short."""
    answered = short_answers(scores, answers, margin)
    short = ReportSection("summary", "In short", [*answered, *(DEMO if is_demo(scores) else ())])
    if is_synthetic(scores):
        return [short]
    claims = claims_table(scores, margin)
    tables = [claims, differences_table(scores)]
    return [
        ReportSection("claims", "The paper's claims, and these runs", summary_sentences(claims), tables=tables),
        short,
    ]


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
    tables = [*comparison_tables(scores, tests, workers), *external_tables(scores, tests, workers)]
    return [ReportSection("external", title, external_sentences(tests), tables=tables)]


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
