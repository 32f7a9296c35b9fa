"""Options: the command line's options, made from the fields of a settings dataclass, so that each is written once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

import click

from xraytransfer.usage_errors import as_usage_error

__all__ = ["FILE", "add_options", "option", "settings_from"]

T = TypeVar("T")

FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
"""Click type of an option that names an existing file."""
_KEY = "option"


@dataclass(frozen=True)
class _Option:
    """A field's option: its flag, how its value becomes the field's, and what Click is told."""

    flag: str
    convert: Callable[[Any], Any]
    click_options: dict[str, Any]

    @property
    def parameter(self) -> str:
        """The name that Click gives the option's value."""
        return self.flag.lstrip("-").replace("-", "_")


def option(
    flag: str,
    default: Any = MISSING,
    *,
    help: str,
    scale: int = 1,
    convert: Callable[[Any], Any] | None = None,
    secret: bool = False,
    **click_options: Any,
) -> Any:
    """Return a dataclass field that is also a command-line option.

    Parameters
    ----------
    flag : str
        Such as ``--queue-size``.
    default : object, optional
        The field's. False makes the option a flag, a tuple makes it repeatable; a number or a text is the option's
        default too. Absent: the field is required, and the option is None where it is not given.
    help : str
        The option's help, and the field's documentation.
    scale : int
        The field holds the option's value times this.
    convert : callable, optional
        Makes the field's value from the option's.
    secret : bool
        Whether to leave the value out of the dataclass's `repr`.
    **click_options
        For `click.option`.
    """
    if isinstance(default, tuple):
        click_options["multiple"] = True
    elif default is False:
        click_options["is_flag"] = True
    elif convert is None and default not in (MISSING, None):
        click_options |= {"default": default if scale == 1 else default // scale, "show_default": True}
    if convert is None:
        convert = _unchanged if scale == 1 else lambda value: value * scale
    metadata = {_KEY: _Option(flag, convert, {**click_options, "help": help})}
    return field(default=default, repr=not secret, metadata=metadata)


def _unchanged(value: Any) -> Any:
    return value


def add_options(settings: type[Any]) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that gives a Click command the options of a settings dataclass, in its order."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        for entry in reversed(_options(settings).values()):
            command = click.option(entry.flag, **entry.click_options)(command)
        return command

    return decorate


def settings_from(settings: type[T], values: dict[str, Any]) -> T:
    """Return settings made from the values of a command's options.

    Raises
    ------
    click.UsageError
        The settings refuse the values.
    """
    converted = {name: entry.convert(values[entry.parameter]) for name, entry in _options(settings).items()}
    with as_usage_error():
        return settings(**converted)


def _options(settings: type[Any]) -> dict[str, _Option]:
    """Return the options of a settings dataclass by field name."""
    return {field.name: field.metadata[_KEY] for field in fields(settings) if _KEY in field.metadata}
