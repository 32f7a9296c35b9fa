"""The range of a film's own values, without burned-in marks and defective detector elements."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from xraytransfer.errors import RadiographError
from xraytransfer.reading.grey_rule import Rule, blocks, grid, present
from xraytransfer.reading.pixel_format import Words
from xraytransfer.reading.transforms import Values

__all__ = ["OwnRange", "extremes", "own_range", "stretch"]

# Values further from the central 98 % of the film than a fifth of their range are no part of the film's own range.
_OUTLIER_SHARE = 0.01
_OUTLIER_DISTANCE = 0.2


@dataclass(frozen=True)
class OwnRange:
    """The smallest and largest value of a film, outliers left out."""

    low: float
    high: float
    notes: tuple[str, ...] = ()


def stretch(low: float, high: float) -> Callable[[Values], Values]:
    """Return the function that maps values from `low` to `high` to the range from 0 to 1."""
    return lambda values: (values - low) / (high - low)


def extremes(words: Words, rule: Rule, low: float, high: float) -> tuple[float, float] | None:
    """Return the smallest and largest value of the film from `low` to `high`; None if there is none."""
    ranges = []
    for block in [present(words)] if words.itemsize <= 2 else (block for _, block in blocks(words)):
        values, padded = rule.values(block)
        values = values[(values >= low) & (values <= high) & (True if padded is None else ~padded)]
        if values.size:
            ranges.append((float(values.min()), float(values.max())))
    return (min(low for low, _ in ranges), max(high for _, high in ranges)) if ranges else None


def own_range(words: Words, rule: Rule) -> OwnRange:
    """Return the film's own range.

    Raises
    ------
    RadiographError
        The film has one value only (``constant``), or is nothing but padding (``invalid-attribute``).
    """
    whole = extremes(words, rule, -np.inf, np.inf)
    if whole is None:
        raise RadiographError("invalid-attribute", "Pixel Padding Value and its Range Limit cover every pixel")
    if whole[0] == whole[1]:
        raise RadiographError("constant", "every pixel of the film has the same value")
    values, padded = rule.values(grid(words))
    values = values if padded is None else values[~padded]
    if values.size:
        first, last = np.quantile(values, [_OUTLIER_SHARE, 1 - _OUTLIER_SHARE])
        reach = _OUTLIER_DISTANCE * (last - first)
        low, high = first - reach, last + reach
        has_outliers = reach > 0 and (whole[0] < low or whole[1] > high)
        inner = extremes(words, rule, low, high) if has_outliers else None
        if inner is not None and inner[0] < inner[1]:
            note = (
                f"values reach from {whole[0]:g} to {whole[1]:g}, nearly all lie from {inner[0]:g} to {inner[1]:g}: "
                "the grey levels are stretched over these"
            )
            return OwnRange(*inner, (note,))
    return OwnRange(*whole)
