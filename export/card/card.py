"""The model card: the description in a model file, as text and tables for people.

A card is a function of the file's description and of published numbers, so it can be made again from any file.

References
----------
Mitchell et al., Model Cards for Model Reporting, 2019. Garbin and Marques, Radiology: AI 2022 (for chest
radiographs). CLAIM checklist, Radiology: AI 2020.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xraytransfer.constants import INTENDED_USE, NOT_INTENDED_USE, RESEARCH_NOTICE
from xraytransfer.export.card.external import external_sections, whose_judgement
from xraytransfer.export.card.films import corrections_text, quality_gate_section, robustness_section
from xraytransfer.export.card.operating_points import operating_points_section
from xraytransfer.export.card.published_numbers import acknowledgement, published_section
from xraytransfer.export.card.section import Section
from xraytransfer.export.card.selection import selection_sections
from xraytransfer.model_summary import failed_checks

__all__ = ["markdown_card", "sections", "title"]

_INTENDED = (
    INTENDED_USE,
    NOT_INTENDED_USE,
    "The activation map says what moved the number. It is an explanation of the model, no finding, and it "
    "points at no lesion.",
)

_FEW = 10
"""Rows with fewer positive films than this are marked."""
_METRICS = {
    "auroc": "AUROC",
    "auprc": "AUPRC",
    "ece": "calibration error",
    "ece_uncalibrated": "the same, uncalibrated",
    "brier": "Brier score",
}

Row = Mapping[str, Any]


def markdown_card(document: Row) -> str:
    """Return the card as Markdown."""
    lines = [f"# {title(document)}", "", RESEARCH_NOTICE, ""]
    for paragraph in whose_judgement(document):
        lines += [paragraph, ""]
    for section in sections(document):
        lines += [f"## {section.title}", ""]
        for paragraph in section.paragraphs:
            lines += [paragraph, ""]
        if section.rows:
            table = [section.head, ["---"] * len(section.head), *section.rows]
            lines += [f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in table]
            lines.append("")
    return "\n".join(lines)


def sections(document: Row) -> list[Section]:
    """Return the card's sections; facts that the file lacks are called unknown, not left out."""
    return [
        Section("Intended use and limits", [*_INTENDED, *document.get("notes", [])]),
        _data(document),
        _members(document),
        *selection_sections(document),
        *external_sections(document),
        *_metrics(document),
        *published_section(document),
        quality_gate_section(document),
        robustness_section(document),
        _calibration(document),
        operating_points_section(document),
        _parity(document),
        _identity(document),
    ]


def title(document: Row) -> str:
    """Return the card's heading."""
    return f"Model card: {document['name']}, version {document['version']}"


def _data(document: Row) -> Section:
    training = document.get("training") or {}
    split = training.get("split") or {}
    rows = [
        [name, str(split[name].get("images")), str(split[name].get("patients"))]
        for name in ("train", "validation", "test")
        if isinstance(split.get(name), Mapping)
    ]
    preset = training.get("preset")
    text = [
        f"Films: {training.get('data', 'unknown')}. Uncertain and missing labels: policy "
        f"{training.get('label_policy', 'unknown')}. Initial weights: {training.get('initial_weights', 'unknown')}.",
        f"Patients were divided by {split.get('method', 'an unknown method')}; no patient is in two parts.",
        f"Input: grey levels after the intensity recipe {document['input']['intensity']}, stretched to "
        f"{document['input']['resolution'][0]} x {document['input']['resolution'][1]} "
        f"{'before it is given' if document['input'].get('size') == 'fixed' else 'inside the file'}.",
    ]
    if corrected := training.get("corrected_labels"):
        text.append(corrections_text(corrected))
    if isinstance(preset, Mapping):
        whose = "Training" if len(document["members"]) == 1 else "Training of the first member (others may differ)"
        text.append(f"{whose}: " + ", ".join(f"{key} {value}" for key, value in preset.items()) + ".")
    if thanks := acknowledgement(document):
        text.append(thanks)
    return Section("Data", text, ["part", "images", "patients"], rows)


