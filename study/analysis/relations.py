"""Relations over models: rank correlations and slopes, each kind corrected for all tests of its kind.

Conventions
-----------
The correlations are accuracy against AUROC with and without pretraining, and size against the boost; the slopes are
those of AUROC on size within families with and without pretraining. Holm's method corrects the p values of all
correlations of a report together, and those of both slopes. The patients' noise enters by the replicates.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from xraytransfer.study.analysis.cells import INITIALISATIONS, Cell, Scores
from xraytransfer.study.analysis.table import Row, interval_text, number_text, p_sentence
from xraytransfer.study.stats import Floats
from xraytransfer.study.stats.correlation import Correlation, correlate, detectable_rho, holm, patients_variance
from xraytransfer.study.stats.slope import Slope, size_slope

__all__ = [
    "Relation", "SizeEffect", "correlations", "pairs", "patient_replicates", "relation_row",
    "relation_sentence", "size_effects", "with_accuracy",
]  # fmt: skip


@dataclass(frozen=True)
class Relation:
    """A correlation of the report.

    Attributes
    ----------
    correlation : Correlation
        With its own interval and p.
    p_holm : float
        p, corrected for all correlations of the report.
    tests : int
        How many these are.
    detectable : float
        The smallest true absolute rho seen with a power of 80 % after this correction; NaN if none is.
    """

    correlation: Correlation
    p_holm: float
    tests: int
    detectable: float

    @property
    def shown(self) -> bool:
        """Whether it is significant after the correction."""
        return self.p_holm < 0.05


@dataclass(frozen=True)
class SizeEffect:
    """The slope on size within families of one initialisation, and its corrected p."""

    slope: Slope
    p_holm: float


def with_accuracy(scores: Scores, initialisation: str) -> list[Cell]:
    """Return the whole networks of one initialisation whose ImageNet accuracy and AUROC are known."""
    cells = scores.whole(initialisation)
    return [c for c in cells if c.row.get("imagenet_top1") is not None and not math.isnan(c.macro.value)]


def pairs(scores: Scores) -> list[tuple[Cell, Cell]]:
    """Return the whole networks that were run both ways: pretrained, random."""
    both = ((cell, scores.find(cell.architecture, "random")) for cell in scores.whole("pretrained"))
    return [(cell, other) for cell, other in both if other is not None]


@lru_cache(maxsize=4)
def correlations(scores: Scores) -> dict[str, Relation]:
    """Return the correlations of accuracy, by ``pretrained`` and ``random``, and of the ``boost`` with size."""
    sides = {}
    for initialisation in INITIALISATIONS:
        cells = with_accuracy(scores, initialisation)
        top1 = np.array([float(cell.row["imagenet_top1"]) for cell in cells])
        sides[initialisation] = cells, top1, _values(cells), patient_replicates(cells)
    both = [(one, two) for one, two in pairs(scores) if not math.isnan(one.macro.value) and one.parameters > 0]
    firsts, seconds = [one for one, _ in both], [two for _, two in both]
    size = np.array([float(one.parameters) for one in firsts])
    boosts = patient_replicates(firsts) - patient_replicates(seconds)
    sides["boost"] = firsts, size, _values(firsts) - _values(seconds), boosts
    found = {
        name: correlate(x, y, [cell.family for cell in cells], drawn) for name, (cells, x, y, drawn) in sides.items()
    }
    corrected = holm([one.p for one in found.values()])
    tests = max(1, int(np.sum(~np.isnan(corrected))))
    relations = {}
    for index, (name, (cells, x, _, drawn)) in enumerate(sides.items()):
        families = [cell.family for cell in cells]
        variance = patients_variance(x, drawn)
        least = detectable_rho(x, families, scores.generator(10 + index), tests=tests, variance=variance)
        relations[name] = Relation(found[name], float(corrected[index]), tests, least)
    return relations


@lru_cache(maxsize=4)
def size_effects(scores: Scores) -> dict[str, SizeEffect]:
    """Return the slope on size of each initialisation that has whole networks."""
    slopes = {}
    for initialisation in INITIALISATIONS:
        cells = [c for c in scores.whole(initialisation) if c.parameters > 0 and not math.isnan(c.macro.value)]
        if cells:
            families = [cell.family for cell in cells]
            size = [cell.parameters for cell in cells]
            slopes[initialisation] = size_slope(_values(cells), size, families, patient_replicates(cells))
    corrected = holm([slope.p for slope in slopes.values()])
    return {name: SizeEffect(slope, float(p)) for (name, slope), p in zip(slopes.items(), corrected, strict=True)}


def relation_sentence(one: Relation, x: str, y: str) -> str:
    """Return a sentence on a correlation that claims no more than the models and their families allow.

    Parameters
    ----------
    one : Relation
        From `correlations`.
    x, y : str
        Names of the two quantities.
    """
    found = one.correlation
    models = f"{found.n} architecture{'s' if found.n != 1 else ''}"
    if math.isnan(found.rho):
        return f"cannot be answered from these runs: {models} with both numbers; at least 3 that differ are needed."
    few = f"{found.n} models of {found.families} famil{'ies' if found.families != 1 else 'y'}"
    rho = f"rho = {number_text(found.rho, 2)}"
    if math.isnan(found.p):
        return (
            f"cannot be answered from these runs: {rho}; {few} are worth {found.effective:.1f} independent ones, if "
            "those of a family are alike, and an interval needs more than 3."
        )
    rho += f" (95 % {interval_text(found.lower, found.upper, 2)}), {p_sentence(one.p_holm)} (Holm over {one.tests})"
    if one.shown:
        return f"{y} {'rises' if found.rho > 0 else 'falls'} with {x}: {rho}, {few}."
    if math.isnan(one.detectable):
        return f"cannot be answered from these runs: {rho}; with {few} not even the strongest relationship is seen."
    return (
        f"no relationship of {x} and {y} is shown: {rho}. With {few} a true |rho| had to be at least "
        f"{one.detectable:.2f} to be seen with a power of 80 %, so this does not show that there is none."
    )


def relation_row(one: Relation) -> Row:
    """Return a correlation as keys of a row."""
    found = one.correlation
    return {
        "n": found.n,
        "families": found.families,
        "effective": found.effective,
        "value": found.rho,
        "lower": found.lower,
        "upper": found.upper,
        "p": found.p,
        "p_holm": one.p_holm,
        "rho_of_means": found.rho_of_means,
        "patients_value": found.rho,
        "patients_lower": found.patients[0],
        "patients_upper": found.patients[1],
        "detectable_rho": one.detectable,
    }


def _values(cells: Sequence[Cell]) -> Floats:
    return np.array([cell.macro.value for cell in cells])


def patient_replicates(cells: Sequence[Cell]) -> Floats:
    """Return macro AUROC in each replicate of the patients: float64, shape (replicates, cells).

    The chance of training is each network's own, and so already in the scatter of the networks.
    """
    return np.array([cell.patient_replicates for cell in cells]).T if cells else np.empty((0, 0))
