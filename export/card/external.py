"""The card's parts about external tests: whose judgement the numbers are, the readers, groups, and where maps point."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xraytransfer.constants import AVERAGE_READER
from xraytransfer.export.card.section import Section
from xraytransfer.export.reader_counts import ReaderCount, count_readers

__all__ = ["external_sections", "part_sentence", "whose_judgement"]

Row = Mapping[str, Any]

_MINED = ("nih", "chexpert")
"""Data sets whose labels programs found in radiology reports."""
_USES = {"judge": "nothing was chosen by them", "choose": "they chose settings, so that these numbers are too good"}


def whose_judgement(document: Row) -> list[str]:
    """Return the card's first lines: against whom its numbers are, the strictest judge first."""
    lines = [
        f"{part_sentence(test, part)}." for test in document.get("external") or [] for part in _judging(test["parts"])
    ]
    for macro in filter(_is_macro, document.get("metrics") or []):
        counts = [f"{macro[key]} {name}" for key, name in (("n", "films"), ("patients", "patients")) if key in macro]
        whole = ", ".join([str(macro["data"]), " of ".join(counts)])
        labels, films = _own_labels(document), whole
        if ": " in str(macro["data"]):  # a site's table, which `calibrate` read, and its films
            table, _, films = str(macro["data"]).partition(": ")
            labels = f"the labels in {table}"
        lines.append(f"Against {labels}: macro AUROC {_interval(macro)} ({films}).")
    if not document.get("external"):
        lines.append("No other judge has read films for this model: agreement with these labels is all that is known.")
    return lines


def part_sentence(test: Row, part: Row) -> str:
    """Return a sentence, without its full stop, on a part of an external test.

    Parameters
    ----------
    test : mapping
        An entry of ``external`` in the model file.
    part : mapping
        One of its ``parts``.
    """
    macro = next(row for row in part["metrics"] if _is_macro(row))
    use = _USES.get(part["use"])
    whole = f"{part['films']} films of {part['patients']} patients{'' if use is None else f': {use}'}"
    sentence = f"Against {_judges(test)}: macro AUROC {_interval(macro)} ({macro['data']}, {whole})"
    other = next((row for row in part["other_metrics"] if _is_macro(row)), None)
    if other is not None:
        sentence += f"; against {part['other_labels']}, of the same films: {_interval(other)}"
    if counts := _reader_counts(part):
        reached = sum(count.equalled > 0 for count in counts.values())
        not_worse = sum(count.not_worse > 0 for count in counts.values())
        sentence += (
            f"; at a reader's specificity its sensitivity reaches that of at least one reader on {reached} of "
            f"{len(counts)} observations, and is not shown to be lower than that of at least one (the 95 % interval of "
            f"the difference does not lie wholly below 0) on {not_worse}"
        )
    return sentence


def external_sections(document: Row) -> list[Section]:
    """Return the sections on external tests; none for a file that was exported without any."""
    sections = []
    for test in document.get("external") or []:
        for part in test["parts"]:
            name = part["metrics"][0]["data"]
            sections.append(_metrics_section(document, test, part, f"External test: {name}"))
            if part["readers"]:
                sections.append(_readers_section(document, test, part, f"Beside the readers: {name}"))
            if any(row["subset"] != "all" for row in part["metrics"]):
                sections.append(_groups_section(document, part, f"By sex, age and view: {name}"))
        if test.get("localisation"):
            sections.append(_localisation_section(document, test))
    return sections


def _judging(parts: Sequence[Row]) -> Sequence[Row]:
    """Return the parts by which nothing was chosen, or all where there is none."""
    return [part for part in parts if part["use"] != "choose"] or parts


def _judges(test: Row) -> str:
    return str(test["judges"] or f"the labels of {test['name']}")


def _own_labels(document: Row) -> str:
    data = str((document.get("training") or {}).get("data") or "unknown films")
    return f"labels that a program mined from reports ({data})" if data in _MINED else f"the labels of {data}"


def _is_macro(row: Row) -> bool:
    return bool(row["metric"] == "auroc" and row["observation"] == "macro" and row["subset"] == "all")


def _metrics_section(document: Row, test: Row, part: Row, title: str) -> Section:
    """Return the AUROC of the whole part, beside that by other labels of the same films."""
    left_out = test["left_out"]
    text = [
        f"{part_sentence(test, part)}.",
        f"No patient is one of the runs' training or validation patients: {left_out['known_patients']} such patients "
        f"({left_out['known_films']} films) were left out, compared by "
        f"{'identifier and names of images' if test['patients_compared'] else 'names of images alone'}. The quality "
        f"gate would refuse {test['refused_by_quality_gate']} of all {test['films']} films; they are scored here.",
        f"These films train nothing; shares of positives are those of this selection, no prevalences.{_said(test)}",
    ]
    values = _by_observation(part["metrics"], "all")
    others = {row["observation"]: row for row in part["other_metrics"]}
    head = ["observation", "AUROC", "calibration error", "Brier score", "images", "positive"]
    head += [f"AUROC by {part['other_labels']}", "positive by them"] if others else []
    rows = []
    for observation, metrics in values.items():
        auroc, other = metrics["auroc"], others.get(observation)
        cells = [_interval(auroc), *(_value(metrics.get(name)) for name in ("ece", "brier"))]
        cells += [str(auroc["n"]), _count(auroc)]
        cells += [_interval(other), _count(other)] if other else []
        rows.append([_name(document, observation), *cells])
    return Section(title, text, head, rows)


