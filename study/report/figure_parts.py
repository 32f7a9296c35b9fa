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
from itertools import product
from typing import Any, ParamSpec, TypeVar, cast

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patheffects import withStroke
from matplotlib.text import Text
from matplotlib.transforms import Bbox

from xraytransfer.study.analysis.cells import Cell, Scores
from xraytransfer.study.stats import Floats
from xraytransfer.study.stats.bootstrap import Interval

__all__ = [
    "COLOURS",
    "MARKERS",
    "PARAMETERS",
    "family_legend",
    "family_look",
    "fitted_line",
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

PARAMETERS = "parameters, millions (logarithmic)"

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


def write_names(
    axis: Axes,
    cells: Sequence[Cell],
    points: Sequence[tuple[float, float]],
    *,
    whole: bool = False,
    others: Sequence[tuple[float, float]] = (),
) -> None:
    """Write short names beside points, or whole labels, each at the first of several places that is free.

    The limits of the axis must be final, and the figure's layout is fixed by the first call.
    """
    figure = cast(Figure, axis.figure)
    figure.canvas.draw()
    figure.set_layout_engine("none")
    renderer = cast(Any, figure.canvas).get_renderer()
    directions = ABOVE_FRONT if whole else DIRECTIONS
    short, at = _short_names(cells), axis.transData.transform(points)
    area = axis.bbox.padded(2)
    taken = [Bbox.from_bounds(x - 4, y - 4, 8, 8) for x, y in at]
    taken += [
        Bbox.from_bounds(x - 4, y - 4, 8, 8)
        for x, y in axis.transData.transform(others or points)
        if [x, y] not in at.tolist()
    ]
    for index in np.argsort(-at[:, 1]):
        text = cells[index].label.partition(",")[0] if whole else short[index]
        if not text:
            continue
        for distance, (across, up) in product(DISTANCES, directions):
            name = axis.annotate(
                text, points[index], (across * distance, up * distance), textcoords="offset points", fontsize=7.5,
                color="#333333", path_effects=[withStroke(linewidth=2, foreground="white")], va="center",
                ha={-1: "right", 0: "center", 1: "left"}[across],
                arrowprops={"arrowstyle": "-", "color": "#999999", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
                if distance > 7 else None,
            )  # fmt: skip
            name.update_positions(renderer)  # an annotation moves its text only when it is drawn
            # widths differ by a few pixels between this renderer and SVG
            box = Text.get_window_extent(name, renderer).padded(2)
            inside = area.contains(*box.min) and area.contains(*box.max)
            if inside and not any(box.overlaps(other) for k, other in enumerate(taken) if k != index):
                break
            if (distance, across, up) != (DISTANCES[-1], *directions[-1]):
                name.remove()
        taken.append(box)


DISTANCES = (7, 12, 18, 25, 33, 42, 52, 64)
"""Points between a point and its name."""

DIRECTIONS = ((1, 0), (-1, 0), (1, 1), (1, -1), (-1, 1), (-1, -1), (0, 1), (0, -1))
"""Where a name may stand: to the right first."""

ABOVE_FRONT = ((-1, 1), (-1, 0), (0, 1), (1, 1), (1, -1), (1, 0), (0, -1), (-1, -1))
"""Where the name of a network on the front may stand: to the upper left first, where the front never is."""


def fitted_line(axis: Axes, x: Sequence[float], y: Sequence[float], replicates: Floats, *, log: bool = False) -> None:
    """Draw the least-squares line through the points, and the band of such lines over other patients.

    `replicates` is float64, shape (replicates, points): y in each replicate of the patients.
    """
    places = np.log10(x) if log else np.asarray(x, float)
    if len(np.unique(places)) < 3:
        return
    rows = replicates[~np.isnan(replicates).any(axis=1)]
    ends = np.linspace(places.min(), places.max(), 50)
    shown = 10**ends if log else ends
    slope, level = np.polyfit(places, y, 1)
    axis.plot(shown, slope * ends + level, color="#444444", linewidth=1.0, zorder=1)
    if len(rows):
        slopes, levels = np.polyfit(places, rows.T, 1)
        low, high = np.quantile(slopes[:, None] * ends + levels[:, None], [0.025, 0.975], axis=0)
        axis.fill_between(shown, low, high, color="#444444", alpha=0.10, linewidth=0, zorder=0)


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