def _members(document: Row) -> Section:
    ensemble = document.get("ensemble") or {}
    count = len(document["members"])
    text = [
        "One member; the answer is its calibrated probability."
        if count == 1
        else f"{count} members; the answer is the mean of their probabilities, calibrated."
    ]
    if ensemble.get("validation_auroc") is not None:
        text.append(f"Macro AUROC of the ensemble on the validation patients: {ensemble['validation_auroc']:.4f}.")
    if ensemble.get("checkpoints_validation_auroc") is not None:
        text.append(
            f"The same checkpoints as an ensemble, not averaged: {ensemble['checkpoints_validation_auroc']:.4f}."
        )
    head = ["architecture", "initialisation", "truncation", "px", "run", "checkpoints", "fusion", "validation AUROC"]
    rows = [
        [
            f"{row.get('architecture')} ({row.get('timm')})",
            str(row.get("initialisation")),
            str(row.get("truncation")),
            " x ".join(map(str, row.get("resolution") or document["input"]["resolution"])),
            str(row.get("run")) + _teachers(row),
            _checkpoints(row.get("checkpoint_steps", [])),
            str(row.get("fusion")),
            _number(row.get("validation_auroc")),
        ]
        for row in document["members"]
    ]
    return Section("Members", text, head, rows)


def _teachers(member: Row) -> str:
    names = ", ".join(str(teacher["name"]) for teacher in member.get("teachers", []))
    half = f" (half {member['half']} of the training patients)" if "half" in member else ""
    return half + (f" (taught by {names}, {member['teacher_share']:g} of the loss)" if names else "")


def _precision(document: Row) -> str:
    """Return the file's precision, and which members have another."""
    others = [
        f"member {i} {row['precision']}"
        for i, row in enumerate(document["members"])
        if row.get("precision") is not None
    ]
    return ", ".join([str(document["precision"]), *others])


def _checkpoints(steps: Sequence[int]) -> str:
    return f"step {steps[0]}" if len(steps) == 1 else str(len(steps))


def _metrics(document: Row) -> list[Section]:
    tables = []
    metrics: Sequence[Row] = document.get("metrics") or []
    for data in dict.fromkeys(str(row["data"]) for row in metrics):
        here = [row for row in metrics if row["data"] == data]
        for subset in dict.fromkeys(str(row["subset"]) for row in here):
            rows = [row for row in here if row["subset"] == subset]
            tables.append(_metric_table(document, f"Metrics: {data}, {subset}", rows))
    if not tables:
        return [Section("Metrics", ["None were measured for this file."])]
    tables[0].paragraphs.append(
        "Brackets: 95 % percentile intervals of bootstrap replicates drawn by patient. AUROC: chance is 0.5. AUPRC: "
        "chance is the share of positives. View position alone predicts some observations, so AP and PA are also given "
        f"apart. (few): fewer than {_FEW} films with the observation; neither number nor interval tells much then."
    )
    return tables


def _defined(rows: Sequence[Row]) -> int:
    """Return how many observations have an AUROC."""
    return sum(row["metric"] == "auroc" and row["observation"] != "macro" and row["value"] is not None for row in rows)


def _fitted_only(document: Row, calibration: Row) -> str:
    """Return which observations were fitted, where it was not all of them."""
    fitted = calibration.get("fitted") or []
    if all(fitted) or len(fitted) != len(document["observations"]):
        return ""
    names = [row["name"] for row, yes in zip(document["observations"], fitted, strict=True) if yes]
    return f", for {', '.join(names) or 'no observation'} alone; the others are as they were before"


