"""Parts of the report's figures: style, panels, points with intervals, names and legends.

Conventions
-----------
Colours are Okabe and Ito's, which people with colour blindness can distinguish; a family also has its own marker.
Filled markers are pretrained networks, hollow markers random ones. Text is drawn as paths, so that an SVG looks
the same everywhere. No window system is used, and no global setting of matplotlib is changed.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from xraytransfer.study.analysis.cells import Cell, Scores
from xraytransfer.study.stats.bootstrap import Interval

__all__ = [
    "COLOURS",
    "MARKERS",
    "family_legend",
    "family_look",
    "log_axis",
    "panels",
    "point",
    "styled",
    "svg",
    "write_names",
]

P = ParamSpec("P")
T = TypeVar("T")

COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D1F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")

STYLE: dict[Any, Any] = {
    "font.size": 9.0,
    "font.family": "DejaVu Sans",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e6e6e6",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.titlesize": 10.0,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "svg.hashsalt": "xraytransfer",
    "svg.fonttype": "path",
}


def styled(draw: Callable[P, T]) -> Callable[P, T]:
    """Return a drawing function that uses `STYLE` and leaves matplotlib's global settings unchanged."""

    @wraps(draw)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        with rc_context(STYLE):
            return draw(*args, **kwargs)

    return wrapper


def svg(figure: Figure) -> str:
    """Return a figure as SVG; equal figures give equal text."""
    out = io.StringIO()
    with rc_context(STYLE):
        figure.savefig(out, format="svg", metadata={"Date": None, "Creator": None})
    return out.getvalue()


def panels(count: int, *, columns: int = 2, height: float, share_y: bool = False) -> tuple[Figure, list[Axes]]:
    """Return a figure of `count` panels, made without pyplot; `height` is that of one row in inches."""
    across = min(count, columns)
    down = -(-count // across)
    width = 8.6 if across > 1 else 6.4
    figure = Figure(figsize=(width, height * down + 0.4), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(down, across, squeeze=False, sharey=share_y)
    flat = list(grid.flat)
    for unused in flat[count:]:
        unused.set_axis_off()
    return figure, flat[:count]


def family_look(scores: Scores, family: str) -> tuple[str, str]:
    """Return a family's colour and marker, the same in every figure of a report."""
    index = list(dict.fromkeys(cell.family for cell in scores.cells)).index(family)
    return COLOURS[index % len(COLOURS)], MARKERS[index % len(MARKERS)]


def point(axis: Axes, scores: Scores, cell: Cell, x: float, interval: Interval) -> None:
    """Draw a number of a cell with its interval."""
    colour, marker = family_look(scores, cell.family)
    axis.errorbar(
        [x], [interval.value],
        [[max(interval.value - interval.lower, 0)], [max(interval.upper - interval.value, 0)]],
        color=colour, marker=marker, markersize=6, capsize=0, elinewidth=1.1, ecolor=(colour, 0.55),
        markerfacecolor=colour if cell.initialisation == "pretrained" else "white",
    )  # fmt: skip


def write_names(axis: Axes, cells: Sequence[Cell], points: Sequence[tuple[float, float]], *, log: bool = False) -> None:
    """Write short names beside points, lower where another name stands already."""
    short = _short_names(cells)
    xs = np.array([np.log10(x) if log else x for x, _ in points])
    ys = np.array([y for _, y in points])
    low, high = axis.get_ylim()
    wide, tall = max(float(np.ptp(xs)), 1e-9), high - low
    placed: list[tuple[float, float]] = []
    for index in np.argsort(-ys):
        across, up = float((xs[index] - xs.min()) / wide), float((ys[index] - low) / tall)
        length = 0.025 * (1 + len(short[index]))
        while any(abs(up - v) < 0.035 and -length < across - u < length for u, v in placed):
            up -= 0.008
        placed.append((across, up))
        axis.annotate(
            f"  {short[index]}", (points[index][0], low + up * tall), fontsize=7.5, color="#333333", va="center"
        )


def _short_names(cells: Sequence[Cell]) -> list[str]:
    """Return the part of each architecture's name that differs within its family: ``18`` of resnet18.

    The part is empty for an architecture that is alone in its family.
    """
    names: dict[str, set[str]] = {}
    for cell in cells:
        names.setdefault(cell.family, set()).add(cell.architecture)
    short = []
    for cell in cells:
        first, last = min(names[cell.family]), max(names[cell.family])
        equal = [a == b for a, b in zip(first, last, strict=False)]
        common = first[: equal.index(False) if False in equal else len(equal)].rstrip("0123456789")
        common = common[: common.rfind("_") + 1] if "_" in common else common.removesuffix("v")
        short.append(cell.architecture[len(common) :] if len(names[cell.family]) > 1 else "")
    return short


def family_legend(figure: Figure, scores: Scores, cells: Sequence[Cell]) -> None:
    """Add a legend of families above the panels."""
    names = list(dict.fromkeys(cell.family for cell in cells))
    handles = []
    for name in names:
        colour, marker = family_look(scores, name)
        handles.append(Line2D([], [], color=colour, marker=marker, linestyle="", markersize=5.5))
    figure.legend(
        handles, names, loc="outside upper left", ncols=min(6 if figure.get_figwidth() > 7 else 4, len(names))
    )


def log_axis(axis: Axes, values: Sequence[float]) -> None:
    """Make the x axis logarithmic with ticks at plain numbers within the range of the values."""
    low, high = min(values) / 1.35, max(values) * 1.35
    axis.set_xscale("log")
    axis.set_xlim(low, high)
    steps = [d * 10.0**e for e in range(-4, 4) for d in (1, 2, 5)]
    ticks = [step for step in steps if low <= step <= high]
    axis.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
    axis.minorticks_off()
