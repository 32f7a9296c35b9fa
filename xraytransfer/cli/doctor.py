"""``xraytransfer doctor``: one page on what works here."""

from __future__ import annotations

import click

__all__ = ["doctor"]


@click.command()
def doctor() -> None:
    """Print what works here: devices, models, decoders.

    Versions too; each device is tried for real. Exit code 3 if no film can be scored.
    """
    from xraytransfer.doctor import page

    text, works = page()
    click.echo(text)
    click.get_current_context().exit(0 if works else 3)
