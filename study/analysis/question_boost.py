"""Question 2: what ImageNet pretraining adds, and to which networks.

The boost of an architecture is its macro AUROC pretrained minus random, on the same resampled patients.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xraytransfer.study.analysis.cells import Cell, Scores
from xraytransfer.study.analysis.published import read_published
from xraytransfer.study.analysis.question_accuracy import relation
from xraytransfer.study.analysis.table import (
    Column,
    QuestionAnswer,
    Row,
    Table,
    add_holm,
    difference_row,
    interval_text,
    number_text,
    p_sentence,
)
from xraytransfer.study.stats.bootstrap import Interval, paired_interval
from xraytransfer.study.stats.correlation import spearman_test
from xraytransfer.study.stats.delong import delong_test

__all__ = ["QUESTION", "answer_boost", "pairs"]

QUESTION = "What does ImageNet pretraining add?"

Pair = tuple[Cell, Cell]
"""One architecture pretrained, and random."""


def pairs(scores: Scores) -> list[Pair]:
    """Return the whole networks that were run both ways: pretrained, random."""
    both = ((cell, scores.find(cell.architecture, "random")) for cell in scores.whole("pretrained"))
    return [(cell, other) for cell, other in both if other is not None]


def answer_boost(scores: Scores) -> QuestionAnswer:
    """Return what the runs say about question 2.

    The tables are ``boost`` (one row per architecture, and their mean), ``boost_by_observation`` and ``delong``.
    """
    both = pairs(scores)
    if not both:
        sentence = (
            "Cannot be answered from these runs: no whole architecture, without truncation, was trained "
            "both pretrained and from random weights."
        )
        return QuestionAnswer("boost", QUESTION, (sentence,))
    differences = [one.minus(two) for one, two in both]
    rows = [_row(pair, difference) for pair, difference in zip(both, differences, strict=True)]
    add_holm(rows)
    mean = paired_interval(
        float(np.mean([d.value for d in differences])),
        np.mean([one.macro_replicates for one, _ in both], axis=0),
        np.mean([two.macro_replicates for _, two in both], axis=0),
    )
    by_size = spearman_test(
        [float(one.parameters) for one, _ in both], [d.value for d in differences], scores.generator(20)
    )
    verdicts = (
        _mean_verdict(rows, mean),
        "Against size: " + relation(by_size, by_size.p, "the number of parameters", "the boost"),
        "Published: "
        + "; ".join(
            f"{p.quantity} {p.value:+g} ({p.who})".replace("-", "\N{MINUS SIGN}") for p in read_published("boost")
        )
        + ".",
    )
    rows.append({"architecture": "mean", "family": "", **difference_row(mean)})
    return QuestionAnswer(
        "boost", QUESTION, verdicts, (_table(rows), _by_observation(scores, both), _delong(scores, both))
    )


def _row(pair: Pair, difference: Interval) -> Row:
    one, two = pair
    return {
        "architecture": one.architecture,
        "family": one.family,
        "parameters": one.parameters,
        "pretrained": one.macro.value,
        "random": two.macro.value,
        **difference_row(difference),
    }


def _mean_verdict(rows: Sequence[Row], mean: Interval) -> str:
    better = sum(row["value"] > 0 for row in rows)
    significant = sum(row["value"] > 0 and row["p_holm"] < 0.05 for row in rows)
    return (
        f"Mean boost {number_text(mean.value, signed=True)} AUROC "
        f"(95 % {interval_text(mean.lower, mean.upper, signed=True)}, {p_sentence(mean.p)}) over "
        f"{len(rows)} architecture{'s' if len(rows) != 1 else ''}; pretrained is better in {better}, "
        f"significantly (Holm) in {significant}."
    )


def _table(rows: list[Row]) -> Table:
    columns = (
        "architecture",
        "family",
        "parameters",
        Column("Pretrained", "pretrained", "number"),
        Column("Random", "random", "number"),
        Column("Boost (95 %)", "", "interval", signed=True),
        "p",
        "p_holm",
    )
    return Table("boost", "Pretrained minus random, macro AUROC", columns, rows, "Paired bootstrap by patient.")


def _by_observation(scores: Scores, both: list[Pair]) -> Table:
    rows: list[Row] = []
    for k, name in enumerate(scores.results.observations):
        difference = paired_interval(
            float(np.mean([one.value[k] - two.value[k] for one, two in both])),
            np.mean([one.replicates[:, k] for one, _ in both], axis=0),
            np.mean([two.replicates[:, k] for _, two in both], axis=0),
        )
        rows.append({"observation": name, **difference_row(difference)})
    add_holm(rows)
    columns = ("observation", Column("Mean boost (95 %)", "", "interval", signed=True), "p", "p_holm")
    return Table("boost_by_observation", "The boost by observation, mean over architectures", columns, rows)


def _delong(scores: Scores, both: list[Pair]) -> Table:
    """Return DeLong's test of every architecture and observation, first seeds, as a check of the bootstrap."""
    rows: list[Row] = []
    for one, two in both:
        first, second = one.runs[0].test, two.runs[0].test
        for k, name in enumerate(scores.results.observations):
            test = delong_test(first.label[:, k], first.ensemble[:, k], second.ensemble[:, k], first.patient)
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
    add_holm(rows)
    columns = (
        "architecture",
        "observation",
        Column("Pretrained minus random (95 %)", "", "interval", signed=True),
        Column("z", "z", "number", 2),
        "p",
        "p_holm",
    )
    note = "First seed of each. Covariance summed within patients (Obuchowski), since films of one patient are alike."
    return Table("delong", "DeLong's test by observation", columns, rows, note)
