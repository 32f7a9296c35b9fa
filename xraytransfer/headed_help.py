"""The help text of a command with many options: it lists them under headings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

__all__ = ["HeadedCommand"]


class HeadedCommand(click.Command):
    """A command whose help text lists its options under headings.

    Parameters
    ----------
    headings : mapping
        Heading -> names of parameters. An option of another name is listed under ``Options``, the last heading.
    """

    def __init__(self, *args: Any, headings: Mapping[str, tuple[str, ...]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.headings = headings

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options by heading, each in the order in which it was declared."""
        headings = {name: heading for heading, names in self.headings.items() for name in names}
        listed: dict[str, list[tuple[str, str]]] = {}
        for parameter in self.get_params(ctx):
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)):
                listed.setdefault(headings.get(str(parameter.name), "Options"), []).append(record)
        for heading in (*self.headings, "Options"):
            if heading in listed:
                with formatter.section(heading):
                    formatter.write_dl(listed[heading])
