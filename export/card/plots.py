"""The frame of the card's plots: a square with both axes from 0 to one end, as SVG that needs no plotting library."""

from __future__ import annotations

import html
from collections.abc import Sequence

__all__ = ["SquarePlot"]

_SIDE = 260
_LEFT, _TOP, _BOTTOM = 48, 8, 36
_PLOT = _SIDE - _LEFT - _TOP


class SquarePlot:
    """A square plot in the reader's own colours.

    Parameters
    ----------
    end : float
        Where both axes end; they begin at 0.
    """

    def __init__(self, end: float) -> None:
        self._end = end

    def x(self, value: float) -> str:
        """Return a value's place from left to right."""
        return f"{_LEFT + _PLOT * value / self._end:.1f}"

    def y(self, value: float) -> str:
        """Return a value's place from top to bottom; values beyond the end stand on the frame."""
        return f"{_TOP + _PLOT * (1 - min(value, self._end) / self._end):.1f}"

    def svg(self, title: str, across: str, upwards: str, marks: Sequence[str]) -> str:
        """Return an ``svg`` element.

        Parameters
        ----------
        title : str
            Read out by screen readers.
        across, upwards : str
            What the axes show.
        marks : sequence of str
            SVG elements drawn over the frame, their places from `x` and `y`.
        """
        end = self._end
        middle, foot = _LEFT + _PLOT / 2, _TOP + _PLOT
        parts = [
            f'<line x1="{self.x(0)}" y1="{self.y(0)}" x2="{self.x(end)}" y2="{self.y(end)}" stroke="currentColor" '
            f'stroke-dasharray="4 4"/>',
            f'<rect x="{_LEFT}" y="{_TOP}" width="{_PLOT}" height="{_PLOT}" fill="none" stroke="currentColor"/>',
        ]
        for value in (0.0, end / 2, end):
            label = f"{value:.2g}"
            parts.append(f'<text x="{self.x(value)}" y="{foot + 14}" text-anchor="middle">{label}</text>')
            parts.append(f'<text x="{_LEFT - 5}" y="{self.y(value)}" dy="4" text-anchor="end">{label}</text>')
        parts.append(f'<text x="{middle}" y="{foot + 29}" text-anchor="middle">{html.escape(across)}</text>')
        turned = f'transform="rotate(-90 12 {_TOP + _PLOT / 2})"'
        parts.append(f'<text x="12" y="{_TOP + _PLOT / 2}" {turned} text-anchor="middle">{html.escape(upwards)}</text>')
        return (
            f'<svg viewBox="0 0 {_SIDE} {_TOP + _PLOT + _BOTTOM}" role="img" font-size="11" fill="currentColor">'
            f"<title>{html.escape(title)}</title>{''.join(parts)}{''.join(marks)}</svg>"
        )
