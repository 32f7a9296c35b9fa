"""The report of a study: one HTML file with its figures inside, Markdown, a CSV file for each table.

Everything is a function of the files in the results folder. Numbers are rounded in HTML and Markdown and
whole in the CSV files. What the runs cannot answer is said in the place of the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from xraytransfer.errors import OutputError, StudyError
from xraytransfer.plural import counted
from xraytransfer.study.analysis.cells import Scored, score_results
from xraytransfer.study.analysis.cost import Cost, measure_costs, read_costs
from xraytransfer.study.analysis.data_summary import data_section_tables, headline, limits, settings_table
from xraytransfer.study.analysis.ensembles import across_table, checkpoint_table, ensemble_verdicts
from xraytransfer.study.analysis.external_tests import (
    external_run_table,
    external_sentences,
    external_tables,
    read_external_tests,
    run_table,
)
from xraytransfer.study.analysis.question_accuracy import accuracy_name, answer_accuracy
from xraytransfer.study.analysis.question_boost import answer_boost
from xraytransfer.study.analysis.question_size import answer_size
from xraytransfer.study.analysis.question_truncation import answer_truncation
from xraytransfer.study.analysis.results_folder import read_results
from xraytransfer.study.analysis.subgroups import (
    observation_table,
    published_table,
    reference_cell,
    reference_table,
    subset_table,
)
from xraytransfer.study.analysis.table import Answer
from xraytransfer.study.report.page import Picture, Section, page_html
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
    say: Callable[[str], None] | None = None,
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
        Of the bootstrap.
    workers : int
        Threads.
    measure : bool
        Measure the latency of networks that have none stored, and draw activation maps; both need torch.
    films : bool
        Whether the report may show films, under activation maps; not where it is published and they may not be.
    say : callable, optional
        Takes a line on what is being done.

    Returns
    -------
    Path
        ``report.html``.

    Raises
    ------
    StudyError
        There is no finished run.
    OutputError
        The report cannot be written.
    """
    tell = say or (lambda line: None)
    read = read_results(results)
    folder = out or results / "report"
    _make(folder)
    tell(f"{counted(len(read.runs), 'run')}, {len(read.test.image)} test films, {replicates} bootstrap replicates")
    scored = score_results(read, replicates=replicates, seed=seed, workers=workers)
    tell("latency and activation maps" if measure else "tables and figures")
    costs = _costs(scored, measure)
    no_maps = "Not drawn: asked for tables only." if not measure else "" if films else WITHOUT_FILMS
    sections = _sections(scored, costs, no_maps, workers)
    title, notice = headline(scored)
    try:
        return _write(folder, title, notice, sections)
    except OSError as error:
        raise OutputError(f"{folder}: the report cannot be written: {error}") from error


def _costs(scored: Scored, measure: bool) -> dict[tuple[str, int], Cost]:
    """Return costs: measured where that is wanted and torch is there."""
    if not measure:
        return read_costs(scored.results)
    try:
        return measure_costs(scored.results)
    except ImportError:
        return read_costs(scored.results)


def _sections(scored: Scored, costs: dict[tuple[str, int], Cost], no_maps: str, workers: int) -> list[Section]:
    from xraytransfer.study.report import figures
    from xraytransfer.study.report.figure_parts import svg

    def drawn(name: str, figure: object, caption: str) -> list[Picture]:
        return [Picture(f"{name}.svg", svg(figure).encode(), caption)] if figure is not None else []  # type: ignore[arg-type]

    cell = reference_cell(scored)
    answers = (
        (answer_accuracy(scored), figures.accuracy_figure(scored), f"{accuracy_name(scored)} against macro AUROC"),
        (answer_boost(scored), figures.boost_figure(scored), "Pretraining boost against parameters"),
        (answer_size(scored), figures.size_figure(scored), "Parameters against macro AUROC; lines join a family"),
        (
            answer_truncation(scored, costs),
            figures.truncation_figure(scored),
            "AUROC lost by removing final stages, against their number and against the parameters left",
        ),
    )
    ci = "bars are 95 % bootstrap intervals by patient"
    sections = [_summary([answer for answer, _, _ in answers])]
    sections += [Section("data", "Films and runs", limits(scored), tables=data_section_tables(scored))]
    sections += [
        Section(a.slug, a.question, a.verdicts, drawn(a.slug, figure, f"{caption}; {ci}."), a.tables)
        for a, figure, caption in answers
    ]
    published = published_table(scored)
    external = read_external_tests(scored.results)
    run_tables = [run_table(scored, external), *(external_run_table(scored, test) for test in external)]
    if external:
        tables = external_tables(scored, external, workers)
        sections.append(
            Section("external", "On other films, and by other labels", external_sentences(external), tables=tables)
        )
    sections += [
        Section(
            "observations",
            "By observation and view",
            (),
            drawn("observations", figures.observations_figure(scored, cell), f"AUROC of {cell.label}; {ci}."),
            [reference_table(scored), *([published] if published else [])],
        ),
        Section(
            "calibration",
            "Calibration",
            ("Probabilities as trained, before any calibration; the export calibrates on the validation patients.",),
            drawn(
                "calibration",
                figures.calibration_figure(scored, cell),
                f"Reliability of {cell.label}: ten bins of equally many films; bars are Wilson's 95 % intervals.",
            ),
        ),
        _ensembles(scored, workers),
        _maps(scored, no_maps),
        Section(
            "curves",
            "Training",
            (),
            drawn("curves", figures.curves_figure(scored), "Macro AUROC on the validation patients while training."),
        ),
        Section("runs", "Every run", (), tables=run_tables, folded=True),
        Section(
            "cells", "Every cell", (), tables=[subset_table(scored), observation_table(scored), settings_table(scored)],
            folded=True,
        ),
        Section("methods", "Methods", METHODS),
    ]  # fmt: skip
    return sections


