"""Question 3: whether size matters within a family, and more than the family does.

The sentence on size is the slope within families alone. Over all models size and family cannot be told apart,
because families are also ordered by size.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from xraytransfer.study.analysis.cells import INITIALISATIONS, Cell, Scores
from xraytransfer.study.analysis.published import read_published
from xraytransfer.study.analysis.relations import SizeEffect, size_effects
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
from xraytransfer.study.stats.family_or_size import FamilyOrSize, family_or_size

__all__ = ["QUESTION", "answer_size", "families", "family_sizes"]

QUESTION = "Do larger models read better, and does size matter more than family?"


def families(cells: list[Cell]) -> dict[str, list[Cell]]:
    """Return the cells of each family, smallest first."""
    members: dict[str, list[Cell]] = {}
    for cell in sorted(cells, key=lambda one: one.parameters):
        members.setdefault(cell.family, []).append(cell)
    return members


def answer_size(scores: Scores) -> QuestionAnswer:
    """Return what the runs say about question 3.

    The tables are ``size`` (one row per family and initialisation), ``slope`` and ``variance``.
    """
    rows: list[Row] = []
    verdicts: list[str] = []
    effects, found = size_effects(scores), family_sizes(scores)
    for initialisation in INITIALISATIONS:
        kind = initialisation.capitalize()
        if initialisation not in effects:
            verdicts.append(f"{kind}: cannot be answered, no such run.")
            continue
        members = families(scores.whole(initialisation)).values()
        rows += [_family_row(cells, initialisation) for cells in members]
        verdicts.append(f"{kind}, size within families: " + _slope_sentence(effects[initialisation]))
        if initialisation in found:
            verdicts.append(f"{kind}, family against size: " + _sentence(found[initialisation]))
    add_holm(rows)
    verdicts.append(
        "Published, without pretraining: "
        + "; ".join(f"{p.quantity} {p.value:.3f} ({p.who})" for p in read_published("size"))
        + ". The paper's abstract says that family matters more than size within a family."
    )
    tables = (
        _family_table(rows, len(scores.weights)),
        _slope_table(effects),
        _variance_table([_split_row(one, kind) for kind, one in found.items()]),
    )
    return QuestionAnswer("size", QUESTION, tuple(verdicts), tables)


@lru_cache(maxsize=4)
def family_sizes(scores: Scores) -> dict[str, FamilyOrSize]:
    """Return for each initialisation with whole networks whether family or size matters more."""
    kinds = [kind for kind in INITIALISATIONS if scores.whole(kind)]
    return {kind: _split(scores, kind, len(kinds)) for kind in kinds}


def _split(scores: Scores, initialisation: str, tests: int) -> FamilyOrSize:
    """Return the verdict on the runs of these cells, with the patients' noise alone."""
    cells = [cell for cell in scores.whole(initialisation) if cell.parameters > 0 and not math.isnan(cell.macro.value)]
    runs = [(cell, value) for cell in cells for value in cell.by_seed]
    patients = [cell.patient_replicates for cell, _ in runs]
    return family_or_size(
        [value for _, value in runs],
        [cell.family for cell, _ in runs],
        [cell.architecture for cell, _ in runs],
        [cell.parameters for cell, _ in runs],
        scores.generator(40 + INITIALISATIONS.index(initialisation)),
        patients=np.array(patients).T if patients else None,
        tests=tests,
    )


def _slope_sentence(effect: SizeEffect) -> str:
    """Return the sentence on the slope within families."""
    one = effect.slope
    few = f"{one.models} models of {one.families} famil{'ies' if one.families != 1 else 'y'}"
    if math.isnan(one.p):
        return f"cannot be answered from these runs: {few}; models less families less one must be at least 1."
    number = (
        f"{number_text(one.value, 4, signed=True)} AUROC for each doubling of the parameters "
        f"(95 % {interval_text(one.lower, one.upper, 4, signed=True)}), {p_sentence(effect.p_holm)}, {few}"
    )
    if effect.p_holm < 0.05:
        return f"larger models of a family read {'better' if one.value > 0 else 'worse'}: {number}."
    return f"no effect is shown: {number}; the interval says how large it may still be."


def _family_row(members: list[Cell], initialisation: str) -> Row:
    values = [cell.macro.value for cell in members]
    row: Row = {
        "initialisation": initialisation,
        "family": members[0].family,
        "sizes": len(members),
        "mean": float(np.mean(values)),
        "range": float(np.ptp(values)) if len(members) > 1 else float("nan"),
        "smallest": members[0].architecture,
        "largest": members[-1].architecture,
        "p": float("nan"),
    }
    return row | difference_row(members[-1].minus(members[0])) if len(members) > 1 else row


