"""Figures of the report, each drawn from the same cells as its table.

Conventions
-----------
Every AUROC has its 95 % interval. A function returns None where there is nothing to draw.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from xraytransfer.study.analysis.cells import Cell, Scored
from xraytransfer.study.analysis.question_accuracy import accuracy_name, with_accuracy
from xraytransfer.study.analysis.question_boost import pairs
from xraytransfer.study.analysis.question_size import families
from xraytransfer.study.analysis.question_truncation import series
from xraytransfer.study.analysis.results_folder import read_curve
from xraytransfer.study.analysis.subgroups import reference_table
from xraytransfer.study.report.figure_parts import (
    COLOURS,
    MARKERS,
    family_legend,
    family_look,
    log_axis,
    panels,
    point,
    printed,
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
def accuracy_figure(scored: Scored) -> Figure | None:
    """Draw ImageNet top-1 against macro AUROC, a panel for each initialisation; None without such cells."""
    shown = {name: with_accuracy(scored, name) for name in ("pretrained", "random")}
    shown = {name: cells for name, cells in shown.items() if cells}
    if not shown:
        return None
    figure, axes = panels(len(shown), height=3.6, share_y=True)
    for axis, (name, cells) in zip(axes, shown.items(), strict=True):
        for cell in cells:
            point(axis, scored, cell, float(cell.row["imagenet_top1"]), cell)
        write_names(axis, cells, [(float(cell.row["imagenet_top1"]), cell.macro.value) for cell in cells])
        axis.set_title(f"{name} (n = {len(cells)})")
        axis.set_xlabel(f"{accuracy_name(scored)}, %")
        axis.margins(x=0.08)
    axes[0].set_ylabel("macro AUROC")
    family_legend(figure, scored, [cell for cells in shown.values() for cell in cells])
    return figure


@styled
def boost_figure(scored: Scored) -> Figure | None:
    """Draw the boost of each architecture against its parameters; None without pairs."""
    both = pairs(scored)
    if not both:
        return None
    figure, (axis,) = panels(1, height=3.6)
    axis.axhline(0, color="#444444", linewidth=0.8)
    for one, two in both:
        difference = one.minus(two)
        point(axis, scored, one, one.parameters / 1e6, difference)
    log_axis(axis, [one.parameters / 1e6 for one, _ in both])
    whole = [one for one, _ in both]
    write_names(axis, whole, [(one.parameters / 1e6, one.minus(two).value) for one, two in both], log=True)
    axis.set_xlabel("parameters, millions (logarithmic)")
    axis.set_ylabel("AUROC pretrained minus random")
    family_legend(figure, scored, [one for one, _ in both])
    return figure


@styled
def size_figure(scored: Scored) -> Figure | None:
    """Draw parameters against macro AUROC, a line for each family; None without whole networks."""
    shown = {name: scored.whole(name) for name in ("pretrained", "random")}
    shown = {name: cells for name, cells in shown.items() if cells}
    if not shown:
        return None
    figure, axes = panels(len(shown), height=3.6, share_y=True)
    for axis, (name, cells) in zip(axes, shown.items(), strict=True):
        for family, members in families(cells).items():
            colour, _ = family_look(scored, family)
            axis.plot(
                [cell.parameters / 1e6 for cell in members],
                [cell.macro.value for cell in members],
                color=colour,
                linewidth=1.2,
                alpha=0.6,
            )
            for cell in members:
                point(axis, scored, cell, cell.parameters / 1e6, cell)
        axis.set_title(name)
        axis.set_xlabel("parameters, millions (logarithmic)")
        log_axis(axis, [cell.parameters / 1e6 for cell in cells])
        write_names(axis, cells, [(cell.parameters / 1e6, cell.macro.value) for cell in cells], log=True)
    axes[0].set_ylabel("macro AUROC")
    family_legend(figure, scored, [cell for cells in shown.values() for cell in cells])
    return figure


@styled
def truncation_figure(scored: Scored) -> Figure | None:
    """Draw stages removed against the AUROC lost, and parameters left against it; None without cuts."""
    found = series(scored)
    if not found:
        return None
    figure, axes = panels(2, height=3.6, share_y=True)
    for index, cells in enumerate(found):
        whole, colour, marker = cells[0], COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]
        differences = [cell.minus(whole) for cell in cells]
        value = np.array([d.value for d in differences])
        reach = np.array([[d.value - d.lower for d in differences], [d.upper - d.value for d in differences]])
        shift = 0.06 * (index - (len(found) - 1) / 2)  # so that intervals do not hide each other
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
    axes[0].set_xticks(range(1 + max(cell.truncation for cells in found for cell in cells)))
    axes[0].set_xlabel("final stages removed")
    axes[0].set_ylabel("macro AUROC minus the whole network's")
    axes[1].set_xlabel("parameters, millions (logarithmic)")
    log_axis(axes[1], [cell.parameters / 1e6 for cells in found for cell in cells])
    figure.legend(loc="outside upper left", ncols=min(4, len(found)))
    return figure


@styled
def observations_figure(scored: Scored, cell: Cell) -> Figure:
    """Draw one cell's AUROC of each observation: all films, PA, and AP."""
    rows = reference_table(scored).rows
    figure, (axis,) = panels(1, height=2.9)
    series_of = (("", "all films", "o"), ("PA_", "PA", "^"), ("AP_", "AP", "s"))
    for offset, (prefix, name, marker) in enumerate(series_of):
        value, lower, upper = (
            np.array([float(str(row[f"{prefix}{key}"])) for row in rows]) for key in ("value", "lower", "upper")
        )
        place = np.arange(len(rows)) + 0.22 * (offset - 1)
        axis.errorbar(
            value, place, xerr=[value - lower, upper - value], fmt=marker, color=COLOURS[offset], capsize=2,
            elinewidth=1, markersize=5, label=name,
        )  # fmt: skip
    axis.axvline(0.5, color="#444444", linewidth=0.8)
    axis.set_yticks(range(len(rows)), [printed(str(row["observation"])) for row in rows])
    axis.invert_yaxis()
    axis.set_xlabel(f"AUROC, {cell.label}")
    figure.legend(loc="outside upper left", ncols=3)
    return figure


