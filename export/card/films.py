"""The card's sections about films: which are accepted, and how robust the probabilities are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from xraytransfer.export.card.section import Section
from xraytransfer.plural import counted

__all__ = ["corrections_text", "quality_gate_section", "robustness_section"]

Row = Mapping[str, Any]

ENOUGH_PATIENTS = 30
"""Patients with real side views from which on the card gives their rate without a warning."""

_ROBUSTNESS_HEAD = [
    "the film",
    "macro AUROC",
    "difference, paired",
    "mean change of a probability",
    "of itself",
    "largest",
    "decisions changed",
    "refused",
]


def quality_gate_section(document: Row) -> Section:
    """Return the section about the quality gate."""
    title = "Which films are accepted"
    entry = document.get("acceptance")
    if not entry:
        return Section(title, ["The file holds no quality gate: whatever can be read is scored."])
    text = [
        "Before a film is scored, the quality gate, a small network in the file, decides whether it is one whole, "
        "upright, frontal chest radiograph with the right grey levels. Films that it refuses get no probabilities "
        "unless that is forced. It accepts a film whose probability of being such a radiograph is at least "
        f"{entry['minimum_probability']:.3f} and whose "
        f"features lie within a distance of {entry['maximum_distance']:.2f} of the training films' (a usual film: 1).",
        "A limit that was fitted was fitted on validation patients and on the films of further sources that the table "
        "names; what set a limit was judged with the limit that other patients set. The first rows are of test "
        "patients; wrong films were made of theirs. Other things are the few pictures named, seen while it learned "
        "unless it says never seen. Intervals are Wilson's 95 %, as if each patient had given one film. Being accepted "
        "does not make a film fit to be read.",
        _side_views(entry.get("evaluation", [])),
        _mirrored(entry),
    ]
    head = ["films", "real, projected or drawn", "patients", "count", "accepted (95 %)", "named right", "mirrored"]
    return Section(title, text, head, [_gate_row(row) for row in entry.get("evaluation", [])])


def _gate_row(row: Row) -> list[str]:
    """Return a row of the quality gate's table; cells that do not apply, or that an older file lacks, are empty."""
    accepted = f"{row['accepted']} ({100 * row['accepted'] / row['films']:.1f} %)"
    if "lower" in row:
        accepted += f" [{100 * row['lower']:.1f}, {100 * row['upper']:.1f}]"
    named = "" if row["kind"] == "upright" or "turned" in row.get("view", "") else row["named"] / row["films"]
    return [
        str(row["what"]),
        str(row.get("origin", "")),
        str(row.get("patients", "")),
        str(row["films"]),
        accepted,
        named if isinstance(named, str) else f"{100 * named:.1f} %",
        str(row.get("mirrored", "")),
    ]


def _side_views(rows: Sequence[Row]) -> str:
    """Return what is known of side views: real ones, projections of CTs, drawn ones, apart."""
    parts = []
    for origin, of_patients, name in (
        ("real", True, "real side views"),
        ("projected", True, "side views projected from CTs"),
        ("drawn", False, "drawn side views"),
    ):
        found = [row for row in rows if row.get("origin") == origin and _is_lateral(row)]
        if found:
            films, accepted = (sum(row[key] for row in found) for key in ("films", "accepted"))
            count = f" of {counted(max(row['patients'] for row in found), 'patient')}" if of_patients else ""
            parts.append(f"{accepted} of {films} {name}{count} passed")
    known = "; ".join(parts) or "none were at hand"
    if max([row["patients"] for row in rows if row.get("view") == "lateral"], default=0) >= ENOUGH_PATIENTS:
        return f"Side views: {known}."
    return (
        f"Side views may pass: {known}. Real ones of fewer than {ENOUGH_PATIENTS} patients were at hand, so the rate "
        "is uncertain; the header, where it names a side view, comes first."
    )


def _is_lateral(row: Row) -> bool:
    return row.get("view") in ("lateral", "projected-lateral") or row["what"] == "drawn-lateral"


def _mirrored(entry: Row) -> str:
    if "minimum_mirrored_probability" not in entry:
        return "A mirrored film is not noticed."
    return (
        "A film whose heart seems to lie on the patient's right is accepted, with a note that left and right may be "
        "exchanged; the last column counts those notes. Films that are mirrored were mirrored by us."
    )


def robustness_section(document: Row) -> Section:
    """Return the section about other forms of the same films."""
    variants = document.get("robustness") or []
    if not variants:
        return Section("Robustness", ["Not measured."])
    text = [
        f"The same {variants[0]['films']} films of test patients, handed over in other ways. Change: of the calibrated "
        "probability, over films and observations, against the film as it is; of itself: as a share of the "
        "probability. Difference: of the macro AUROC, with "
        "its 95 % interval, paired, by patient. Refused: by the quality gate."
    ]
    if "calibrated_from" in document:
        text.append("Measured with the calibration and the thresholds of the model that this copy was made from.")
    rows = []
    for row in variants:
        if "auroc_difference" not in row:
            rows.append([row["what"], f"{row['macro_auroc']:.3f}", "", "", "", "", "", str(row["refused"])])
            continue
        rows.append(
            [
                row["what"],
                f"{row['macro_auroc']:.3f}",
                f"{row['auroc_difference']:+.4f} [{row['lower']:+.4f}, {row['upper']:+.4f}]",
                f"{row['mean_change']:.4f}",
                f"{100 * row['relative_change']:.1f} %" if "relative_change" in row else "",
                f"{row['largest_change']:.3f}",
                f"{100 * row['decisions_changed']:.1f} %",
                str(row["refused"]),
            ]
        )
    return Section("Robustness", text, _ROBUSTNESS_HEAD, rows)


def corrections_text(corrected: Row) -> str:
    """Return which labels of training and validation films were replaced, and whose labels took their place."""
    changed = ", ".join(f"{name} {count}" for name, count in corrected["labels_changed"].items())
    return (
        f"Labels of {corrected['films_corrected']} training and validation films were corrected by {corrected['data']} "
        f"(labels changed: {changed}); test films keep those of the data set. {corrected.get('attribution', '')}"
    ).strip()
