"""Usage: a mistake in the options is the caller's, whichever part of the program finds it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import click

from xraytransfer.errors import XrayTransferError

__all__ = ["as_usage_error"]


@contextmanager
def as_usage_error() -> Iterator[None]:
    """Turn our errors into Click's: exit code 2, wrong usage, while nothing but options is looked at."""
    try:
        yield
    except XrayTransferError as error:
        raise click.UsageError(str(error)) from error