def _metric_table(document: Row, heading: str, rows: Sequence[Row]) -> Section:
    """Return one line for each observation, one column for each metric."""
    metrics = list(dict.fromkeys(str(row["metric"]) for row in rows))
    lines = []
    for observation in dict.fromkeys(str(row["observation"]) for row in rows):
        values = {str(row["metric"]): row for row in rows if row["observation"] == observation}
        few = observation != "macro" and (next(iter(values.values())).get("positives") or 0) < _FEW
        cells = [
            _interval(values[metric]) + (" (few)" if few else "") if metric in values else "" for metric in metrics
        ]
        name = _name(document, observation)
        if observation == "macro" and 0 < (defined := _defined(rows)) < len(document["observations"]):
            name = f"Macro (mean of the {defined} that are defined)"
        lines.append([name, *cells, *_counts(next(iter(values.values())))])
    head = ["observation", *(_METRICS.get(metric, metric) for metric in metrics), "images", "positive", "patients"]
    return Section(heading, [], head, lines)


def _calibration(document: Row) -> Section:
    calibration = document.get("calibration") or {"method": "none"}
    text = [
        f"Method: {calibration['method']}; fitted on: {calibration.get('data', 'nothing')}"
        f"{_fitted_only(document, calibration)}. Formula: "
        f"{calibration.get('formula', 'none')}. The order of films, and so every AUROC, is as without it."
    ]
    errors = calibration.get("expected_calibration_error") or {}
    rows = [[method, _number(value)] for method, value in errors.items()]
    return Section("Calibration", text, ["method", "expected calibration error, patients left out"], rows)


def _parity(document: Row) -> Section:
    parity, accuracy = document.get("parity") or {}, document.get("accuracy") or {}
    text = []
    if parity:
        text.append(
            f"{parity.get('films')} films ({parity.get('real_films')} real): the file's probabilities differ from "
            f"the trained networks' by at most {_short(parity.get('max_abs_difference'))} "
            f"(allowed {_short(parity.get('tolerance'))}), on {parity.get('provider')}, torch {parity.get('torch')}, "
            f"ONNX Runtime {parity.get('onnxruntime')}."
        )
        text += [
            f"Beyond its bound: {row['what']} differs by {_short(row['difference'])} "
            f"(allowed {_short(row['allowed'])})."
            for row in parity.get("comparisons", ())
            if not row["difference"] <= row["allowed"]
        ]
    if accuracy:
        text.append(
            f"Precision {document['precision']} against float32 on the {accuracy['data']}: macro AUROC "
            f"{accuracy['macro_auroc_difference']:+.4f} [{accuracy['lower']:+.4f}, {accuracy['upper']:+.4f}], "
            f"{accuracy['margin']} may be lost."
        )
    text += [f"{problem[0].upper()}{problem[1:]}." for problem in failed_checks(document)]
    return Section("Parity and precision", text or ["Not measured."])


def _identity(document: Row) -> Section:
    rows = [
        ["sha256 of graph and weights", str(document["graph_sha256"])],
        ["precision", _precision(document)],
        ["written by", str(document["writer"])],
        ["written on", str(document.get("created", "unknown"))],
        ["licence", str(document["licence"])],
    ]
    rows += [[f"sha256 of member {i}'s weights", str(row.get("sha256"))] for i, row in enumerate(document["members"])]
    return Section("Identity and licence", [], ["what", "value"], rows)


def _name(document: Row, identifier: str) -> str:
    names = {row["identifier"]: row["name"] for row in document["observations"]}
    return str(names.get(identifier, "Macro (mean of the six)" if identifier == "macro" else identifier))


def _number(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.3f}"


def _short(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.2g}"


def _interval(row: Row) -> str:
    if row.get("lower") is None or row.get("value") is None:
        return _number(row.get("value"))
    return f"{row['value']:.3f} [{row['lower']:.3f}, {row['upper']:.3f}]"


def _counts(row: Row) -> list[str]:
    return ["" if row.get(key) is None else str(row[key]) for key in ("n", "positives", "patients")]
