"""Predictions of networks for rows of a cache: of one network, and at the end of a run of all that it kept."""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xraytransfer.files import write_with
from xraytransfer.study.data.placement import FilmPixels
from xraytransfer.study.data.predictions import predictions_of, write_predictions
from xraytransfer.study.data.run_data import RunData
from xraytransfer.study.networks.network import Network
from xraytransfer.study.training.checkpoints import Checkpoint, load_checkpoint, soup
from xraytransfer.study.training.metrics_file import macro_and_each, observed_columns

__all__ = ["EVALUATION_BATCH", "predict_rows", "predict_splits", "save_array"]

EVALUATION_BATCH = 64
"""Films that are predicted at a time."""


def predict_rows(
    network: nn.Module,
    pixels: FilmPixels,
    rows: NDArray[np.intp],
    device: torch.device,
    stop: Callable[[], None],
) -> NDArray[np.float32]:
    """Return probabilities of some rows of a cache, from float32 arithmetic, shape (rows, outputs)."""
    network.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), EVALUATION_BATCH):
            stop()
            x = torch.from_numpy(pixels[rows[start : start + EVALUATION_BATCH]])[:, None].to(device).float()
            parts.append(network(x.contiguous(memory_format=torch.channels_last)).sigmoid().float().cpu())
    return torch.cat(parts).numpy()


def save_array(path: Path, array: NDArray[np.float32]) -> None:
    """Write an array, whole or not at all."""

    def write(temporary: Path) -> None:
        with temporary.open("wb") as file:
            np.save(file, array, allow_pickle=False)

    write_with(path, write)


def predict_splits(
    folder: Path,
    outputs: list[str],
    data: RunData,
    checkpoints: list[Checkpoint],
    network: Network,
    *,
    splits: Sequence[str],
    stop: Callable[[], None],
) -> dict[str, Any]:
    """Predict the films of some splits with every kept checkpoint and with the mean of their weights.

    Parameters
    ----------
    folder : Path
        The run folder. Predictions are kept in ``predictions/parts`` until all are there, so that a kill costs little.
    outputs : list of str
        Observations that the run trained.
    data : RunData
        The films.
    checkpoints : list of Checkpoint
        Best first.
    network : Network
        A network of their architecture, on its device; its weights are overwritten.
    splits : sequence of str
        Some of ``validation`` and ``test``.
    stop : callable
        Raises `Interrupted` if the process was asked to end.

    Returns
    -------
    dict
        For done.json: the AUROCs of the ensemble and of the soup on each split.
    """
    parts = folder / "predictions" / "parts"
    device = network.head.weight.device
    done: dict[str, Any] = {"best_validation_auroc": checkpoints[0].validation_auroc}
    weights = partial(load_checkpoint, folder / "checkpoints")

    def predict(split: str, name: str, state: Callable[[], dict[str, Tensor]]) -> NDArray[np.float32]:
        part = parts / f"{split}-{name}.npy"
        if not part.is_file():
            network.load_state_dict(state())
            save_array(part, predict_rows(network, data.pixels, data.rows[split], device, stop))
        probability: NDArray[np.float32] = np.load(part, allow_pickle=False)
        return probability

    for split in splits:
        members = [predict(split, f"{kept.step:08d}", partial(weights, kept)) for kept in checkpoints]
        mixed = predict(split, "soup", lambda: soup([weights(kept) for kept in checkpoints]))
        rows = data.rows[split]
        films, label, probability = data.table.subset(rows), data.label[rows], np.stack(members, axis=1)
        steps = [kept.step for kept in checkpoints]
        predictions = predictions_of(films, outputs, label, probability, steps, soup=mixed)
        write_predictions(folder / "predictions" / f"{split}.npz", predictions)
        done[f"{split}_auroc"] = _auroc_row(outputs, predictions.label, predictions.ensemble())
        done[f"soup_{split}_auroc"] = _auroc_row(outputs, predictions.label, mixed)
    shutil.rmtree(parts)
    return done


def _auroc_row(
    outputs: list[str], label: NDArray[np.float32], probability: NDArray[np.float32]
) -> dict[str, float | None]:
    """Return the macro AUROC and that of each of the six observations; None where it is undefined."""
    observed = observed_columns(outputs)
    macro, each = macro_and_each(label[:, observed], probability[:, observed])
    names = ["macro", *(outputs[k] for k in observed)]
    return {
        name: None if math.isnan(value) else round(value, 6) for name, value in zip(names, [macro, *each], strict=True)
    }
