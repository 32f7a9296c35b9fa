"""Question 2: what ImageNet pretraining adds, and to which networks.

The boost of an architecture is its macro AUROC pretrained minus random, on the same resampled patients.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xraytransfer.study.analysis.cells import Cell, Scores
from xraytransfer.study.analysis.published import read_published
from xraytransfer.study.analysis.relations import correlations, pairs, patient_replicates, relation_sentence
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
    paired_note,
)
from xraytransfer.study.stats.bootstrap import Interval, paired_interval
from xraytransfer.study.stats.delong import delong_test
from xraytransfer.study.stats.slope import mean_over_families

__all__ = ["QUESTION", "answer_boost", "boost_by_observation"]

QUESTION = "What does ImageNet pretraining add?"

Pair = tuple[Cell, Cell]
"""One architecture pretrained, and random."""


def answer_boost(scores: Scores) -> QuestionAnswer:
    """Return what the runs say about question 2.

    The table is ``boost``: one row per architecture, and their mean.
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
    others = mean_over_families(
        [d.value for d in differences],
        [one.family for one, _ in both],
        patient_replicates([one for one, _ in both]) - patient_replicates([two for _, two in both]),
    )
    verdicts = (
        _mean_verdict(rows, mean),
        _families_verdict(others, len({one.family for one, _ in both})),
        "Against size: " + relation_sentence(correlations(scores)["boost"], "the number of parameters", "the boost"),
        "Published: "
        + "; ".join(
            f"{p.quantity} {p.value:+g} ({p.who})".replace("-", "\N{MINUS SIGN}") for p in read_published("boost")
        )
        + ".",
    )
    rows.append({"architecture": "mean", "family": "", **difference_row(mean)})
    return QuestionAnswer("boost", QUESTION, verdicts, (_table(rows, len(scores.weights)),))


def boost_by_observation(scores: Scores) -> list[Table]:
    """Return the boost by observation: its mean, and DeLong's test of each architecture; empty without a pair."""
    both = pairs(scores)
    return [_by_observation(scores, both), _delong(scores, both)] if both else []


def _row(pair: Pair, difference: Interval) -> Row:
    one, two = pair
    return {
        "architecture": one.architecture,
        "family": one.family,
        "parameters": one.parameters,
        "seeds": f"{one.seeds} / {two.seeds}",
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
        f"{_these(len(rows))}, and no others; pretrained is better in {better}, "
        f"significantly (Holm) in {significant}."
    )


def _these(count: int) -> str:
    return f"these {count} architectures" if count != 1 else "this architecture"


def _families_verdict(others: tuple[float, float, float, float], families: int) -> str:
    """Return the sentence on other architectures: families are the sample."""
    mean, lower, upper, p = others
    if np.isnan(lower):
        return f"For other architectures nothing can be said: families: {families}, at least 3 are needed."
    return (
        f"For architectures of other families: {number_text(mean, signed=True)} "
        f"(95 % {interval_text(lower, upper, signed=True)}, {p_sentence(p)}), from the means of {families} families."
    )


def _table(rows: list[Row], replicates: int) -> Table:
    columns = (
        "architecture",
        "family",
        "parameters",
        Column("Seeds, both", "seeds"),
        Column("Pretrained", "pretrained", "number"),
        Column("Random", "random", "number"),
        Column("Boost (95 %)", "", "interval", signed=True),
        "p",
        "p_holm",
    )
    return Table("boost", "Pretrained minus random, macro AUROC", columns, rows, paired_note(len(rows) - 1, replicates))


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
