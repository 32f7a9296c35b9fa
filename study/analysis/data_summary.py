"""The first part of a report: its title, films, runs, settings and limits."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from xraytransfer.study.analysis.cells import Scores
from xraytransfer.study.analysis.results_folder import judged_by
from xraytransfer.study.analysis.table import Column, Row, Table, number_text, printed, span
from xraytransfer.study.data.datasets import data_set_name
from xraytransfer.study.data.missing_films import left_out_line
from xraytransfer.study.phantoms.dataset import FOLDER

__all__ = ["data_section_tables", "headline", "is_demo", "is_synthetic", "limits", "settings_table"]

DATA_NAMES = {"nih": "NIH ChestX-ray14", "chexpert": "CheXpert"}


def is_synthetic(scores: Scores) -> bool:
    """Return whether the films are phantoms."""
    return Path(str(scores.results.config("data", "folder") or "")).name == FOLDER


def is_demo(scores: Scores) -> bool:
    """Return whether the networks are the demo's, which were pretrained on drawn shapes."""
    return all(cell.row.get("group") == "demo" for cell in scores.cells)


def headline(scores: Scores) -> tuple[str, str]:
    """Return the report's title, and the notice below it, which ends with the films that were left out."""
    title, notice = _headline(scores)
    left_out = left_out_line(scores.results.config("data") or {})
    return title, f"{notice} {left_out[0].upper()}{left_out[1:]}." if left_out else notice


def _headline(scores: Scores) -> tuple[str, str]:
    name = data_set_name(scores.results.config("data") or {}) or "films"
    if is_synthetic(scores):
        return (
            "ImageNet models on drawn chest phantoms",
            "SYNTHETIC: these films are procedural drawings, and in the demo the networks were pretrained on drawn "
            "shapes, not on ImageNet. This shows what a study looks like; its numbers say nothing about patients.",
        )
    return (
        f"ImageNet models on chest films: {DATA_NAMES.get(name, name)}",
        "For research, not a medical device. Labels were read from reports by programs unless the data set says "
        "otherwise; AUROC against such labels is not accuracy against disease.",
    )


def limits(scores: Scores) -> tuple[str, ...]:
    """Return sentences on how far conclusions from these runs can go."""
    results = scores.results
    test = results.test
    positives = {str(n): int((test.label[:, k] == 1).sum()) for k, n in enumerate(test.observations)}
    fewest = min(positives, key=lambda name: positives[name])
    cells, runs = len(scores.cells), len(results.runs)
    seeds = {len(cell.runs) for cell in scores.cells}
    whole = {cell.architecture for cell in scores.whole()}
    trained = {cell.architecture for cell in scores.cells}
    by_examination = judged_by(results.runs[0].config) == "examination"
    unit = "examinations, each by the greatest probability of its films," if by_examination else "films"
    sentences = [
        f"{runs} runs in {cells} cells of {len(trained)} architectures; seeds per cell: {span(seeds)}. The runs "
        "of a cell differ in their seed alone: one architecture, one initialisation, one number of stages removed.",
        f"Judged on {len(test.image)} {unit} of {len(np.unique(test.patient))} patients; fewest positives: "
        f"{fewest.replace('_', ' ')}, {positives[fewest]}.",
    ]
    absent = [str(n) for k, n in enumerate(test.observations) if np.isnan(scores.cells[0].value[k])]
    if absent:
        sentences.append(
            f"AUROC is not defined for {', '.join(absent)}: a class is absent among the test films. Not in the mean."
        )
    if seeds == {1}:
        sentences.append("One seed per cell: differences between cells include the chance of training, unmeasured.")
    if len({frozenset(str(run.config.get("seed")) for run in cell.runs) for cell in scores.cells}) > 1:
        sentences.append(
            "Not all cells have the same seeds. Runs of one seed see the films in the same order with the same "
            "changes, so a seed can move all networks alike: a difference between cells of different seeds holds that "
            "too."
        )
    sentences += _precision_limits(scores)
    if len(whole) < 16:
        sentences.append(
            f"{len(whole)} architectures where the paper had 16: correlations over models have little power."
        )
    if results.left_out:
        sentences.append(f"{len(results.left_out)} runs in the folder are not compared; the table below says why.")
    return tuple(sentences)


