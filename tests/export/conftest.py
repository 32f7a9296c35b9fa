"""Fixtures of the export: two finished runs, and traces of toy networks that are made once."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest


@pytest.fixture(scope="session")
def toy_runs(made_up_films: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Return two finished run folders of timm's miniatures, with 3 and 2 checkpoints, on 300 made-up films."""
    root = tmp_path_factory.mktemp("study")
    shutil.copytree(made_up_films, root / "films")
    return _toy_runs(root, root, (3, 2), "resolution=64")


@pytest.fixture(scope="session")
def coarse_run(toy_runs: list[Path]) -> Path:
    """Return a finished run of toy_runs's films at 48 px, with one checkpoint."""
    root = toy_runs[0].parents[1]
    return _toy_runs(root, root / "coarse", (1, 1), "resolution=48")[1]


def _toy_runs(root: Path, results: Path, checkpoints: tuple[int, int], change: str) -> list[Path]:
    """Place and finish one run of each miniature."""
    pytest.importorskip("timm")
    from xraytransfer.study.runs.grid import Grid
    from xraytransfer.study.runs.grid_runs import place_runs
    from xraytransfer.study.training.presets import parse_changes

    grid = Grid(
        data="nih",
        folder=root / "films",
        results=results,
        architectures=("toy_resnet", "toy_efficientnet"),
        initialisations=("random",),
        preset="tiny",
        changes=parse_changes((change,)),
        fractions=(0.4, 0.3, 0.3),
    )
    folders = place_runs(grid)
    for folder, count in zip(folders, checkpoints, strict=True):
        _finish_run(folder, count)
    return folders


def _finish_run(folder: Path, count: int) -> None:
    """Write what training would have left: checkpoints, predictions, done.json."""
    import torch

    from xraytransfer.files import read_json, write_json
    from xraytransfer.study.data.predictions import predictions_of, write_predictions
    from xraytransfer.study.data.run_data import load_data
    from xraytransfer.study.training.checkpoints import save_checkpoint, write_index
    from xraytransfer.study.training.run_folder import Run

    config = read_json(folder / "config.json")
    (folder / "checkpoints").mkdir()
    torch.manual_seed(count)
    network = Run(folder, config, [], {}).empty_network()
    data, kept, said = load_data(config), [], []
    pixels = torch.from_numpy(np.array(data.pixels[:, None])).float()
    with torch.no_grad():
        network.train()(pixels[:64])  # batch statistics that fit the films
        for index in range(count):
            network.eval().head.weight.mul_(1.05)
            kept.append(save_checkpoint(folder / "checkpoints", 10 * index + 10, 0.6 - 0.01 * index, network))
            said.append(torch.sigmoid(network(pixels)).numpy())
    write_index(folder / "checkpoints", kept)
    probability = np.stack(said, axis=1)
    for split in ("validation", "test"):
        rows = data.rows[split]
        parts = (config["outputs"], data.label[rows], probability[rows], [row.step for row in kept])
        write_predictions(folder / "predictions" / f"{split}.npz", predictions_of(data.table.subset(rows), *parts))
    write_json(folder / "done.json", {"best_validation_auroc": 0.6})


@pytest.fixture(scope="session")
def remembered_traces() -> Iterator[None]:
    """Let torch trace each toy network once for all tests: ten seconds each otherwise."""
    pytest.importorskip("onnxscript")
    from xraytransfer.export.graph import to_onnx

    known: dict[Any, Any] = {}
    real = to_onnx.trace

    def trace(network: Any, resolution: tuple[int, int]) -> Any:
        key = (to_onnx.structure(network), resolution)
        if key not in known:
            known[key] = real(network, resolution)
        return known[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(to_onnx, "trace", trace)
        yield
