"""``xraytransfer models``: list, show, verify and copy model files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from xraytransfer.constants import DEVICES
from xraytransfer.plural import counted

__all__ = ["models"]


@click.group()
def models() -> None:
    """List, show, verify and copy model files."""


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
@click.option("--html", "as_html", is_flag=True, help="Print the card as a web page with plots; add > card.html.")
def show(model: str, as_json: bool, as_html: bool) -> None:
    """Show the card of MODEL: a shipped model's name or a model file."""
    from xraytransfer.model_file import describe
    from xraytransfer.model_summary import card, page

    if as_json and as_html:
        raise click.UsageError("--json and --html cannot be combined")
    description = describe(model)
    if as_json:
        click.echo(json.dumps(description.document, indent=2))
    else:
        click.echo(page(description) if as_html else card(description))


@models.command()
@click.argument("model", default="default")
@click.option("--device", type=click.Choice(DEVICES), default="auto", show_default=True, help="Where to score.")
@click.option(
    "--metrics",
    is_flag=False,
    flag_value="",
    metavar="[DATA]",
    help="Compute the card's numbers again from the stored test predictions. If you give DATA, a folder with the test "
    "films, they are scored again too.",
)
@click.option(
    "--external",
    nargs=2,
    multiple=True,
    type=(
        click.Path(exists=True, dir_okay=False, path_type=Path),
        click.Path(exists=True, file_okay=False, path_type=Path),
    ),
    metavar="MAPPING FOLDER",
    help="With --metrics: also compute the numbers of this external test again.",
)
def verify(model: str, device: str, metrics: str | None, external: tuple[tuple[Path, Path], ...]) -> None:
    """Verify that MODEL is complete and scores rightly.

    Metadata, the checksum of graph and weights, the answers and the self-test are checked.
    """
    from xraytransfer.model_summary import verified

    if metrics and not Path(metrics).is_dir():
        raise click.UsageError(f"--metrics {metrics}: no such folder")
    if external and metrics is None:
        raise click.UsageError("--external needs --metrics")
    click.echo(verified(model, device))
    if metrics is not None:
        from xraytransfer.export.checks.metrics_check import verify_metrics

        folder = Path(metrics) if metrics else None
        verify_metrics(model, folder, external=external, device=device, log=click.echo)


FILE = click.Path(dir_okay=False, path_type=Path)


@models.command()
@click.argument("model")
@click.option("-o", "--output", type=FILE, required=True, help="The copy.")
@click.option("--type", "kind", type=click.Choice(["uint8", "float32"]), default="uint8", show_default=True,
              help="Type of the input; grey levels are 0 to 255 in both.")  # fmt: skip
@click.option("--float32-weights", is_flag=True, help="Store float16 weights as float32, which doubles the size.")
@click.option("--overwrite", is_flag=True, help="Replace the copy if it exists.")
def fixed(model: str, output: Path, **options: Any) -> None:
    """Write a copy of MODEL that takes films only at the model's resolution.

    It is for ncnn, OpenCV, CoreML and other programs that cannot compute with shapes, or that resize films themselves.
    """
    _require_onnx()
    from xraytransfer.export.file_copies import fixed_copy

    fixed_copy(model, output, log=click.echo, **options)


@models.command()
@click.argument("model")
@click.option("-o", "--output", type=FILE, required=True, help="The copy.")
@click.option("--overwrite", is_flag=True, help="Replace the copy if it exists.")
def renew(model: str, output: Path, overwrite: bool) -> None:
    """Convert MODEL, a file of version 0.1, into a file of this version.

    The new file is resized rightly by every runtime, and has a self-test.
    """
    _require_onnx()
    from xraytransfer.export.file_copies import renewed_copy

    renewed_copy(model, output, overwrite=overwrite, log=click.echo)


@models.command()
@click.argument("model", default="default")
@click.option("-o", "--output", type=click.Path(file_okay=False, path_type=Path), required=True,
              help="The model repository; other models in it stay.")  # fmt: skip
@click.option("--overwrite", is_flag=True, help="Replace a model of the same name in it.")
def triton(model: str, output: Path, overwrite: bool) -> None:
    """Write a model repository for Triton that serves MODEL.

    Triton batches all requests only if MODEL has a fixed input; `xraytransfer models fixed` makes such a copy.
    """
    from xraytransfer.export.triton import write_repository

    click.echo(f"Triton: {write_repository(model, output, overwrite=overwrite)}")


@models.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--original", help="The model from which FILE was made.  [default: the shipped model that it names]")
@click.option("-o", "--output", type=FILE, help="The new file.  [default: FILE is replaced]")
@click.option("--overwrite", is_flag=True, help="Replace the new file if it exists.")
def seal(file: Path, original: str | None, output: Path | None, overwrite: bool) -> None:
    """Write description and checksum into FILE, which a graph tool changed.

    FILE is refused if it does not give the answers of the original any more.
    """
    _require_onnx()
    from xraytransfer.export.file_copies import seal as seal_file

    seal_file(file, original=original, out=output, overwrite=overwrite, log=click.echo)


def _require_onnx() -> None:
    """Refuse with the pip command where the package onnx is absent."""
    from importlib.util import find_spec

    from xraytransfer.errors import MissingExtraError

    if find_spec("onnx") is None:
        raise MissingExtraError("onnx", "onnx")