def _said(test: Row) -> str:
    """Return what the test set's own description adds."""
    note = f" {test['note']}" if test.get("note") else ""
    return f"{note} To be cited: {test['attribution']}." if test["attribution"] else note


def _reader_counts(part: Row) -> dict[str, ReaderCount]:
    """Return how many readers the model reaches, by observation."""
    return count_readers(part["readers"], (AVERAGE_READER, part["other_labels"]))


def _readers_section(document: Row, test: Row, part: Row, title: str) -> Section:
    """Return the model beside each reader."""
    counts = _reader_counts(part)
    reached, not_worse = (
        ", ".join(
            f"{_name(document, name)} {getattr(count, kind)} of {count.readers}" for name, count in counts.items()
        )
        for kind in ("equalled", "not_worse")
    )
    text = [
        f"The model's sensitivity at each reader's specificity, both against {_judges(test)}. That reference may "
        "include the readers' own answers, which favours them. The average reader is the mean of their sensitivities "
        "and specificities. Difference: the model's sensitivity minus the reader's, with its 95 % interval, paired, by "
        "patient.",
        "Readers equalled or beaten, which means that the model's sensitivity is at least the reader's, of those who "
        f"name the observation at all: {reached}.",
        "Readers than whom it is not shown to be worse, which means that the interval of the difference does not lie "
        f"wholly below 0: {not_worse}. The fewer films are positive, the wider the interval: this count says what "
        "these films cannot tell apart, not that the model equals these readers.",
    ]
    rows = [
        [
            _name(document, row["observation"]),
            row["reader"],
            *(_number(row[key]) for key in ("sensitivity", "specificity", "model_sensitivity")),
            _interval({**row, "value": row["difference"]}, "+"),
            str(row["n"]),
            _count(row),
        ]
        for row in part["readers"]
    ]
    head = [
        "observation",
        "reader",
        "sensitivity",
        "specificity",
        "model's sensitivity there",
        "difference",
        "images",
        "positive",
    ]
    return Section(title, text, head, rows)


def _groups_section(document: Row, part: Row, title: str) -> Section:
    """Return one line for each group: macro AUROC with its interval, and the AUROC of each observation."""
    subsets = dict.fromkeys(str(row["subset"]) for row in part["metrics"])
    rows = []
    for subset in subsets:
        values = {observation: row["auroc"] for observation, row in _by_observation(part["metrics"], subset).items()}
        macro = values.pop("macro")
        each = [f"{_number(row['value'])} ({row['positives']})" for row in values.values()]
        rows.append([subset, str(macro["n"]), _interval(macro), *each])
    names = [_name(document, row["identifier"]) for row in document["observations"]]
    text = ["In parentheses: films with the observation. Where these are few, the number tells little."]
    return Section(title, text, ["group", "images", "macro AUROC", *names], rows)


def _localisation_section(document: Row, test: Row) -> Section:
    """Return how often maps point into boxes."""
    found = test["localisation"]
    text = [
        "Share of activation maps whose maximum lies within a box that a person drew around the finding, on films of "
        "strangers and of the runs' test patients. Chance: the mean share of the film that the boxes cover. The map is "
        "coarse, so that it can miss a box smaller than one of its cells.",
    ]
    every = {"all": found, **found["observations"]}
    rows = [
        [
            "All" if name == "all" else _name(document, name),
            f"{row['hits']} of {row['maps']}",
            _interval({**row, "value": row["share"]}),
            _number(row["chance"]),
        ]
        for name, row in every.items()
    ]
    return Section(
        f"Where the maps point: boxes of {test['name']}", text, ["observation", "within", "share", "chance"], rows
    )


def _by_observation(rows: Sequence[Row], subset: str) -> dict[str, dict[str, Row]]:
    """Return observation -> metric -> row, of one group."""
    found: dict[str, dict[str, Row]] = {}
    for row in rows:
        if row["subset"] == subset:
            found.setdefault(str(row["observation"]), {})[str(row["metric"])] = row
    return found


def _name(document: Row, identifier: str) -> str:
    names = {row["identifier"]: row["name"] for row in document["observations"]}
    return str(names.get(identifier, "Macro" if identifier == "macro" else identifier))


def _count(row: Row) -> str:
    return "" if row["positives"] is None else str(row["positives"])


def _number(value: float | None, sign: str = "") -> str:
    return "undefined" if value is None else f"{value:{sign}.3f}"


def _value(row: Row | None) -> str:
    return "" if row is None else _number(row["value"])


def _interval(row: Row, sign: str = "") -> str:
    if row["value"] is None or row.get("lower") is None:
        return _number(row["value"], sign)
    return f"{row['value']:{sign}.3f} [{row['lower']:{sign}.3f}, {row['upper']:{sign}.3f}]"
