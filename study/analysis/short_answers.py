"""The answers in short: one or two sentences on each question, with the numbers that decide it.

What they leave out (power, corrections, the parts of the variance) stands in the section of the question.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from xraytransfer.plural import counted
from xraytransfer.study.analysis.cells import INITIALISATIONS, Scores
from xraytransfer.study.analysis.question_size import family_sizes
from xraytransfer.study.analysis.question_truncation import MARGIN, largest_cuts
from xraytransfer.study.analysis.relations import Relation, SizeEffect, correlations, size_effects
from xraytransfer.study.analysis.table import QuestionAnswer, Row, interval_text, number_text

__all__ = ["short_answers"]


def short_answers(scores: Scores, answers: Sequence[QuestionAnswer], margin: float = MARGIN) -> list[str]:
    """Return a paragraph on each question, which begins with the question in bold.

    Parameters
    ----------
    scores : Scores
        All cells.
    answers : sequence of QuestionAnswer
        The four questions, and how small a network can be.
    margin : float
        AUROC that a smaller network may lose and still count as not worse.
    """
    short = {"accuracy": _accuracy(scores), "size": _size(scores), "truncation": _truncation(scores, margin)}
    sentences = [
        short.get(answer.slug) or list(answer.verdicts[: 2 if answer.slug == "boost" else 1]) for answer in answers
    ]
    return [f"**{answer.question}** {' '.join(said)}" for answer, said in zip(answers, sentences, strict=True)]


def _accuracy(scores: Scores) -> list[str]:
    found = correlations(scores)
    return [f"{kind.capitalize()}: {_relation(found[kind])}." for kind in INITIALISATIONS]


def _relation(one: Relation) -> str:
    found = one.correlation
    if math.isnan(found.p):
        return "cannot be answered from these runs"
    rho = f"rho = {number_text(found.rho, 2)}, 95 % {interval_text(found.lower, found.upper, 2)}"
    if one.shown:
        return f"yes, AUROC {'rises' if found.rho > 0 else 'falls'} with accuracy ({rho})"
    return f"no relationship is shown, nor that there is none ({rho})"


FAMILY = {
    "family": "family matters more than size",
    "size": "size matters more than family",
    "undecided": "whether family or size matters more is undecided",
    "one seed": "whether family or size matters more cannot be told from one seed each",
    "too few": "whether family or size matters more cannot be told from so few families",
}
"""What each verdict of `family_or_size` says."""


def _size(scores: Scores) -> list[str]:
    families = family_sizes(scores)
    said = []
    for kind, effect in size_effects(scores).items():
        verdict = FAMILY[families[kind].verdict]
        if families[kind].verdict == "undecided" and math.isnan(families[kind].split.share):
            verdict = "neither family nor size explains more than chance"
        said.append(f"{kind.capitalize()}: {_slope(effect)}; {verdict}.")
    return said


def _slope(effect: SizeEffect) -> str:
    one = effect.slope
    if math.isnan(one.p):
        return "an effect of size within families cannot be told"
    number = (
        f"({number_text(one.value, 4, signed=True)} AUROC for each doubling, "
        f"95 % {interval_text(one.lower, one.upper, 4, signed=True)})"
    )
    if effect.p_holm < 0.05:
        return f"larger models of a family read {'better' if one.value > 0 else 'worse'} {number}"
    return f"no effect of size within families is shown {number}"


def _truncation(scores: Scores, margin: float) -> list[str]:
    largest = largest_cuts(scores, margin)
    kinds = [(kind, [row for row in largest if row["initialisation"] == kind]) for kind in INITIALISATIONS]
    return [f"{kind.capitalize()}: {_cut(rows, margin)}." for kind, rows in kinds if rows]


def _cut(rows: Sequence[Row], margin: float) -> str:
    networks = counted(len(rows), "architecture")
    if all(row["largest_harmless"] == 0 for row in rows):
        return f"the smallest cut tried already hurts, in {networks} of {len(rows)}"
    significant, within = (
        float(np.mean([row[key] for row in rows])) for key in ("times_smaller", "within_times_smaller")
    )
    return (
        f"the largest cuts not significantly worse make {networks} {significant:.2f} times smaller on average; "
        f"the largest shown to lose less than {margin:g} AUROC, {within:.2f} times"
    )
