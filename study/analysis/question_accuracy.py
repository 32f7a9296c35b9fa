"""Question 1: whether better ImageNet models read chest films better.

The answer is Spearman's rho of ImageNet top-1 accuracy and macro AUROC over architectures, with and without
pretraining, corrected for the two by Holm's method. Truncated networks do not take part.
"""

from __future__ import annotations

import math

from xraytransfer.study.analysis.cells import INITIALISATIONS, Cell, Scores
from xraytransfer.study.analysis.published import read_published
from xraytransfer.study.analysis.table import (
    Column,
    QuestionAnswer,
    Row,
    Table,
    add_holm,
    interval_row,
    interval_text,
    number_text,
    p_sentence,
)
from xraytransfer.study.stats.correlation import Correlation, spearman_test

__all__ = ["QUESTION", "accuracy_name", "answer_accuracy", "relation", "with_accuracy"]

QUESTION = "Do better ImageNet models read chest films better?"


def accuracy_name(scores: Scores) -> str:
    """Return what the column of accuracies holds: ImageNet's, or in the demo the accuracy on drawn shapes."""
    demo = all(cell.row.get("group") == "demo" for cell in scores.cells)
    return "accuracy on drawn shapes" if demo else "ImageNet top-1 accuracy"


def with_accuracy(scores: Scores, initialisation: str) -> list[Cell]:
    """Return the whole networks of one initialisation whose ImageNet accuracy is known."""
    return [cell for cell in scores.whole(initialisation) if cell.row.get("imagenet_top1") is not None]


def answer_accuracy(scores: Scores) -> QuestionAnswer:
    """Return what the runs say about question 1.

    The tables are ``accuracy`` (one row per initialisation) and ``architectures`` (one per whole network).
    """
    correlations = [_correlation(scores, initialisation) for initialisation in INITIALISATIONS]
    rows = [_row(one, kind) for one, kind in zip(correlations, INITIALISATIONS, strict=True)]
    add_holm(rows)
    name = accuracy_name(scores)
    verdicts = [
        f"{row['initialisation'].capitalize()}: " + relation(one, row["p_holm"], name, "AUROC")
        for one, row in zip(correlations, rows, strict=True)
    ]
    rows += [
        {
            "whose": p.who,
            "initialisation": "random" if "without" in p.quantity else "pretrained",
            "value": p.value,
            "source": p.source + (f"; {p.note}" if p.note else ""),
        }
        for p in read_published("accuracy")
    ]
    verdicts.append(
        "Published: the authors' thread gives rho = 0.06 with and 0.08 without pretraining; The Batch gives 0.082 "
        "with and 0.059 without. The two reports disagree on which is which, and both find no relationship."
    )
    return QuestionAnswer("accuracy", QUESTION, tuple(verdicts), (_table(rows), _architectures(scores)))


def relation(one: Correlation, p: float, x: str, y: str) -> str:
    """Return a sentence on a correlation that claims no more than the number of models allows.

    Parameters
    ----------
    one : Correlation
        From `spearman_test`.
    p : float
        Corrected p.
    x, y : str
        Names of the two quantities.
    """
    if math.isnan(one.rho):
        return (
            f"cannot be answered from these runs: {one.n} architecture{'s' if one.n != 1 else ''} with both numbers; "
            "at least 3 that differ are needed, and the paper had 16."
        )
    rho = f"rho = {number_text(one.rho, 2)}"
    if not math.isnan(one.lower):
        rho += f" (95 % {interval_text(one.lower, one.upper, 2)})"
    rho += f", {p_sentence(p)}, n = {one.n}"
    if p < 0.05:
        kind = "rises" if one.rho > 0 else "falls"
        return f"{y} {kind} with {x}: {rho}."
    if 2 / math.factorial(one.n) >= 0.05:
        return (
            f"cannot be answered from these runs: {rho}; with {one.n} models not even a perfect order would be "
            "significant."
        )
    return (
        f"no relationship of {x} and {y} is shown: {rho}. With {one.n} models a true |rho| had to be at least "
        f"{one.detectable:.2f} to be seen with a power of 80 %, so this does not show that there is none."
    )


def _correlation(scores: Scores, initialisation: str) -> Correlation:
    """Return the correlation of accuracy and macro AUROC over the whole networks of one initialisation."""
    cells = with_accuracy(scores, initialisation)
    top1 = [float(cell.row["imagenet_top1"]) for cell in cells]
    generator = scores.generator(10 + INITIALISATIONS.index(initialisation))
    return spearman_test(top1, [cell.macro.value for cell in cells], generator)


def _row(one: Correlation, initialisation: str) -> Row:
    return {
        "whose": "these runs",
        "initialisation": initialisation,
        "n": one.n,
        "value": one.rho,
        "lower": one.lower,
        "upper": one.upper,
        "p": one.p,
        "p_holm": one.p,  # until it is corrected; here for the order of the columns
        "detectable_rho": one.detectable,
        "source": "",
    }


def _show_rho(row: Row) -> str:
    """Show our rho with its interval, a published rho with the digits that it was published with."""
    ours = row["whose"] == "these runs"
    return Column("", "", "interval", digits=2).show(row) if ours else f"{row['value']}"


def _table(rows: list[Row]) -> Table:
    columns = (
        Column("", "whose", "words"),
        "initialisation",
        Column("Models", "n"),
        Column("Spearman rho (95 %)", "value", _show_rho),
        "p",
        "p_holm",
        Column("|rho| seen with power .8", "detectable_rho", "number", 2),
        Column("Source", "source", "words"),
    )
    note = (
        "p by permutation. The interval treats architectures as independent; those of one family are not, so the "
        "true uncertainty is larger."
    )
    return Table("accuracy", "Accuracy before fine-tuning against macro AUROC", columns, rows, note)


def _architectures(scores: Scores) -> Table:
    rows: list[Row] = [
        {
            "architecture": cell.architecture,
            "family": cell.family,
            "initialisation": cell.initialisation,
            "timm": cell.row.get("timm"),
            "imagenet_top1": cell.row.get("imagenet_top1"),
            "parameters": cell.parameters,
            "seeds": len(cell.runs),
            **interval_row(cell.macro),
            "seed_sd": cell.seed_sd,
            "checkpoints": cell.runs[0].checkpoints,
        }
        for cell in scores.whole()
    ]
    columns = (
        "architecture",
        "family",
        "initialisation",
        Column(f"{accuracy_name(scores)}, %", "imagenet_top1", "number", 1),
        "parameters",
        "seeds",
        Column("Macro AUROC (95 %)", "", "interval"),
        Column("SD over seeds", "seed_sd", "number", 4),
    )
    note = (
        "Mean of the kept checkpoints' probabilities, on the test patients. Intervals: bootstrap by patient; with "
        "several seeds, of patients and seeds."
    )
    return Table("architectures", "Every whole network", columns, rows, note)
