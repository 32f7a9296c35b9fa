"""How the members were chosen, for the card and for the user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xraytransfer.export.card.section import Section

__all__ = ["gain_sentence", "selection_sections"]

Row = Mapping[str, Any]


def selection_sections(document: Row) -> list[Section]:
    """Return one section on the choice; none for a file whose runs were named by hand."""
    selection = document.get("selection")
    if not selection:
        return []
    text = [
        f"Greedy selection of at most {selection['best']} of {selection['candidates']} candidates (best checkpoint and "
        f"averaged weights of each run) by macro AUROC on {selection['films']} films of {selection['patients']} "
        f"patients ({selection.get('data', 'validation patients')}){_limits(selection)}. The test patients took no "
        "part.",
        f"{selection['within_noise_of_best']} other candidates were within noise of the best one: the 95 % interval of "
        f"the paired difference holds 0.",
        f"{gain_sentence(selection)} The numbers below are of the patients that chose, and so too good.",
    ]
    rows = [
        [
            f"{row['run']}: {row['kind']}",
            _interval(row, "auroc" if "auroc" in row else "validation_auroc", ""),
            _interval(row, "added", "+"),
        ]
        for row in selection["members"]
    ]
    return [Section("How the members were chosen", text, ["member", "macro AUROC of the set with it", "added"], rows)]


def gain_sentence(selection: Row) -> str:
    """Return what the choice of a set gains over the choice of one candidate, on patients that chose neither.

    Parameters
    ----------
    selection : mapping
        With ``crossed_gain``, ``crossed_gain_lower`` and ``crossed_gain_upper``; None where not defined.
    """
    if selection["crossed_gain"] is None or selection["crossed_gain_lower"] is None:
        return (
            "The gain of a chosen set over the best candidate cannot be estimated: half of the patients that choose "
            "are too few."
        )
    noise = selection["crossed_gain_lower"] <= 0 <= selection["crossed_gain_upper"]
    verdict = "within noise: one member may do as well" if noise else "beyond noise"
    return (
        "Gain of a chosen set over the best candidate, on patients that chose neither (two halves, crossed): "
        f"{_interval(selection, 'crossed_gain', '+')}, {verdict}."
    )


def _limits(selection: Row) -> str:
    """Return the budget, with the processor that measured times."""
    size = "" if selection["max_mb"] is None else f", within {selection['max_mb']:g} MB"
    if selection["max_ms"] is None:
        return size
    return f"{size}, within {selection['max_ms']:g} ms for one film on one thread of {selection['processor']}"


def _interval(row: Row, name: str, sign: str) -> str:
    value, lower, upper = (row[key] for key in (name, f"{name}_lower", f"{name}_upper"))
    if value is None:
        return ""
    bounds = "" if lower is None else f" [{lower:{sign}.4f}, {upper:{sign}.4f}]"
    return f"{value:{sign}.4f}{bounds}"
