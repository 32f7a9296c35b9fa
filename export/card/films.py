"""The card's sections about films: which are accepted, and how robust the probabilities are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xraytransfer.export.card.section import Section

__all__ = ["corrections_text", "quality_gate_section", "robustness_section"]

Row = Mapping[str, Any]

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
        "Limits were set on validation patients, the table is of test patients. Wrong films were made of right ones; "
        "side views were drawn, because no real ones were at hand: real side views may pass. Other things are the few "
        "pictures named, seen "
        "while it learned unless it says never seen. A mirrored film is not noticed. Being accepted does not make a "
        "film fit to be read.",
    ]
    rows = [
        [
            str(row["what"]),
            str(row["films"]),
            f"{row['accepted']} ({100 * row['accepted'] / row['films']:.1f} %)",
            "" if row["kind"] == "upright" else f"{100 * row['named'] / row['films']:.1f} %",
        ]
        for row in entry.get("evaluation", [])
    ]
    return Section(title, text, ["films", "count", "accepted", "named right"], rows)


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
