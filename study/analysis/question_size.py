"""Question 3: whether size matters within a family, and more than the family does."""

from __future__ import annotations

import math

import numpy as np

from xraytransfer.study.analysis.cells import INITIALISATIONS, Cell, Scores
from xraytransfer.study.analysis.published import read_published
from xraytransfer.study.analysis.question_accuracy import relation
from xraytransfer.study.analysis.table import (
    Column,
    QuestionAnswer,
    Row,
    Table,
    add_holm,
    difference_row,
    p_sentence,
)
from xraytransfer.study.stats.correlation import spearman_test
from xraytransfer.study.stats.variance import VarianceSplit, variance_split

__all__ = ["QUESTION", "answer_size", "families"]

QUESTION = "Do larger models read better, and does size matter more than family?"


def families(cells: list[Cell]) -> dict[str, list[Cell]]:
    """Return the cells of each family, smallest first."""
    members: dict[str, list[Cell]] = {}
    for cell in sorted(cells, key=lambda one: one.parameters):
        members.setdefault(cell.family, []).append(cell)
    return members


def answer_size(scores: Scores) -> QuestionAnswer:
    """Return what the runs say about question 3.

    The tables are ``size`` (one row per family and initialisation) and ``variance``.
    """
    rows: list[Row] = []
    splits: list[Row] = []
    verdicts: list[str] = []
    for index, initialisation in enumerate(INITIALISATIONS):
        cells = scores.whole(initialisation)
        kind = initialisation.capitalize()
        if not cells:
            verdicts.append(f"{kind}: cannot be answered, no such run.")
            continue
        rows += [_family_row(members, initialisation) for members in families(cells).values()]
        one = spearman_test(
            [float(cell.parameters) for cell in cells],
            [cell.macro.value for cell in cells],
            scores.generator(30 + index),
        )
        verdicts.append(f"{kind}, size: " + relation(one, one.p, "the number of parameters", "AUROC"))
        split = _split(cells, scores.generator(40 + index))
        splits.append(_split_row(split, initialisation))
        verdicts.append(f"{kind}, family against size: " + _sentence(split))
    add_holm(rows)
    verdicts.append(
        "Published, without pretraining: "
        + "; ".join(f"{p.quantity} {p.value:.3f} ({p.who})" for p in read_published("size"))
        + ". The paper's abstract says that family matters more than size within a family."
    )
    return QuestionAnswer("size", QUESTION, tuple(verdicts), (_family_table(rows), _variance_table(splits)))


def _split(cells: list[Cell], generator: np.random.Generator) -> VarianceSplit:
    """Return the split of the variance of all runs of these cells."""
    runs = [(cell, value) for cell in cells for value in cell.by_seed if not math.isnan(value)]
    return variance_split(
        [value for _, value in runs],
        [cell.family for cell, _ in runs],
        [cell.architecture for cell, _ in runs],
        generator,
    )


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


def _split_row(split: VarianceSplit, initialisation: str) -> Row:
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
    }


def _sentence(split: VarianceSplit) -> str:
    """Return a sentence that claims no more than the split shows."""
    if math.isnan(split.family):
        return (
            f"cannot be told: {split.families} famil{'ies' if split.families != 1 else 'y'} with {split.architectures} "
            "architectures; at least two families, one of them with two sizes, are needed."
        )
    seeds = (
        f", SD of a seed {split.seed:.4f}"
        if not math.isnan(split.seed)
        else "; with one seed each, size and chance cannot be told apart"
    )
    parts = f"SD between families {split.family:.4f}, of sizes within a family {split.size:.4f}{seeds}"
    if math.isnan(split.share):
        return f"neither family nor size explains more than chance between seeds ({parts})."
    interval = f"95 % {100 * split.lower:.0f} to {100 * split.upper:.0f} %"
    share = f"family holds {100 * split.share:.0f} % of their variance ({interval})"
    if split.lower > 0.5 and split.p < 0.05:
        return f"family matters more: {share}; {parts}; {p_sentence(split.p)}."
    if split.upper < 0.5:
        return f"size matters more: {share}; {parts}."
    return f"undecided with {split.families} families: {share}; {parts}; {p_sentence(split.p)}."


def _family_table(rows: list[Row]) -> Table:
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
    return Table("size", "Size within each family", columns, rows, "Paired bootstrap by patient.")


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
    )
    note = (
        "Nested random effects. Share of family: of the variance of family and size together, seeds left out; "
        "generalised interval, p by dealing architectures anew to families."
    )
    return Table("variance", "The spread of macro AUROC, split", columns, rows, note)
