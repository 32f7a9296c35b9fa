"""Figures of how small a network can be: AUROC over size and time, with the front that nothing smaller beats."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from xraytransfer.study.analysis.cells import Cell, Scores
from xraytransfer.study.analysis.cost import Cost
from xraytransfer.study.report.figure_parts import (
    PARAMETERS,
    family_legend,
    family_look,
    log_axis,
    panels,
    styled,
    write_names,
)

__all__ = ["smallest_external_figure", "smallest_figure"]


@styled
def smallest_figure(scores: Scores, costs: Mapping[tuple[str, int], Cost]) -> Figure | None:
    """Draw every network's macro AUROC over parameters and over milliseconds, with the front; None without AUROC."""
    cells = [cell for cell in scores.cells if cell.parameters and not math.isnan(cell.macro.value)]
    timed = [cell for cell in cells if (cell.architecture, cell.truncation) in costs]
    sides = [(PARAMETERS, "", cells, [cell.parameters / 1e6 for cell in cells])]
    if timed:
        times = [costs[cell.architecture, cell.truncation].latency_ms for cell in timed]
        sides.append(("milliseconds for one film, one thread (logarithmic)", "", timed, times))
    return _fronts(scores, sides) if cells else None


@styled
def smallest_external_figure(scores: Scores, cells_of: Mapping[str, Sequence[Cell]]) -> Figure | None:
    """Draw macro AUROC on each external test over parameters, with the front; None without cells that have both."""
    sides = []
    for name, found in cells_of.items():
        cells = [cell for cell in found if cell.parameters and not math.isnan(cell.macro.value)]
        if cells:
            sides.append((PARAMETERS, name, cells, [cell.parameters / 1e6 for cell in cells]))
    return _fronts(scores, sides) if sides else None


def _fronts(scores: Scores, sides: Sequence[tuple[str, str, list[Cell], list[float]]]) -> Figure:
    """Draw a panel for each side: label of the x axis, title, cells, and the x of each cell."""
    figure, axes = panels(len(sides), height=4.2, share_y=True)
    for axis, (label, title, shown, xs) in zip(axes, sides, strict=True):
        for cell, x in zip(shown, xs, strict=True):
            colour, marker = family_look(scores, cell.family)
            face = colour if cell.initialisation == "pretrained" else "white"
            axis.plot([x], [cell.macro.value], marker, color=colour, markerfacecolor=face, markersize=6)
        edge = _front(xs, [cell.macro.value for cell in shown])
        axis.step([x for x, _ in edge], [y for _, y in edge], where="post", color="#444444", linewidth=0.9, zorder=0)
        axis.set_title(title)
        axis.set_xlabel(label)
        log_axis(axis, xs)
    axes[0].set_ylabel("macro AUROC")
    family_legend(figure, scores, [cell for _, _, shown, _ in sides for cell in shown])
    for axis, (_, _, shown, xs) in zip(axes, sides, strict=True):
        points = [(x, cell.macro.value) for cell, x in zip(shown, xs, strict=True)]
        edge = _front(xs, [cell.macro.value for cell in shown])
        named = [index for index, at in enumerate(points) if at in edge]
        write_names(axis, [shown[k] for k in named], [points[k] for k in named], whole=True, others=points)
    return figure


def _front(xs: Sequence[float], ys: Sequence[float]) -> list[tuple[float, float]]:
    """Return the points that no other beats in both directions, from left to right."""
    kept: list[tuple[float, float]] = []
    for x, y in sorted(zip(xs, ys, strict=True), key=lambda at: (at[0], -at[1])):
        if not kept or y > kept[-1][1]:
            kept.append((x, y))
    return kept
