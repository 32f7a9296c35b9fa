"""Errors that wrong options cause, as usage errors of the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from xraytransfer.errors import XrayTransferError

__all__ = ["as_usage_error"]


@contextmanager
def as_usage_error() -> Iterator[None]:
    """Turn the package's errors into usage errors (exit code 2); for code that checks nothing but options."""
    try:
        yield
    except XrayTransferError as error:
        raise click.UsageError(str(error)) from error
