"""Help texts of ``study plan``, ``cache``, ``prepare`` and ``run``: options under headings, and an example."""

from __future__ import annotations

from typing import Any

import click

from xraytransfer.headed_help import HeadedCommand

__all__ = ["GridCommand", "GridGroup"]

HEADINGS = {
    "Films": (
        "data", "folder", "mapping", "views", "label_policy", "corrections", "corrections_folder", "intensity",
        "resolution", "cache", "allow_missing", "workers",
    ),
    "Patients": ("split", "fractions", "salt", "evaluation_minimum_width", "half", "keep_test"),
    "Networks": ("architectures", "architecture_file", "initialisations", "truncations", "seeds", "weights", "head"),
    "Training": ("preset", "changes", "teachers", "teacher_share"),
    "Machine": ("device", "slots", "threads", "retries", "seconds"),
}  # fmt: skip
"""Heading -> names of options; an option of another name is listed under ``Options``."""

WHERE = "--data chexpert --folder CheXpert-v1.0-small --results results"
EXAMPLES = {
    "plan": f"xraytransfer study plan {WHERE} --architecture study --preset paper",
    "cache": f"xraytransfer study cache {WHERE} --preset paper --workers 8",
    "prepare": f"xraytransfer study prepare {WHERE} --architecture resnet18 --seed 0 --seed 1",
    "run": f"xraytransfer study run {WHERE} --architecture resnet18 --truncation 0 --truncation 1 --slots 2",
}
"""Command -> a call of it."""


class GridCommand(HeadedCommand):
    """A command whose help puts the options of a grid under headings and ends with an example."""

    def __init__(self, name: str | None, **kwargs: Any) -> None:
        super().__init__(name, headings=HEADINGS if name in EXAMPLES else {}, **kwargs)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the example of a command that has one."""
        super().format_epilog(ctx, formatter)
        if example := EXAMPLES.get(str(self.name)):
            with formatter.section("Example"):
                formatter.write_text(example)


class GridGroup(click.Group):
    """A group whose commands are `GridCommand`."""

    command_class = GridCommand
