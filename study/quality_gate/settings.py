"""The settings of a quality gate; the fields with a help text are options of ``study quality-gate``."""

from __future__ import annotations

from dataclasses import dataclass

import click

from xraytransfer.study.runs.option_fields import option

__all__ = ["QualityGateSettings"]


@dataclass(frozen=True)
class QualityGateSettings:
    """How a quality gate is trained.

    In addition to the help texts: `architecture` and `truncation` mean the same as in the grid of a study;
    `learning_rate` is the peak, from which the rate falls to zero as a cosine.
    """

    architecture: str = option("Name of an architecture.", "mobilenetv2_100")
    truncation: int = option("Number of its final stages to remove.", 3, type=click.IntRange(0, 4))
    side: int = option("Side of the pictures that it sees, in pixels.", 64, type=click.IntRange(32, 256))
    steps: int = option("Steps of the optimiser, of 64 films each.", 1200, type=click.IntRange(1))
    learning_rate: float = 1e-3
    seed: int = option("Seed of all random numbers.", 0, type=click.IntRange(0))
    left_out: str | None = option(
        "Do not train on this fault or kind of picture, but evaluate on it.", None, metavar="KIND"
    )