@styled
def calibration_figure(scored: Scored, cell: Cell) -> Figure:
    """Draw reliability curves of one cell, a panel for each observation."""
    names = scored.results.observations
    label = cell.runs[0].test.label
    probability = np.mean([run.test.probability[:, 0] for run in cell.runs], axis=0)
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
def curves_figure(scored: Scored) -> Figure | None:
    """Draw validation AUROC while training, a panel for each architecture; None without metrics."""
    curves: dict[str, list[tuple[Cell, dict[str, Any]]]] = {}
    for cell in scored.cells:
        for run in cell.runs:
            curve = read_curve(run)
            if "examples" in curve and "validation_auroc" in curve:
                curves.setdefault(cell.architecture, []).append((cell, curve))
    if not curves:
        return None
    columns = min(4, len(curves))
    figure, axes = panels(len(curves), columns=columns, height=1.9, share_y=True)
    seen: dict[str, Any] = {}
    for axis, (name, found) in zip(axes, curves.items(), strict=True):
        for cell, curve in found:
            kind = cell.initialisation + (f", {cell.truncation} removed" if cell.truncation else "")
            colour = COLOURS[0] if cell.initialisation == "pretrained" else COLOURS[1]
            dash = ("-", "--", "-.", ":", (0, (1, 3)))[cell.truncation]
            (line,) = axis.plot(
                curve["examples"] / 1e3, curve["validation_auroc"], color=colour, linestyle=dash, linewidth=1.1
            )
            seen.setdefault(kind, line)
        axis.set_title(name, fontsize=8.5)
    for axis in axes[-columns:]:
        axis.set_xlabel("films seen, thousands")
    for axis in axes[::columns]:
        axis.set_ylabel("validation AUROC")
    order = sorted(seen)
    figure.legend([seen[kind] for kind in order], order, loc="outside upper left", ncols=min(4, len(order)))
    return figure
