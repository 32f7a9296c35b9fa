"""Soft shapes from which phantoms are drawn, and the exposure that turns attenuation into a film.

Conventions
-----------
A `Field` is a float array, shape (size, size). Masks are soft: 1 inside, 0 outside, with a short slope between.
All fields are float32, because ``tanh`` and ``exp`` take most of the time of drawing.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

__all__ = ["Field", "bar", "cloud", "edge", "ellipse", "expose", "grid"]

Field = NDArray[np.floating[Any]]


def expose(attenuation: Field, generator: np.random.Generator, portable: bool) -> NDArray[np.uint8]:
    """Return the film after exposure, blur and quantum noise: uint8, shape (size, size)."""
    size = len(attenuation)
    light = np.exp(-1.1 * attenuation * generator.uniform(0.9, 1.15))
    picture = Image.fromarray((np.clip(light, 0, 1) * 255).round().astype(np.uint8))
    blurred = np.asarray(picture.filter(ImageFilter.GaussianBlur(size * 0.0025)), np.float32) / 255
    quanta = 260.0 if portable else 520.0
    detected = generator.poisson(np.clip(blurred, 0, None) * quanta) / quanta
    uneven = 0.03 * (cloud(generator, size, 3) - 0.5)
    film = np.clip(1 - detected + uneven, 0, 1) ** generator.uniform(0.85, 1.2)
    film += generator.normal(0, 0.008, film.shape)
    pixels: NDArray[np.uint8] = (np.clip(film, 0, 1) * 255).round().astype(np.uint8)
    return pixels


def grid(size: int) -> tuple[Field, Field]:
    """Return y and x of the pixel centres."""
    centre = (np.arange(size, dtype=np.float32) + 0.5) / size
    y, x = np.meshgrid(centre, centre, indexing="ij")
    return y, x


def edge(distance: Field, softness: float) -> Field:
    """Return a soft mask: 1 far inside (distance > 0), 0 far outside."""
    mask: Field = 0.5 * (1 + np.tanh(distance / softness))
    return mask


def ellipse(x: Field, y: Field, centre: tuple[float, float], radii: tuple[float, float], softness: float) -> Field:
    """Return a soft ellipse; softness is a share of its radius."""
    return edge(1 - np.hypot((x - centre[0]) / radii[0], (y - centre[1]) / radii[1]), max(softness, 1e-3))


def bar(distance: Field, half: float) -> Field:
    """Return the profile across a rib: a band that is denser at its two edges."""
    inside: Field = np.exp(-((distance / half) ** 4))
    profile: Field = inside * (0.75 + 0.5 * np.clip(np.abs(distance) / half, 0, 1))
    return profile


def cloud(generator: np.random.Generator, size: int, grain: int) -> Field:
    """Return smooth noise in [0, 1] with features of about ``1 / grain``."""
    total = np.zeros((size, size), np.float32)
    for octave, weight in ((grain, 1.0), (2 * grain, 0.5)):
        small = Image.fromarray(generator.random((octave, octave)).astype(np.float32))
        total += weight * np.asarray(small.resize((size, size), Image.Resampling.BICUBIC), np.float32)
    smooth: Field = np.clip(total / 1.5, 0, 1)
    return smooth
