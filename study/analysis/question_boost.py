"""Question 2, what ImageNet pretraining adds, and to which networks.

The boost of an architecture is its macro AUROC pretrained minus random, on the same resampled patients.
"""

from __future__ import annotations

import numpy as np

from xraytransfer.study.analysis.cells import Cell, Scored
from xraytransfer.study.analysis.published import read_published
from xraytransfer.study.analysis.question_accuracy import relation
from xraytransfer.study.analysis.table import (
    Answer,
    Column,
    Table,
    interval_row,
    number,
    p_text,
    sentence_number,
    show_interval,
    show_p,
    text,
)
from xraytransfer.study.stats.bootstrap import paired_interval
from xraytransfer.study.stats.correlation import holm, spearman_test
from xraytransfer.study.stats.delong import delong_test

__all__ = ["QUESTION", "answer_boost", "pairs"]

MINUS = "\N{MINUS SIGN}"

QUESTION = "What does ImageNet pretraining add?"


def pairs(scored: Scored) -> list[tuple[Cell, Cell]]:
    """Return the whole networks that were run both ways: pretrained, random."""
    found = []
    for cell in scored.whole("pretrained"):
        other = scored.find(cell.architecture, "random")
        if other is not None:
            found.append((cell, other))
    return found


def answer_boost(scored: Scored) -> Answer:
    """Return what the runs say about question 2.

    Parameters
    ----------
    scored : Scored
        From `score_results`.

    Returns
    -------
    Answer
        Tables ``boost`` (one row per architecture, and their mean), ``boost_by_observation`` and ``delong``.
    """
    both = pairs(scored)
    if not both:
        sentence = (
            "Cannot be answered from these runs: no architecture was trained both pretrained and from random weights."
        )
        return Answer("boost", QUESTION, (sentence,))
    differences = [one.minus(two) for one, two in both]
    corrected = holm([d.p for d in differences])
    rows: list[dict[str, object]] = [
        {
            "architecture": one.architecture,
            "family": one.family,
            "parameters": one.parameters,
            "pretrained": one.macro.value,
            "random": two.macro.value,
            **interval_row(difference),
            "p": difference.p,
            "p_holm": float(p),
        }
        for (one, two), difference, p in zip(both, differences, corrected, strict=True)
    ]
    mean = paired_interval(
        float(np.mean([d.value for d in differences])),
        np.mean([one.macro_drawn for one, _ in both], axis=0),
        np.mean([two.macro_drawn for _, two in both], axis=0),
    )
    rows.append({"architecture": "mean", "family": "", **interval_row(mean), "p": mean.p})
    better = sum(d.value > 0 for d in differences)
    shown = sum(d.value > 0 and p < 0.05 for d, p in zip(differences, corrected, strict=True))
    p_mean = f"p = {p_text(mean.p)}".replace("= <", "< ")
    interval = f"{sentence_number(mean.lower, signed=True)} to {sentence_number(mean.upper, signed=True)}"
    verdicts = [
        f"Mean boost {sentence_number(mean.value, signed=True)} AUROC "
        f"(95 % {interval}, {p_mean}) over "
        f"{len(both)} architecture{'s' if len(both) != 1 else ''}; pretrained is better in {better}, "
        f"significantly (Holm) in {shown}.",
        "Against size: "
        + relation(
            by_size := spearman_test(
                [float(one.parameters) for one, _ in both], [d.value for d in differences], scored.generator(20)
            ),
            by_size.p,
            "the number of parameters",
            "the boost",
        ),
        "Published: "
        + "; ".join(f"{p.quantity} {p.value:+g} ({p.who})".replace("-", MINUS) for p in read_published("boost"))
        + ".",
    ]
    tables = (_table(rows), _by_observation(scored, both), _delong(scored, both))
    return Answer("boost", QUESTION, tuple(verdicts), tables)


def _table(rows: list[dict[str, object]]) -> Table:
    columns = (
        Column("Architecture", text("architecture"), right=False),
        Column("Family", text("family"), right=False),
        Column("Parameters, M", number("parameters", 2, times=1e-6)),
        Column("Pretrained", number("pretrained")),
        Column("Random", number("random")),
        Column("Boost (95 %)", show_interval(signed=True)),
        Column("p", show_p("p")),
        Column("p, Holm", show_p("p_holm")),
    )
    return Table("boost", "Pretrained minus random, macro AUROC", columns, rows, "Paired bootstrap by patient.")


def _by_observation(scored: Scored, both: list[tuple[Cell, Cell]]) -> Table:
    rows = []
    for k, name in enumerate(scored.results.observations):
        value = float(np.mean([one.value[k] - two.value[k] for one, two in both]))
        difference = paired_interval(
            value,
            np.mean([one.drawn[:, k] for one, _ in both], axis=0),
            np.mean([two.drawn[:, k] for _, two in both], axis=0),
        )
        rows.append({"observation": name, **interval_row(difference), "p": difference.p})
    corrected = holm([float(row["p"]) for row in rows])  # type: ignore[arg-type]
    for row, p in zip(rows, corrected, strict=True):
        row["p_holm"] = float(p)
    columns = (
        Column("Observation", text("observation"), right=False),
        Column("Mean boost (95 %)", show_interval(signed=True)),
        Column("p", show_p("p")),
        Column("p, Holm", show_p("p_holm")),
    )
    return Table("boost_by_observation", "The boost by observation, mean over architectures", columns, rows)


def _delong(scored: Scored, both: list[tuple[Cell, Cell]]) -> Table:
    """Return DeLong's test of every architecture and observation, first seeds, as a check of the bootstrap."""
    rows: list[dict[str, object]] = []
    for one, two in both:
        first, second = one.runs[0].test, two.runs[0].test
        for k, name in enumerate(scored.results.observations):
            test = delong_test(
                first.label[:, k], first.probability[:, 0, k], second.probability[:, 0, k], first.patient
            )
            rows.append(
                {
                    "architecture": one.architecture,
                    "observation": name,
                    "value": test.difference,
                    "lower": test.lower,
                    "upper": test.upper,
                    "z": test.z,
                    "p": test.p,
                }
            )
    for row, p in zip(rows, holm([float(row["p"]) for row in rows]), strict=True):  # type: ignore[arg-type]
        row["p_holm"] = float(p)
    columns = (
        Column("Architecture", text("architecture"), right=False),
        Column("Observation", text("observation"), right=False),
        Column("Pretrained minus random (95 %)", show_interval(signed=True)),
        Column("z", number("z", 2)),
        Column("p", show_p("p")),
        Column("p, Holm", show_p("p_holm")),
    )
    note = "First seed of each. Covariance summed within patients (Obuchowski), since films of one patient are alike."
    return Table("delong", "DeLong's test by observation", columns, rows, note)
