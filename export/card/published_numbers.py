"""What the card says beside the file's own numbers: others' numbers on the same data set, and whose films they were."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xraytransfer.export.card.section import Section
from xraytransfer.study.analysis.published import read_published

__all__ = ["acknowledgement", "published_section"]

_ACKNOWLEDGEMENTS = {
    "nih": "The NIH Clinical Center provided the films, as ChestX-ray14 (Wang et al., CVPR 2017; "
    "https://nihcc.app.box.com/v/ChestXray-NIHCC).",
}

Row = Mapping[str, Any]


def acknowledgement(document: Row) -> str | None:
    """Return whose films the members were trained on, in the words that their owner asks for."""
    return _ACKNOWLEDGEMENTS.get(str((document.get("training") or {}).get("data")))


def published_section(document: Row) -> list[Section]:
    """Return the card's part of others' numbers on the same data set; no part where none is sourced."""
    data = str((document.get("training") or {}).get("data"))
    names = {str(row["identifier"]): str(row["name"]) for row in document["observations"]}
    by_source: dict[tuple[str, str, str], dict[str, str]] = {}
    for one in read_published(data):
        by_source.setdefault((one.who, one.note, one.source), {})[one.quantity] = f"{one.value:g}"
    if not by_source:
        return []
    rows = [
        [who, *(values.get(identifier, "") for identifier in names), f"{note}; {source}"]
        for (who, note, source), values in by_source.items()
    ]
    means: dict[tuple[str, str], list[str]] = {}
    for one in read_published(f"{data}-mean"):
        means.setdefault((one.quantity, one.source), []).append(f"{one.who} {one.value:.3f} ({one.note})")
    text = [
        "For scale, not for comparison: splits, resolutions, labels and numbers of films differ from this file's, and "
        "each of them moves an AUROC.",
        *(
            f"{quantity[0].upper()}{quantity[1:]}: {', '.join(numbers)}; read in {source}."
            for (quantity, source), numbers in means.items()
        ),
    ]
    head = ["AUROC, published by", *names.values(), "on what; where read"]
    return [Section("Published numbers on this data set", text, head, rows)]
