"""Figures of the report, each drawn from the same cells as its table.

Conventions
-----------
Every AUROC has its 95 % interval. A function returns None where there is nothing to draw.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from xraytransfer.study.analysis.cells import INITIALISATIONS, Cell, Scores
from xraytransfer.study.analysis.curve import read_curve
from xraytransfer.study.analysis.question_accuracy import accuracy_name
from xraytransfer.study.analysis.question_size import families
from xraytransfer.study.analysis.question_truncation import series
from xraytransfer.study.analysis.relations import pairs, patient_replicates, with_accuracy
from xraytransfer.study.analysis.table import Table, printed
from xraytransfer.study.report.figure_parts import (
    COLOURS,
    MARKERS,
    PARAMETERS,
    family_legend,
    family_look,
    fitted_line,
    log_axis,
    panels,
    point,
    styled,
    write_names,
)
from xraytransfer.study.stats.calibration_error import reliability_curve

__all__ = [
    "accuracy_figure",
    "boost_figure",
    "calibration_figure",
    "curves_figure",
    "observations_figure",
    "size_figure",
    "truncation_figure",
]


@styled
def accuracy_figure(scores: Scores) -> Figure | None:
    """Draw ImageNet top-1 against macro AUROC, a panel for each initialisation; None without such cells."""

    def draw(axis: Axes, name: str, cells: list[Cell]) -> None:
        top1 = [float(cell.row["imagenet_top1"]) for cell in cells]
        for cell, x in zip(cells, top1, strict=True):
            point(axis, scores, cell, x, cell.macro)
        fitted_line(axis, top1, [cell.macro.value for cell in cells], patient_replicates(cells))
        axis.set_title(f"{name} (n = {len(cells)})")
        axis.set_xlabel(f"{accuracy_name(scores)}, %")
        axis.margins(x=0.08)

    def place(cell: Cell) -> float:
        return float(cell.row["imagenet_top1"])

    return _by_initialisation(scores, {name: with_accuracy(scores, name) for name in INITIALISATIONS}, draw, place)


@styled
def boost_figure(scores: Scores) -> Figure | None:
    """Draw the boost of each architecture against its parameters; None without pairs."""
    both = pairs(scores)
    if not both:
        return None
    figure, (axis,) = panels(1, height=3.6)
    axis.axhline(0, color="#444444", linewidth=0.8)
    cells, boosts = [one for one, _ in both], [one.minus(two) for one, two in both]
    millions = [cell.parameters / 1e6 for cell in cells]
    for cell, x, boost in zip(cells, millions, boosts, strict=True):
        point(axis, scores, cell, x, boost)
    log_axis(axis, millions)
    drawn = patient_replicates(cells) - patient_replicates([two for _, two in both])
    fitted_line(axis, millions, [boost.value for boost in boosts], drawn, log=True)
    axis.set_xlabel(PARAMETERS)
    axis.set_ylabel("AUROC pretrained minus random")
    family_legend(figure, scores, cells)
    write_names(axis, cells, [(x, boost.value) for x, boost in zip(millions, boosts, strict=True)])
    return figure


@styled
def size_figure(scores: Scores) -> Figure | None:
    """Draw parameters against macro AUROC, a line for each family; None without whole networks."""

    def draw(axis: Axes, name: str, cells: list[Cell]) -> None:
        for family, members in families(cells).items():
            sizes, areas = [cell.parameters / 1e6 for cell in members], [cell.macro.value for cell in members]
            axis.plot(sizes, areas, color=family_look(scores, family)[0], linewidth=1.2, alpha=0.6)
            for cell in members:
                point(axis, scores, cell, cell.parameters / 1e6, cell.macro)
        axis.set_title(name)
        axis.set_xlabel(PARAMETERS)
        log_axis(axis, [cell.parameters / 1e6 for cell in cells])

    def place(cell: Cell) -> float:
        return cell.parameters / 1e6

    return _by_initialisation(scores, {name: scores.whole(name) for name in INITIALISATIONS}, draw, place)


def _by_initialisation(
    scores: Scores,
    cells_of: Mapping[str, list[Cell]],
    draw: Callable[[Axes, str, list[Cell]], None],
    place: Callable[[Cell], float],
) -> Figure | None:
    """Return a figure of macro AUROC with a panel for each initialisation that has cells; None without any."""
    shown = {name: cells for name, cells in cells_of.items() if cells}
    if not shown:
        return None
    figure, axes = panels(len(shown), height=3.6, share_y=True)
    for axis, (name, cells) in zip(axes, shown.items(), strict=True):
        draw(axis, name, cells)
    axes[0].set_ylabel("macro AUROC")
    family_legend(figure, scores, [cell for cells in shown.values() for cell in cells])
    for axis, cells in zip(axes, shown.values(), strict=True):
        write_names(axis, cells, [(place(cell), cell.macro.value) for cell in cells])
    return figure


@styled
def truncation_figure(scores: Scores) -> Figure | None:
    """Draw the AUROC lost against stages removed and against parameters left; None without cuts."""
    networks = series(scores)
    if not networks:
        return None
    figure, axes = panels(2, height=3.6, share_y=True)
    for index, cells in enumerate(networks):
        whole, colour, marker = cells[0], COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        differences = [cell.minus(whole) for cell in cells]
        value = np.array([d.value for d in differences])
        reach = np.array([[d.value - d.lower for d in differences], [d.upper - d.value for d in differences]])
        shift = 0.06 * (index - (len(networks) - 1) / 2)  # keeps intervals from hiding each other
        style: dict[str, Any] = {
            "color": colour,
            "marker": marker,
            "markersize": 5,
            "capsize": 2,
            "linewidth": 1.2,
            "elinewidth": 1,
            "markerfacecolor": colour if whole.initialisation == "pretrained" else "white",
        }
        axes[0].errorbar([cell.truncation + shift for cell in cells], value, reach, label=whole.label, **style)
        axes[1].errorbar([cell.parameters / 1e6 for cell in cells], value, reach, **style)
    for axis in axes:
        axis.axhline(0, color="#444444", linewidth=0.8)
    axes[0].set_xticks(range(1 + max(cell.truncation for cells in networks for cell in cells)))
    axes[0].set_xlabel("final stages removed")
    axes[0].set_ylabel("macro AUROC minus the whole network's")
    axes[1].set_xlabel(PARAMETERS)
    log_axis(axes[1], [cell.parameters / 1e6 for cells in networks for cell in cells])
    figure.legend(loc="outside upper left", ncols=min(4, len(networks)))
    return figure


@styled
def observations_figure(reference: Table, cell: Cell) -> Figure:
    """Draw the AUROC of each observation, from `reference_table` and its cell: all films, PA, and AP."""
    rows = reference.rows
    figure, (axis,) = panels(1, height=2.9)
    subsets = (("", "all films", "o"), ("PA_", "PA", "^"), ("AP_", "AP", "s"))
    for offset, (prefix, name, marker) in enumerate(subsets):
        value, lower, upper = (np.array([row[f"{prefix}{key}"] for row in rows]) for key in ("value", "lower", "upper"))
        height = np.arange(len(rows)) + 0.22 * (offset - 1)
        axis.errorbar(
            value, height, xerr=[value - lower, upper - value], fmt=marker, color=COLOURS[offset], capsize=2,
            elinewidth=1, markersize=5, label=name,
        )  # fmt: skip
    axis.axvline(0.5, color="#444444", linewidth=0.8)
    axis.set_yticks(range(len(rows)), [printed(str(row["observation"])) for row in rows])
    axis.invert_yaxis()
    axis.set_xlabel(f"AUROC, {cell.label}")
    figure.legend(loc="outside upper left", ncols=3)
    return figure


@styled
def calibration_figure(scores: Scores, cell: Cell) -> Figure:
    """Draw reliability curves of one cell, a panel for each observation."""
    names = scores.results.observations
    label = cell.runs[0].test.label
    probability = np.mean([run.test.ensemble for run in cell.runs], axis=0)
    figure, axes = panels(len(names), columns=3, height=2.1)
    for k, (axis, name) in enumerate(zip(axes, names, strict=True)):
        curve = reliability_curve(label[:, k], probability[:, k])
        highest = float(max(curve.upper.max(initial=0.05), curve.probability.max(initial=0.05))) * 1.05
        axis.plot([0, highest], [0, highest], color="#999999", linewidth=0.8, linestyle="--")
        if curve.images.size:
            reach = np.clip([curve.observed - curve.lower, curve.upper - curve.observed], 0, None)
            axis.errorbar(
                curve.probability, curve.observed, reach, fmt="o-", color=COLOURS[0], markersize=4, capsize=2,
                linewidth=1, elinewidth=1,
            )  # fmt: skip
        axis.set_title(printed(name))
        axis.set_xlim(0, highest)
        axis.set_ylim(0, highest)
        axis.locator_params(nbins=5)
    for axis in axes[-3:]:
        axis.set_xlabel("mean probability")
    for axis in axes[::3]:
        axis.set_ylabel("share of positives")
    return figure


@styled
def curves_figure(scores: Scores) -> Figure | None:
    """Draw validation AUROC while training, a panel for each architecture; None without metrics."""
    curves: dict[str, list[tuple[Cell, dict[str, Any]]]] = {}
    for cell in scores.cells:
        for run in cell.runs:
            curve = read_curve(run)
            if "examples" in curve and "validation_auroc" in curve:
                curves.setdefault(cell.architecture, []).append((cell, curve))
    if not curves:
        return None
    columns = min(4, len(curves))
    figure, axes = panels(len(curves), columns=columns, height=1.9, share_y=True)
    lines: dict[str, Any] = {}
    for axis, (name, runs) in zip(axes, curves.items(), strict=True):
        for cell, curve in runs:
            kind = cell.initialisation + (f", {cell.truncation} removed" if cell.truncation else "")
            colour = COLOURS[0] if cell.initialisation == "pretrained" else COLOURS[1]
            dash = ("-", "--", "-.", ":", (0, (1, 3)))[cell.truncation]
            (line,) = axis.plot(
                curve["examples"] / 1e3, curve["validation_auroc"], color=colour, linestyle=dash, linewidth=1.1,
                marker="." if len(curve["examples"]) == 1 else "",
            )  # fmt: skip
            lines.setdefault(kind, line)
        axis.set_title(name, fontsize=8.5)
    for axis in axes[-columns:]:
        axis.set_xlabel("films seen, thousands")
    for axis in axes[::columns]:
        axis.set_ylabel("validation AUROC")
    order = sorted(lines)
    figure.legend([lines[kind] for kind in order], order, loc="outside upper left", ncols=min(4, len(order)))
    return figure
