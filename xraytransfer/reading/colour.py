"""Grey pictures that are stored in colour: three components, or a palette.

A film that passed through a converter, a screen capture or a journal often comes back as RGB or YBR with
equal channels, with a faint tint, or with a small coloured mark. It is read as grey. A picture of which more
than `COLOURED_SHARE` of the pixels are visibly coloured is no film.

References
----------
DICOM PS3.3 C.7.6.3.1.2 (photometric interpretation) and C.7.9 (palette colour look-up tables); ITU-R BT.601
(luma).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import RadiographError

__all__ = ["COLOURED_SHARE", "VISIBLE_SATURATION", "grey_of_components"]

VISIBLE_SATURATION = 16 / 255
"""Difference of the largest and the smallest channel, as a share of white, above which a pixel looks coloured."""

COLOURED_SHARE = 0.01
"""Share of coloured pixels above which a picture is a colour picture."""

# Luma of BT.601 in 1/65536, as Pillow computes it: equal channels come out unchanged.
_LUMA = (19595, 38470, 7471)
_BLOCK_ROWS = 64


def grey_of_components(
    components: NDArray[np.unsignedinteger[Any]], bits: int, *, may_be_ybr: bool = True
) -> tuple[NDArray[Any], list[str]]:
    """Return the grey picture in three components, which are red, green, blue or luma and two chromas.

    Which of the two they are is told by the pixels: in the right reading a film is grey. (Headers and the
    markers of JPEG files contradict each other too often to be asked.)

    Parameters
    ----------
    components : ndarray of uint8 or uint16, shape (rows, columns, 3)
        As stored.
    bits : int
        Bits of a component: white is ``2**bits - 1``.
    may_be_ybr : bool
        Whether the format can hold luma and chromas. PNG and palettes hold red, green, blue and nothing else.

    Returns
    -------
    grey : ndarray of the same type, shape (rows, columns)
    notes : list of str
        How much colour was found.

    Raises
    ------
    RadiographError
        colour.
    """
    limit = VISIBLE_SATURATION * ((1 << bits) - 1)
    rgb_share, rgb_largest = _saturation(components, limit, chroma=None)
    share, largest, is_ybr = rgb_share, rgb_largest, False
    if may_be_ybr and rgb_share:
        ybr_share, ybr_largest = _saturation(components, limit, chroma=1 << (bits - 1))
        if ybr_share < rgb_share:
            share, largest, is_ybr = ybr_share, ybr_largest, True
    if share > COLOURED_SHARE:
        raise RadiographError(
            "colour",
            f"a colour picture: {share:.0%} of its pixels are coloured; a film is grey. "
            "If it is a film, convert it to grey and score it again",
        )
    return (components[..., 0] if is_ybr else _luma(components)), [_describe(share, largest, bits)]


def _saturation(components: NDArray[Any], limit: float, *, chroma: int | None) -> tuple[float, int]:
    """Return the share of pixels above the limit, and the largest saturation; `chroma` is its grey level, if any."""
    coloured, largest = 0, 0
    for start in range(0, len(components), _BLOCK_ROWS):
        block = components[start : start + _BLOCK_ROWS].astype(np.int32)
        if chroma is None:
            saturation = block.max(axis=2) - block.min(axis=2)
        else:
            # Of the two chromas, the red one changes a channel by 1.402 times itself, the blue one by 1.772.
            saturation = (np.abs(block[..., 1:] - chroma) * np.array([1.772, 1.402])).max(axis=2).astype(np.int32)
        coloured += int((saturation > limit).sum())
        largest = max(largest, int(saturation.max()))
    return coloured / (components.shape[0] * components.shape[1]), largest


def _luma(components: NDArray[Any]) -> NDArray[Any]:
    grey = np.empty(components.shape[:2], components.dtype)
    for start in range(0, len(components), _BLOCK_ROWS):
        block = components[start : start + _BLOCK_ROWS].astype(np.int64)
        grey[start : start + _BLOCK_ROWS] = (block @ np.array(_LUMA) + 0x8000) >> 16
    return grey


def _describe(share: float, largest: int, bits: int) -> str:
    if largest == 0:
        return "three equal channels"
    levels = largest / ((1 << bits) - 1) * 255
    if share == 0:
        return f"a tint of up to {max(levels, 1):.0f} grey levels: converted to grey"
    return f"{max(share, 0.0001):.2%} of the pixels are coloured, such as a mark: converted to grey"
