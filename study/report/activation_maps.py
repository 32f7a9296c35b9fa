"""Example films with class activation maps laid over them, at each truncation.

Truncated networks keep a larger last map, so they point more finely. The films are test films that show the
observation and for which the whole network gives the highest probability: examples, not a measurement.
This module needs torch, a run's checkpoints, its data folder and its cache.
"""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from xraytransfer.errors import StudyError
from xraytransfer.overlay import overlay
from xraytransfer.study.analysis.cells import Cell, Scores
from xraytransfer.study.analysis.question_truncation import series
from xraytransfer.study.analysis.table import printed
from xraytransfer.study.report.figure_parts import panels, styled
from xraytransfer.study.training.run_folder import load_run

__all__ = ["draw_maps", "example_films"]

SIDE = 256
"""Side of a drawn film in pixels."""


def example_films(cell: Cell) -> dict[str, int]:
    """Return one test film for each finding: the positive one with the highest probability.

    Parameters
    ----------
    cell : Cell
        The whole network whose probabilities are compared.

    Returns
    -------
    dict
        Observation to row among the test films; observations without a positive are left out, and so is No
        Finding, which has no location.
    """
    test = cell.runs[0].test
    films = {}
    for k, name in enumerate(test.observations):
        positive = np.flatnonzero(test.label[:, k] == 1)
        if name != "no_finding" and positive.size:
            films[str(name)] = int(positive[np.argmax(test.ensemble[positive, k])])
    return films


def draw_maps(scores: Scores, fallback: Cell) -> tuple[bytes, str]:
    """Draw example maps: a row for each truncation, a column for each finding.

    Parameters
    ----------
    scores : Scores
        All cells; the architecture with the most truncations is drawn, pretrained before random.
    fallback : Cell
        The cell that is drawn alone where nothing was truncated.

    Returns
    -------
    tuple of (bytes, str)
        PNG, and a caption.

    Raises
    ------
    StudyError
        The checkpoints, the data or the cache no longer exist, or no film shows a finding.
    ImportError
        torch or timm is not installed.
    """
    networks = series(scores) or [[fallback]]
    cells = max(networks, key=lambda cells: (cells[0].initialisation == "pretrained", len(cells)))
    films = example_films(cells[0])
    if not films:
        raise StudyError("no test film shows a finding")
    pixels = _pixels(cells[0], list(films.values()))
    maps = [_maps(cell, list(films), pixels) for cell in cells]
    caption = (
        f"{cells[0].architecture}, {cells[0].initialisation}: class activation maps of the best checkpoint "
        "(first seed). Each column is a test film labelled with the observation; each map is scaled to its maximum; "
        "a film without colour is one where nothing spoke for the observation."
    )
    return _draw(cells, list(films), pixels, maps), caption


def _pixels(cell: Cell, rows: list[int]) -> NDArray[np.uint8]:
    """Return the pixels of some test films from the cache: uint8, shape (films, rows, columns)."""
    from xraytransfer.study.data.run_data import load_data

    run = cell.runs[0]
    data = load_data(run.config)
    positions = {name: index for index, name in enumerate(data.table.image)}
    pixels: NDArray[np.uint8] = np.stack([data.pixels[positions[run.test.image[row]]] for row in rows])
    return pixels


def _maps(cell: Cell, names: list[str], pixels: NDArray[np.uint8]) -> list[NDArray[np.float32]]:
    """Return each film's map of its own observation."""
    import torch

    run = load_run(cell.runs[0].folder)
    network = run.load_network(run.checkpoints[0])
    with torch.inference_mode():
        _, activation = network.forward_with_map(torch.from_numpy(pixels)[:, None].float())
    columns = [run.config["outputs"].index(name) for name in names]
    return [activation[film, column].numpy() for film, column in enumerate(columns)]


@styled
def _draw(
    cells: list[Cell], names: list[str], pixels: NDArray[np.uint8], maps: list[list[NDArray[np.float32]]]
) -> bytes:
    """Return the grid of pictures as PNG."""
    films = [np.asarray(Image.fromarray(film).resize((SIDE, SIDE), Image.Resampling.BICUBIC)) for film in pixels]
    rows = [("film", films)]
    for cell, activation in zip(cells, maps, strict=True):
        side = "\N{MULTIPLICATION SIGN}".join(str(n) for n in activation[0].shape)
        title = f"{cell.truncation} removed" if cell.truncation else "whole"
        pictures = [np.asarray(overlay(film, heat, size=None)) for film, heat in zip(films, activation, strict=True)]
        rows.append((f"{title}\n{side}", pictures))
    figure, axes = panels(len(rows) * len(names), columns=len(names), height=1.75)
    for index, axis in enumerate(axes):
        row, column = divmod(index, len(names))
        axis.imshow(rows[row][1][column], cmap="gray", vmin=0, vmax=255)
        axis.set_xticks([])
        axis.set_yticks([])
        for spine in axis.spines.values():
            spine.set_visible(False)
        if column == 0:
            axis.set_ylabel(rows[row][0])
        if row == 0:
            axis.set_title(printed(names[column]), fontsize=9)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=120, metadata={"Software": None})
    return out.getvalue()