WITHOUT_FILMS = "Not drawn: this report was asked to show no films."

METHODS = (
    "A cell is an architecture, an initialisation and a number of stages removed. Its prediction is the mean of the "
    "kept checkpoints' probabilities, chosen on the validation patients; its AUROC is the mean over its seeds.",
    "Macro AUROC is the plain mean over the observations that have positives and negatives among the test films.",
    "Intervals are percentiles of a bootstrap by patient. All cells share the draws, so differences are paired. With "
    "several seeds, seeds are drawn too; with one, an interval says nothing about training again.",
    "Rank correlations are Spearman's, p by permutation, intervals by Fisher's z with Bonett and Wright's variance. "
    "Beside each stands the smallest |rho| that so many models would show with a power of 80 %.",
    "p values of a table are corrected by Holm where a column says so. Not significant never means equal.",
    "Published numbers are printed only where they were read at the source named beside them.",
)


def _summary(answers: Sequence[Answer]) -> Section:
    sentences = []
    for answer in answers:
        about = [verdict for verdict in answer.verdicts if verdict.startswith("Pretrained")] or answer.verdicts[:1]
        sentences += [f"{answer.question} {' '.join(about)}"]
    return Section("summary", "In short", sentences)


def _ensembles(scored: Scored, workers: int) -> Section:
    inside, across = checkpoint_table(scored, workers), across_table(scored)
    tables = [table for table in (inside, across) if table is not None and table.rows]
    return Section("ensembles", "Ensembles", ensemble_verdicts(inside), tables=tables)


def _maps(scored: Scored, no_maps: str) -> Section:
    title = "Where the networks look"
    if no_maps:
        return Section("maps", title, (no_maps,))
    try:
        from xraytransfer.study.report.activation_maps import draw_maps

        data, caption = draw_maps(scored, reference_cell(scored))
    except ImportError as error:
        return Section("maps", title, (f"Not drawn: {error.name} is not installed.",))
    except WeightsGoneError as error:
        return Section("maps", title, (f"Not drawn: {error.reason}.",))
    except StudyError:
        return Section("maps", title, ("Not drawn: the checkpoints, the data or the cache are not there any more.",))
    return Section("maps", title, (), [Picture("activation-maps.png", data, caption)])


def _make(folder: Path) -> None:
    """Make the folders, before minutes of work that could not be written."""
    try:
        for name in ("figures", "tables"):
            (folder / name).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{folder}: the report cannot be written: {error}") from error


def _write(folder: Path, title: str, notice: str, sections: Sequence[Section]) -> Path:
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


def _markdown(title: str, notice: str, sections: Sequence[Section]) -> str:
    parts = [f"# {title}\n", f"{notice}\n"]
    for section in sections:
        parts.append(f"## {section.title}\n")
        if section.sentences:
            parts.append("\n".join(f"- {sentence}" for sentence in section.sentences) + "\n")
        parts += [f"![{p.caption}](figures/{p.file})\n\n*{p.caption}*\n" for p in section.pictures]
        parts += [table.markdown() for table in section.tables]
    return "\n".join(parts)
