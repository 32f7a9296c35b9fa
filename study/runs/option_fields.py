"""Options of a command made from the fields of a dataclass, so that name, default and help are written once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, field, fields
from typing import Any

import click

__all__ = ["Option", "add_options", "field_options", "option"]

Option = Callable[[Any], Any]
"""A decorator that adds an option to a command."""


def option(help_text: str, default: Any = MISSING, **settings: Any) -> Any:
    """Return a field of a dataclass that is an option too.

    Parameters
    ----------
    help_text : str
        What the field means.
    default : object
        Without a default the option is required. None and the empty tuple are not shown as defaults: the help text
        says what absence means. False makes a flag.
    **settings
        Other arguments of `click.option`, and ``flag``, the name of the option where it is not that of the field. A
        field whose default is a tuple may be given several times, unless there is ``nargs``.
    """
    settings |= {"help": help_text, "required": default is MISSING}
    if default is False:
        settings["is_flag"] = True
    elif default not in (MISSING, None, ()):
        settings |= {"default": default, "show_default": True}
    if isinstance(default, tuple) and "nargs" not in settings:
        settings["multiple"] = True
    return field(default=default, metadata=settings)


def field_options(settings: type) -> dict[str, Option]:
    """Return the options of a dataclass: field -> option, in the order of its fields."""
    options = {}
    for one in fields(settings):
        if one.metadata:
            flag = one.metadata.get("flag", f"--{one.name.replace('_', '-')}")
            arguments = {key: value for key, value in one.metadata.items() if key != "flag"}
            options[one.name] = click.option(flag, one.name, **arguments)
    return options


def add_options(*options: Option) -> Option:
    """Return a decorator that adds options to a command, in this order."""

    def decorate(command: Any) -> Any:
        for one in reversed(options):
            command = one(command)
        return command

    return decorate
