"""Question 1: whether better ImageNet models read chest films better.

The answer is Spearman's rho of ImageNet top-1 accuracy and macro AUROC over architectures, with and without
pretraining, from `relations`. Truncated networks do not take part.
"""

from __future__ import annotations

from xraytransfer.study.analysis.cells import INITIALISATIONS, Scores
from xraytransfer.study.analysis.data_summary import is_demo
from xraytransfer.study.analysis.published import read_published
from xraytransfer.study.analysis.relations import correlations, relation_row, relation_sentence
from xraytransfer.study.analysis.table import Column, QuestionAnswer, Row, Table, interval_row

__all__ = ["QUESTION", "accuracy_name", "answer_accuracy"]

QUESTION = "Do better ImageNet models read chest films better?"


def accuracy_name(scores: Scores) -> str:
    """Return what the column of accuracies holds: ImageNet's, or in the demo the accuracy on drawn shapes."""
    return "accuracy on drawn shapes" if is_demo(scores) else "ImageNet top-1 accuracy"


def answer_accuracy(scores: Scores) -> QuestionAnswer:
    """Return what the runs say about question 1.

    The tables are ``accuracy`` (one row per initialisation) and ``architectures`` (one per whole network).
    """
    found, name = correlations(scores), accuracy_name(scores)
    rows: list[Row] = [
        {"whose": "these runs", "initialisation": kind, **relation_row(found[kind]), "source": ""}
        for kind in INITIALISATIONS
    ]
    verdicts = [f"{kind.capitalize()}: " + relation_sentence(found[kind], name, "AUROC") for kind in INITIALISATIONS]
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


def _show_rho(row: Row) -> str:
    """Show our rho with its interval, a published rho with the digits that it was published with."""
    ours = row["whose"] == "these runs"
    return Column("", "", "interval", digits=2).show(row) if ours else f"{row['value']}"


def _table(rows: list[Row]) -> Table:
    columns = (
        Column("", "whose", "words"),
        "initialisation",
        Column("Models", "n"),
        Column("Worth", "effective", "number", 1),
        Column("Spearman rho (95 %)", "value", _show_rho),
        "p",
        "p_holm",
        Column("Rho of families' means", "rho_of_means", "number", 2),
        Column("Rho over other patients", "patients_", "interval", digits=2),
        Column("|rho| seen with power .8", "detectable_rho", "number", 2),
        Column("Source", "source", "words"),
    )
    note = (
        "Worth: how many independent models these are worth, if those of a family are as alike as they can be; "
        "interval, p and power rest on it. p, Holm: over this table and the boost against size. Rho over other "
        "patients: 95 % of the bootstrap's replicates, for these architectures."
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
            "seeds": cell.seeds,
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
        "Mean of the kept checkpoints' probabilities, on the test patients. Intervals: bootstrap by patient, with the "
        "chance of training that all cells with several seeds have together."
    )
    return Table("architectures", "Every whole network", columns, rows, note)
