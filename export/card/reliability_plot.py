"""The reliability plot as SVG: text that needs no plotting library, in the reader's own colours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from xraytransfer.export.card.square_plot import SquarePlot

__all__ = ["reliability_svg"]

Curve = Mapping[str, Sequence[float]]


def reliability_svg(curves: Mapping[str, Curve], title: str) -> str:
    """Return a square plot of share of positives against mean probability.

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
    plot = SquarePlot(min(1.0, (int(10 * max(shown, default=1.0)) + 1) / 10))
    x, y = plot.x, plot.y
    marks = []
    before, after = curves.get("uncalibrated"), curves.get("calibrated")
    if before:
        for p, share in zip(before["probability"], before["observed"], strict=True):
            marks.append(f'<circle cx="{x(p)}" cy="{y(share)}" r="3" fill="none" stroke="#b3541e"/>')
    if after:
        for p, share, low, high in zip(*(after[k] for k in ("probability", "observed", "lower", "upper")), strict=True):
            marks.append(f'<line x1="{x(p)}" y1="{y(low)}" x2="{x(p)}" y2="{y(high)}" stroke="#2b6cb0"/>')
            marks.append(f'<circle cx="{x(p)}" cy="{y(share)}" r="3.5" fill="#2b6cb0"/>')
    return plot.svg(title, "mean probability", "share of films", marks)
