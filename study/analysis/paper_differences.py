"""How these runs differ from the paper, read from their settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from xraytransfer.study.analysis.cells import Scores
from xraytransfer.study.analysis.results_folder import judged_by
from xraytransfer.study.analysis.table import Column, Row, Table
from xraytransfer.study.data.datasets import data_set_name

__all__ = ["differences_table"]


def differences_table(scores: Scores) -> Table:
    """Return one row for each respect in which the runs differ from the paper, or the paper is not known."""
    config = scores.results.runs[0].config
    rows: list[Row] = []
    for what, paper, ours in RESPECTS:
        here = ours(config, scores)
        if here and here != paper:
            rows.append({"what": what, "paper": paper, "here": here})
    columns = (Column("What", "what", "words"), Column("Paper", "paper", "words"), Column("Here", "here", "words"))
    note = (
        "Paper: the defaults of its lab's code (stanfordmlgroup/MoCo-CXR), its abstract and reviews of it. "
        "mnasnet_100 is another network than NASNet-A-Mobile, which timm lacks."
    )
    return Table("differences", "Differences from the paper", columns, rows, note)


Ours = Callable[[Mapping[str, Any], Scores], str]


def _preset(key: str) -> Ours:
    return lambda config, scores: str((config.get("preset") or {}).get(key, ""))


def _data(config: Mapping[str, Any], scores: Scores) -> str:
    name = data_set_name(config.get("data") or {})
    return {"chexpert": "CheXpert", "nih": "NIH ChestX-ray14"}.get(name, name)


def _architectures(config: Mapping[str, Any], scores: Scores) -> str:
    cells = scores.whole() or list(scores.cells)
    study = {c.architecture for c in cells if c.row.get("group") == "study"}
    others = {c.architecture for c in cells} - study
    return f"{len(study)}" + (f" of these, and {len(others)} others" if others else "")


def _mnasnet(config: Mapping[str, Any], scores: Scores) -> str:
    return "mnasnet_100" if any(c.architecture == "mnasnet_100" for c in scores.cells) else ""


def _labels(config: Mapping[str, Any], scores: Scores) -> str:
    if (config.get("data") or {}).get("name") == "nih":
        return "none in these labels"
    policy = config.get("label_policy")
    return {"u_ignore": "ignored", "u_zeros": "counted as absent", "u_ones": "counted as present"}.get(
        str(policy), str(policy)
    )


def _level(config: Mapping[str, Any], scores: Scores) -> str:
    if judged_by(config) == "examination":
        return "examination, maximum over views"
    return "film" if scores.results.test.several_films else "one film an examination"


def _aspect(config: Mapping[str, Any], scores: Scores) -> str:
    shape = (config.get("preset") or {}).get("placement", "stretch")
    return "shorter side resized, crop" if shape == "crop" else "stretched to a square"


def _normalisation(config: Mapping[str, Any], scores: Scores) -> str:
    if not scores.whole("random"):
        return ""
    chosen = (config.get("preset") or {}).get("random_normalisation", "imagenet")
    return "CheXpert's mean and deviation" if chosen == "chexpert" else "ImageNet's mean and deviation"


def _views(config: Mapping[str, Any], scores: Scores) -> str:
    return {"frontal": "frontal only", "all": "all"}.get(str((config.get("data") or {}).get("views")), "")


def _precision(config: Mapping[str, Any], scores: Scores) -> str:
    found = {run.precision for run in scores.results.runs} - {"not recorded"}
    return ", ".join(sorted(found)) or _preset("precision")(config, scores)


RESPECTS: tuple[tuple[str, str, Ours], ...] = (
    ("Films", "CheXpert", _data),
    ("Architectures", "16", _architectures),
    ("MNASNet", "Cadene's, in the lab's code NASNet-A-Mobile", _mnasnet),
    ("Side, pixels", "320", lambda config, scores: str((config.get("resolution") or [""])[0])),
    ("Aspect ratio", "shorter side resized, crop", _aspect),
    ("Uncertain labels", "ignored", _labels),
    ("Normalisation of random networks", "CheXpert's mean and deviation", _normalisation),
    ("Views", "all", _views),
    ("Judged by", "examination, maximum over views", _level),
    ("Checkpoints chosen by", "examination, maximum over views", lambda config, scores: "film"),
    ("Optimiser", "adam", _preset("optimizer")),
    ("Learning rate", "0.0001", _preset("learning_rate")),
    ("Schedule", "constant", _preset("schedule")),
    ("Batch", "16", _preset("batch")),
    ("Epochs", "3", _preset("epochs")),
    ("Precision", "float32", _precision),
    ("Augmentation, rotation in degrees", "0.0", _preset("rotation")),
    ("Checkpoints kept", "10", _preset("keep")),
    ("Bootstrap draws", "examinations", lambda config, scores: "patients"),
)
