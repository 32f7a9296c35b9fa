"""Options of a command made from the fields of a dataclass, so that name, default and help are written once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

import click

__all__ = ["Option", "add_options", "field_options", "option"]

Option = Callable[[Any], Any]
"""A decorator that adds an option to a command."""


def option(help_text: str, **settings: Any) -> dict[str, Any]:
    """Return the metadata of a field that is an option: its help text and other arguments of `click.option`.

    ``flag`` is the name of the option where it is not that of the field.

    A field with a default of None or of an empty tuple shows no default: its help text says what absence means.
    """
    return {"help": help_text, **settings}


def field_options(settings: type) -> dict[str, Option]:
    """Return the options of a dataclass: field -> option, in the order of its fields.

    A field without a default is required, one whose default is False is a flag, and one whose default is a tuple may
    be given several times, unless its metadata set ``nargs``.
    """
    return {field.name: _field_option(field, field.metadata) for field in fields(settings) if field.metadata}


def _field_option(field: Field[Any], metadata: Mapping[str, Any]) -> Option:
    arguments: dict[str, Any] = {"required": field.default is MISSING, **metadata}
    flag = arguments.pop("flag", f"--{field.name.replace('_', '-')}")
    if field.default is False:
        arguments["is_flag"] = True
    elif field.default is not MISSING:
        arguments = {"multiple": isinstance(field.default, tuple) and "nargs" not in metadata, **arguments}
        if field.default not in (None, ()):
            arguments |= {"default": field.default, "show_default": True}
    return click.option(flag, field.name, **arguments)


def add_options(*options: Option) -> Option:
    """Return a decorator that adds options to a command, in this order."""

    def decorate(command: Any) -> Any:
        for one in reversed(options):
            command = one(command)
        return command

    return decorate
