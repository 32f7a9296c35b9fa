"""Command ``xraytransfer study judge``: train the network that says which films may be scored.

Light on purpose: everything heavy is imported inside the command's body.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

__all__ = ["judge"]

FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command()
@click.option("--data", type=click.Choice(["chexpert", "nih", "csv"]), required=True, help="Layout of the data set.")
@click.option("--folder", type=FOLDER, required=True, help="The data set.")
@click.option(
    "--mapping", type=click.Path(exists=True, dir_okay=False, path_type=Path), help="Mapping file, for --data csv."
)
@click.option("--others", type=FOLDER, required=True, help="Pictures of other things, one folder for each kind.")
@click.option("--unseen", type=FOLDER, help="More of them that are only judged, never learned from.")
@click.option("--out", type=click.Path(file_okay=False, path_type=Path), required=True, help="Folder of the judge.")
@click.option(
    "--cache", type=click.Path(file_okay=False, path_type=Path), help="Folder of caches. [default: OUT/cache]"
)
@click.option("--resolution", type=click.IntRange(32, 512), default=128, show_default=True, help="Of the cache.")
@click.option(
    "--intensity",
    type=click.Choice(["voi", "minmax", "chexpert"]),
    default="voi",
    show_default=True,
    help="Intensity recipe.",
)
@click.option("--salt", default="xraytransfer", show_default=True, help="Of the split; that of the model's runs.")
@click.option(
    "--evaluation-minimum-width",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Films made from narrower pictures are not judged.",
)
@click.option(
    "--weights-dir",
    "weights",
    type=click.Path(exists=True, path_type=Path),
    help="Folder of pretrained weights, NAME.safetensors. [default: timm's hub]",
)
@click.option("--architecture", default="mobilenetv2_100", show_default=True, help="Name of a row.")
@click.option(
    "--truncation", type=click.IntRange(0, 4), default=3, show_default=True, help="Final stages removed of it."
)
@click.option("--side", type=click.IntRange(32, 256), default=64, show_default=True, help="Pixels that it looks at.")
@click.option("--steps", type=click.IntRange(1), default=1200, show_default=True, help="Of 64 films each.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Decides all that is drawn.")
@click.option("--left-out", metavar="KIND", help="Never learn from this fault or kind of thing, but judge it.")
@click.option("--threads", type=click.IntRange(1), help="Threads on the CPU. [default: torch's choice]")
def judge(
    others: Path, unseen: Path | None, out: Path, weights: Path | None, threads: int | None, **options: Any
) -> None:
    """Train the judge of films, for `export --judge`.

    Interrupt and repeat it as you like.
    """
    import torch

    from xraytransfer.study.quality_gate.training import JudgeSettings, judge_config, train_judge

    if threads is not None:
        torch.set_num_threads(threads)
    names = ("architecture", "truncation", "side", "steps", "seed", "left_out")
    settings = JudgeSettings(**{name: options.pop(name) for name in names})
    config = judge_config(out, **options)
    document = train_judge(out, config, others, settings, unseen=unseen, weights=weights, say=click.echo)
    for row in document["evaluation"]:
        click.echo(f"{row['what']}: {row['accepted']} of {row['films']} accepted, {row['named']} named right")
