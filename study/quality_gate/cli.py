"""Command ``xraytransfer study quality-gate``: train the network that says which films may be scored.

The module is light: everything heavy is imported in the body of the command.
"""

from __future__ import annotations

import copy
from dataclasses import fields
from pathlib import Path
from typing import Any

import click

from xraytransfer.study.quality_gate.settings import QualityGateSettings
from xraytransfer.study.runs.grid import EXISTING_FOLDER, FOLDER, GRID_OPTIONS, Grid
from xraytransfer.study.runs.option_fields import add_options, field_options

__all__ = ["judge", "quality_gate"]


@click.command("quality-gate")
@add_options(*(GRID_OPTIONS[name] for name in ("data", "folder", "mapping")))
@click.option(
    "--others", type=EXISTING_FOLDER, required=True, help="Pictures of other things, one folder for each kind."
)
@click.option("--unseen", type=EXISTING_FOLDER, help="More such pictures, for evaluation only.")
@click.option(
    "--films",
    type=EXISTING_FOLDER,
    help="Films of further sources, USE/VIEW/SOURCE/PATIENT/*: USE is train, limits or judge, VIEW frontal, lateral, "
    "projected-frontal, projected-lateral or projected-turned.",
)
@click.option("--out", type=FOLDER, required=True, help="Folder of the quality gate.")
@click.option("--cache", type=FOLDER, help="Folder of caches. [default: OUT/cache]")
@click.option(
    "--resolution", type=click.IntRange(32, 512), default=128, show_default=True, help="Resolution of the cache."
)
@click.option("--salt", default=Grid.salt, show_default=True, help="Salt of the split; take that of the model's runs.")
@add_options(*(GRID_OPTIONS[name] for name in ("intensity", "evaluation_minimum_width", "weights")))
@add_options(*field_options(QualityGateSettings).values())
@click.option("--threads", type=click.IntRange(1), help="Threads on the CPU. [default: torch's choice]")
def quality_gate(others: Path, out: Path, weights: Path | None, threads: int | None, **options: Any) -> None:
    """Train the quality gate of a model, for `export --quality-gate`.

    You may interrupt the command and repeat it.
    """
    import torch

    from xraytransfer.study.quality_gate.training import quality_gate_config, train_quality_gate

    if threads is not None:
        torch.set_num_threads(threads)
    unseen, films = options.pop("unseen"), options.pop("films")
    settings = QualityGateSettings(
        **{field.name: options.pop(field.name) for field in fields(QualityGateSettings) if field.name in options}
    )
    config = quality_gate_config(Grid(results=out, architectures=(), **options))
    document = train_quality_gate(
        out, config, others, settings, unseen=unseen, films=films, weights=weights, log=click.echo
    )
    for row in document["evaluation"]:
        click.echo(f"{row['what']}: {row['accepted']} of {row['films']} accepted, {row['named']} named right")


judge = copy.copy(quality_gate)
"""The command under its name of version 0.1."""
judge.name, judge.hidden, judge.deprecated = "judge", True, "Use `xraytransfer study quality-gate`."
