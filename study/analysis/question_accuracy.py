"""Question 1, whether better ImageNet models read chest films better.

Spearman's rho of ImageNet top-1 and macro AUROC over architectures, with and without pretraining, Holm
corrected for the two. Truncated networks do not take part.
"""

from __future__ import annotations

import math

from xraytransfer.study.analysis.cells import Cell, Scored
from xraytransfer.study.analysis.published import read_published
from xraytransfer.study.analysis.table import (
    Answer,
    Column,
    Row,
    Table,
    interval_row,
    number,
    p_text,
    sentence_number,
    show_interval,
    show_p,
    text,
)
from xraytransfer.study.stats.correlation import Correlation, holm, spearman_test

__all__ = ["QUESTION", "accuracy_name", "answer_accuracy", "relation", "with_accuracy"]

QUESTION = "Do better ImageNet models read chest films better?"


def accuracy_name(scored: Scored) -> str:
    """Return what the column of accuracies holds: ImageNet's, or in the demo that on drawn shapes."""
    demo = all(cell.row.get("group") == "demo" for cell in scored.cells)
    return "accuracy on drawn shapes" if demo else "ImageNet top-1 accuracy"


def with_accuracy(scored: Scored, initialisation: str) -> list[Cell]:
    """Return the whole networks of one initialisation whose ImageNet accuracy is known."""
    return [cell for cell in scored.whole(initialisation) if cell.row.get("imagenet_top1") is not None]


def answer_accuracy(scored: Scored) -> Answer:
    """Return what the runs say about question 1.

    Parameters
    ----------
    scored : Scored
        From `score_results`.

    Returns
    -------
    Answer
        Tables ``accuracy`` (one row per initialisation) and ``architectures`` (one per whole network).
    """
    found: dict[str, Correlation] = {}
    for index, initialisation in enumerate(("pretrained", "random")):
        cells = with_accuracy(scored, initialisation)
        top1 = [float(cell.row["imagenet_top1"]) for cell in cells]
        auroc = [cell.macro.value for cell in cells]
        found[initialisation] = spearman_test(top1, auroc, scored.generator(10 + index))
    corrected = holm([found[name].p for name in found])
    verdicts, rows = [], []
    for (initialisation, one), p_holm in zip(found.items(), corrected, strict=True):
        verdicts.append(
            f"{initialisation.capitalize()}: " + relation(one, float(p_holm), accuracy_name(scored), "AUROC")
        )
        rows.append(
            {
                "whose": "these runs",
                "initialisation": initialisation,
                "n": one.n,
                "value": one.rho,
                "lower": one.lower,
                "upper": one.upper,
                "p": one.p,
                "p_holm": float(p_holm),
                "detectable_rho": one.detectable,
                "source": "",
            }
        )
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
    return Answer("accuracy", QUESTION, tuple(verdicts), (_correlations(rows), _architectures(scored)))


def relation(one: Correlation, p: float, x: str, y: str) -> str:
    """Return a sentence on a correlation that says no more than the number of models allows.

    Parameters
    ----------
    one : Correlation
        From `spearman_test`.
    p : float
        Corrected p.
    x, y : str
        What is correlated.
    """
    if math.isnan(one.rho):
        return (
            f"cannot be answered from these runs: {one.n} architecture{'s' if one.n != 1 else ''} with both numbers; "
            "at least 3 that differ are needed, and the paper had 16."
        )
    rho = f"rho = {sentence_number(one.rho, 2)}"
    if not math.isnan(one.lower):
        rho += f" (95 % {sentence_number(one.lower, 2)} to {sentence_number(one.upper, 2)})"
    rho += f", p = {p_text(p)}, n = {one.n}"
    rho = rho.replace("p = <", "p < ")
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


def _rho(row: Row) -> str:
    """Show a published rho with the digits it was published with."""
    return show_interval(digits=2)(row) if row["whose"] == "these runs" else f"{row['value']}"


def _correlations(rows: list[dict[str, object]]) -> Table:
    columns = (
        Column("", text("whose"), right=False),
        Column("Weights", text("initialisation"), right=False),
        Column("Models", text("n")),
        Column("Spearman rho (95 %)", _rho),
        Column("p", show_p("p")),
        Column("p, Holm", show_p("p_holm")),
        Column("|rho| seen with power .8", number("detectable_rho", 2)),
        Column("Source", text("source"), right=False),
    )
    note = (
        "p by permutation. The interval treats architectures as independent; those of one family are not, so the "
        "true uncertainty is larger."
    )
    return Table("accuracy", "Accuracy before fine-tuning against macro AUROC", columns, rows, note)


def _architectures(scored: Scored) -> Table:
    rows = [
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
        for cell in scored.cells
        if cell.truncation == 0
    ]
    columns = (
        Column("Architecture", text("architecture"), right=False),
        Column("Family", text("family"), right=False),
        Column("Weights", text("initialisation"), right=False),
        Column(f"{accuracy_name(scored)}, %", number("imagenet_top1", 1)),
        Column("Parameters, M", number("parameters", 2, times=1e-6)),
        Column("Seeds", text("seeds")),
        Column("Macro AUROC (95 %)", show_interval()),
        Column("SD over seeds", number("seed_sd", 4)),
    )
    note = (
        "Mean of the kept checkpoints' probabilities, on the test patients. Intervals: bootstrap by patient; with "
        "several seeds, of patients and seeds."
    )
    return Table("architectures", "Every whole network", columns, rows, note)