def _families_by_precision(scores: Scores) -> dict[str, list[str]]:
    """Return the families that were trained in each precision, both in alphabetical order."""
    families: dict[str, set[str]] = {}
    for cell in scores.cells:
        for run in cell.runs:
            families.setdefault(run.precision, set()).add(cell.family)
    return {precision: sorted(families[precision]) for precision in sorted(families)}


def _precision_limits(scores: Scores) -> list[str]:
    """Return sentences on runs that were trained in different precisions, which `auto` chose for each machine."""
    by_precision = _families_by_precision(scores)
    if len(by_precision) == 1:
        return []
    listed = "; ".join(f"{precision}: {', '.join(families)}" for precision, families in by_precision.items())
    sentences = [
        f"Not all runs were trained in the same precision ({listed}): a difference between networks holds that too. "
        "--set precision=float32 trains all alike."
    ]
    mixed = [cell.label for cell in scores.cells if len({run.precision for run in cell.runs}) > 1]
    if mixed:
        sentences.append(
            "Runs that should differ in their seed alone differ in precision, too, because they were trained on "
            f"different machines: {'; '.join(mixed)}."
        )
    return sentences


def data_section_tables(scores: Scores) -> list[Table]:
    """Return the table of splits and positives, and that of runs left out where there are any."""
    results = scores.results
    test = results.test
    split = results.config("split") or {}
    rows: list[Row] = []
    for name in ("train", "validation", "test"):
        counts = split.get(name, {})
        row: Row = {"split": name, "films": counts.get("images"), "patients": counts.get("patients")}
        if name == "test":
            row |= {f"positive_{n}": int((test.label[:, k] == 1).sum()) for k, n in enumerate(test.observations)}
            row |= {"masked": int(np.isnan(test.label).sum())}
        rows.append(row)
    columns = [
        Column("Split by patient", "split", "words"),
        Column("Films", "films"),
        Column("Patients", "patients"),
        *(Column(printed(n), f"positive_{n}") for n in results.observations),
        Column("Masked labels", "masked"),
    ]
    refused = sum((results.config("data", "refused") or {}).values())
    note = (
        f"Positive films of each observation among the test films. {refused} films could not be read and are left out."
    )
    tables = [Table("data", "Films", columns, rows, note)]
    if results.left_out:
        listed: list[Row] = [{"run": run, "reason": reason} for run, reason in results.left_out]
        left = (Column("Run", "run", "words"), Column("Why it is not compared", "reason", "words"))
        tables.append(Table("left_out", "Runs not compared", left, listed))
    return tables


def settings_table(scores: Scores) -> Table:
    """Return the settings that all runs share, and what the runs took."""
    config = scores.results.runs[0].config
    rows: list[Row] = []
    for key in ("resolution", "intensity", "label_policy", "writer"):
        value = config.get(key)
        shown = " x ".join(str(n) for n in value) if isinstance(value, list) else value
        rows.append({"setting": key, "value": shown})
    rows += [{"setting": f"preset.{key}", "value": value} for key, value in (config.get("preset") or {}).items()]
    if teacher := config.get("teacher"):
        names = ", ".join(row["name"] for row in teacher["runs"])
        rows += [{"setting": "teachers", "value": names}, {"setting": "teachers' share", "value": teacher["share"]}]
    if corrected := (config.get("data") or {}).get("corrected"):
        rows += [
            {"setting": f"labels corrected by {corrected['data']}", "value": f"{corrected['films_corrected']} films"},
            *([{"setting": "these labels are of", "value": text}] if (text := corrected.get("attribution")) else []),
        ]
    if half := config.get("half"):
        rows.append({"setting": "half of the training patients", "value": half})
    split = config.get("split") or {}
    rows += [
        {"setting": f"split.{key}", "value": split.get(key)}
        for key in ("method", "salt", "evaluation_minimum_width", "sha256")
    ]
    done = [run.done for run in scores.results.runs]
    hours = sum(float(one.get("seconds_this_process") or 0) for one in done) / 3600
    devices = ", ".join(sorted({str(one.get("device") or "?") for one in done}))
    rows += [
        {"setting": "hours of all runs together, each since it was last resumed", "value": number_text(hours, 2)},
        {"setting": "devices", "value": devices},
        {"setting": "precision of training", "value": ", ".join(_families_by_precision(scores))},
        {"setting": "torch", "value": ", ".join(sorted({str(one.get("torch") or "?") for one in done}))},
    ]
    columns = (Column("Setting", "setting", "words"), Column("Value", "value", "words"))
    return Table("settings", "Settings that all runs share", columns, rows)
