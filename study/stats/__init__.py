"""Computes statistics from arrays, without files or networks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["Floats"]

Floats = NDArray[np.float64]
"""A float64 array of any shape."""
