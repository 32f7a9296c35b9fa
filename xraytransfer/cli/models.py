"""``xraytransfer models``: list, show and verify model files."""

from __future__ import annotations

import json
from pathlib import Path

import click

from xraytransfer.constants import DEVICES
from xraytransfer.plural import counted

__all__ = ["models"]


@click.group()
def models() -> None:
    """List, show and verify model files."""


@models.command("list")
def list_models() -> None:
    """List the models that ship with the package."""
    from xraytransfer.model_file import describe, shipped_models

    for name, path in shipped_models().items():
        model = describe(path)
        size = path.stat().st_size / 1e6
        members = counted(len(model.members), "member")
        click.echo(f"{name}  version {model.version}  {members}  {size:.1f} MB  {model.sha256[:12]}")


@models.command()
@click.argument("model", default="default")
@click.option("--json", "as_json", is_flag=True, help="Print the whole metadata document.")
@click.option("--html", "as_html", is_flag=True, help="Print the card as a web page with its plots: > card.html.")
def show(model: str, as_json: bool, as_html: bool) -> None:
    """Show the card of MODEL: a shipped model's name or a model file."""
    from xraytransfer.errors import ModelFileError
    from xraytransfer.model_file import describe
    from xraytransfer.model_summary import checksum_line, summary

    description = describe(model)
    card = Path(description.path).with_suffix(".md")
    page = Path(description.path).with_suffix(".html")
    if as_json:
        click.echo(json.dumps(description.document, indent=2))
    elif as_html:
        if not page.is_file():
            raise ModelFileError(f"{page}: no such file; `xraytransfer export` writes it beside the model")
        click.echo(page.read_text("utf-8"))
    else:
        click.echo(
            f"{card.read_text('utf-8')}\n{checksum_line(description)}" if card.is_file() else summary(description)
        )


@models.command()
@click.argument("model", default="default")
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True, help="Where to score.")
@click.option(
    "--metrics",
    is_flag=False,
    flag_value="",
    metavar="[DATA]",
    help="Compute the card's numbers again from the stored test predictions; DATA, a folder that holds the test "
    "films, is scored again too.",
)
def verify(model: str, device: str, metrics: str | None) -> None:
    """Verify that MODEL is whole and scores.

    Metadata, the checksum of graph and weights, and the answers are checked.
    """
    from xraytransfer.model_summary import verified

    if metrics and not Path(metrics).is_dir():
        raise click.UsageError(f"--metrics {metrics}: no such folder")
    click.echo(verified(model, device))
    if metrics is not None:
        from xraytransfer.export.checks.metrics_check import verify_metrics

        verify_metrics(model, Path(metrics) if metrics else None, device=device, log=click.echo)
