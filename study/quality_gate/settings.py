"""The settings of a quality gate; the fields with a help text are options of ``study quality-gate``."""

from __future__ import annotations

from dataclasses import dataclass, field

import click

from xraytransfer.study.runs.option_fields import option

__all__ = ["QualityGateSettings"]


@dataclass(frozen=True)
class QualityGateSettings:
    """How a quality gate is trained.

    In addition to the help texts: `architecture` and `truncation` mean the same as in the grid of a study;
    `learning_rate` is the peak, from which the rate falls to zero as a cosine.
    """

    architecture: str = field(default="mobilenetv2_100", metadata=option("Name of a row."))
    truncation: int = field(default=3, metadata=option("Final stages removed of it.", type=click.IntRange(0, 4)))
    side: int = field(
        default=64, metadata=option("Side of the pictures that it sees, in pixels.", type=click.IntRange(32, 256))
    )
    steps: int = field(
        default=1200, metadata=option("Steps of the optimiser, of 64 films each.", type=click.IntRange(1))
    )
    learning_rate: float = 1e-3
    seed: int = field(default=0, metadata=option("Seed of all random numbers.", type=click.IntRange(0)))
    left_out: str | None = field(
        default=None,
        metadata=option("Do not train on this fault or kind of picture, but evaluate on it.", metavar="KIND"),
    )