def _split_row(one: FamilyOrSize, initialisation: str) -> Row:
    split = one.split
    return {
        "initialisation": initialisation,
        "families": split.families,
        "architectures": split.architectures,
        "runs": split.runs,
        "family_sd": split.family,
        "size_sd": split.size,
        "seed_sd": split.seed,
        "value": split.share,
        "lower": split.lower,
        "upper": split.upper,
        "p": split.p,
        "p_size": split.p_size,
        "adjusted_lower": one.adjusted_lower,
        "adjusted_p": one.adjusted_p,
        "verdict": one.verdict,
    }


def _sentence(one: FamilyOrSize) -> str:
    """Return a sentence that claims no more than the split shows."""
    split = one.split
    if one.verdict == "too few":
        return (
            f"cannot be told: {split.families} famil{'ies' if split.families != 1 else 'y'} with {split.architectures} "
            "architectures; at least two families, one of them with two sizes, are needed."
        )
    parts = f"SD between families {split.family:.4f}, of sizes within a family {split.size:.4f}"
    if one.verdict == "one seed":
        return (
            f"cannot be told: with one seed each, size and chance cannot be told apart, and an interval of the share "
            f"would be wrong ({parts}, chance included)."
        )
    parts += f", of a seed {split.seed:.4f}"
    if math.isnan(split.share):
        return f"neither family nor size explains more than chance between seeds ({parts})."
    share = f"family holds {100 * split.share:.0f} % of their variance"
    share += f" (95 % {100 * split.lower:.0f} to {100 * split.upper:.0f} %)"
    if one.verdict == "undecided":
        off = (
            ""
            if math.isnan(one.adjusted_p)
            else (
                f"; with any slope on size that the interval allows taken off, the share may be as low as "
                f"{100 * one.adjusted_lower:.0f} %, {p_sentence(one.adjusted_p)}"
            )
        )
        return f"undecided with {split.families} families: {share}; {parts}; {p_sentence(split.p)}{off}."
    also = ", also with the slope on size taken off" if one.verdict == "family" else ""
    p = split.p if one.verdict == "family" else split.p_size
    return f"{one.verdict} matters more{also}: {share}; {parts}; {p_sentence(p)}."


def _family_table(rows: list[Row], replicates: int) -> Table:
    columns = (
        "initialisation",
        "family",
        Column("Sizes", "sizes"),
        Column("Mean AUROC", "mean", "number"),
        Column("Range over sizes", "range", "number"),
        Column("Smallest", "smallest", "words"),
        Column("Largest", "largest", "words"),
        Column("Largest minus smallest (95 %)", "", "interval", signed=True),
        "p",
        "p_holm",
    )
    note = paired_note(sum(not math.isnan(row["p"]) for row in rows), replicates)
    return Table("size", "Size within each family", columns, rows, note)


def _slope_table(effects: dict[str, SizeEffect]) -> Table:
    rows: list[Row] = [
        {
            "initialisation": kind,
            "models": one.slope.models,
            "families": one.slope.families,
            "freedom": one.slope.freedom,
            "value": one.slope.value,
            "lower": one.slope.lower,
            "upper": one.slope.upper,
            "p": one.slope.p,
            "p_holm": one.p_holm,
        }
        for kind, one in effects.items()
    ]
    columns = (
        "initialisation",
        Column("Models", "models"),
        Column("Families", "families"),
        Column("Degrees of freedom", "freedom"),
        Column("AUROC for each doubling (95 %)", "", "interval", digits=4, signed=True),
        "p",
        "p_holm",
    )
    note = "Least squares on log parameters, each family with its own level; Student's t, patients' variance added."
    return Table("slope", "Size within families, all families together", columns, rows, note)


def _variance_table(rows: list[Row]) -> Table:
    columns = (
        "initialisation",
        Column("Families", "families"),
        Column("Architectures", "architectures"),
        Column("Runs", "runs"),
        Column("SD between families", "family_sd", "number", 4),
        Column("SD of size within family", "size_sd", "number", 4),
        Column("SD between seeds", "seed_sd", "number", 4),
        Column("Share of family (95 %)", "", "interval", digits=2),
        "p",
        Column("p, size taken off", "adjusted_p", "p"),
    )
    note = (
        "Nested random effects. Share of family: of the variance of family and size together, seeds left out; "
        "generalised interval, p by dealing architectures anew to families. The patients' noise is taken off. With one "
        "seed each there is no interval: chance would count as size."
    )
    return Table("variance", "The spread of macro AUROC, split", columns, rows, note)
