"""The plots of the model card as SVG: ROC curves and reliability diagrams, drawn by matplotlib without a display.

Conventions
-----------
An SVG stands inside an HTML page among others and loads nothing: it refers to no other element, so it needs no
identifiers, and the same numbers give the same text. The background is white, so that a plot can be read on a dark
page too.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Circle

__all__ = ["reliability_svg", "roc_svg"]

Curve = Mapping[str, Sequence[float]]

_STYLE: dict[Any, Any] = {
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 8.0,
    "figure.facecolor": "white",
    "svg.fonttype": "none",  # text stays text, in a font of the reader's
    "svg.hashsalt": "xraytransfer",
}
_INCHES = (2.7, 2.8)
_CALIBRATED, _UNCALIBRATED = "#2b6cb0", "#b3541e"
_NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))


def roc_svg(curve: Mapping[str, Any], title: str) -> str:
    """Return a square plot of sensitivity against 1 - specificity.

    Parameters
    ----------
    curve : mapping
        ``false_positive`` and ``true_positive``: shares, of equal length.
    title : str
        Read out by screen readers.

    Returns
    -------
    str
        An ``svg`` element.
    """
    with rc_context(_STYLE):
        figure, axes = _square("1 − specificity", "sensitivity", 1.0)
        axes.plot(curve["false_positive"], curve["true_positive"], color=_CALIBRATED, clip_on=False, zorder=3)
        return _svg(figure, title)


def reliability_svg(curves: Mapping[str, Curve], title: str) -> str:
    """Return a square plot of the share of positive films against the mean probability.

    Parameters
    ----------
    curves : mapping
        ``calibrated`` and ``uncalibrated``, each with ``probability, observed, lower, upper``, in [0, 1].
    title : str
        Read out by screen readers.

    Returns
    -------
    str
        An ``svg`` element. Both axes end at the largest number shown, rounded up to a tenth: with rare
        observations a plot to 1 would be empty.
    """
    shown = [value for curve in curves.values() for key in ("probability", "observed", "upper") for value in curve[key]]
    end = min(1.0, (int(10 * max(shown, default=1.0)) + 1) / 10)
    with rc_context(_STYLE):
        figure, axes = _square("mean probability", "share of films", end)
        if before := curves.get("uncalibrated"):
            _circles(axes, before, end, fill=False, edgecolor=_UNCALIBRATED)
        if after := curves.get("calibrated"):
            axes.vlines(
                after["probability"], after["lower"], after["upper"], _CALIBRATED, lw=1, clip_on=False, zorder=3
            )
            _circles(axes, after, end, color=_CALIBRATED)
        return _svg(figure, title)


def _square(x_label: str, y_label: str, end: float) -> tuple[Figure, Axes]:
    """Return a figure of one square plot with its diagonal, both axes from 0 to `end`."""
    figure = Figure(figsize=_INCHES)
    axes = figure.add_axes((0.18, 0.16, 0.78, 0.78), aspect="equal", xlim=(0, end), ylim=(0, end))
    ticks = [0.0, end / 2, end]
    axes.set_xticks(ticks, [f"{value:.2g}" for value in ticks])
    axes.set_yticks(ticks, [f"{value:.2g}" for value in ticks])
    axes.tick_params(length=0)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    axes.plot([0, end], [0, end], color="black", linewidth=0.8, linestyle=(0, (4, 4)), clip_on=False)
    return figure, axes


def _circles(axes: Axes, curve: Curve, end: float, **look: Any) -> None:
    """Draw one circle for each bin, as a shape of its own: markers would be references to one shape."""
    for place in zip(curve["probability"], curve["observed"], strict=True):
        axes.add_patch(Circle(place, end / 65, clip_on=False, zorder=3, **look))


def _svg(figure: Figure, title: str) -> str:
    """Return the figure as an element for an HTML page."""
    out = io.StringIO()
    figure.savefig(out, format="svg", metadata=_NO_METADATA)
    element = out.getvalue().partition("<svg ")[2].strip()
    # several plots stand on one page, where the identifiers that matplotlib counts up would not be unique
    element = re.sub(r' id="[^"]*"', "", element)
    head, _, body = element.partition(">")
    head = re.sub(r' (width|height)="[^"]*"', "", f" {head}").strip()
    return f'<svg role="img" {head}><title>{html.escape(title)}</title>{body}'
