"""The reliability plot as SVG: text that needs no plotting library, in the reader's own colours."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

__all__ = ["reliability_svg"]

_SIDE = 240
_LEFT, _TOP = 38, 8
_PLOT = _SIDE - _LEFT - _TOP

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
    end = min(1.0, (int(10 * max(shown, default=1.0)) + 1) / 10)

    def x(value: float) -> str:
        return f"{_LEFT + _PLOT * value / end:.1f}"

    def y(value: float) -> str:
        return f"{_TOP + _PLOT * (1 - min(value, end) / end):.1f}"

    parts = [
        f'<line x1="{x(0)}" y1="{y(0)}" x2="{x(end)}" y2="{y(end)}" stroke="currentColor" stroke-dasharray="4 4"/>'
    ]
    parts.append(f'<rect x="{x(0)}" y="{y(end)}" width="{_PLOT}" height="{_PLOT}" fill="none" stroke="currentColor"/>')
    for value in (0.0, end / 2, end):
        label = f"{value:.2g}"
        parts.append(f'<text x="{x(value)}" y="{_SIDE - 14}" text-anchor="middle">{label}</text>')
        parts.append(f'<text x="{_LEFT - 5}" y="{y(value)}" dy="4" text-anchor="end">{label}</text>')
    before, after = curves.get("uncalibrated"), curves.get("calibrated")
    if before:
        for p, share in zip(before["probability"], before["observed"], strict=True):
            parts.append(f'<circle cx="{x(p)}" cy="{y(share)}" r="3" fill="none" stroke="#b3541e"/>')
    if after:
        for p, share, low, high in zip(*(after[k] for k in ("probability", "observed", "lower", "upper")), strict=True):
            parts.append(f'<line x1="{x(p)}" y1="{y(low)}" x2="{x(p)}" y2="{y(high)}" stroke="#2b6cb0"/>')
            parts.append(f'<circle cx="{x(p)}" cy="{y(share)}" r="3.5" fill="#2b6cb0"/>')
    parts.append(f'<text x="{_LEFT + _PLOT / 2}" y="{_SIDE - 1}" text-anchor="middle">mean probability</text>')
    return (
        f'<svg viewBox="0 0 {_SIDE} {_SIDE}" role="img" font-size="11" fill="currentColor">'
        f"<title>{html.escape(title)}</title>{''.join(parts)}</svg>"
    )
