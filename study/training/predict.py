"""What networks say of rows of a cache: one network, and at a run's end all that it kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xraytransfer.files import write_with
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.study.data.predictions import predictions_of, write_predictions
from xraytransfer.study.data.run_data import RunData
from xraytransfer.study.networks.network import Network
from xraytransfer.study.training.checkpoints import Checkpoint, load_tensors, soup
from xraytransfer.study.training.metrics_file import macro_and_each

__all__ = ["EVALUATION_BATCH", "np_save", "predict_rows", "predict_splits"]

EVALUATION_BATCH = 64
"""Films that are predicted at a time."""


def predict_rows(
    network: nn.Module,
    pixels: NDArray[np.uint8],
    rows: NDArray[np.intp],
    device: torch.device,
    stop: Callable[[], None],
) -> NDArray[np.float32]:
    """Return probabilities of some rows of a cache, float32 arithmetic, shape (rows, outputs)."""
    network.eval()
    parts = []
    with torch.inference_mode():
        for start in range(0, len(rows), EVALUATION_BATCH):
            stop()
            x = torch.from_numpy(pixels[rows[start : start + EVALUATION_BATCH]])[:, None].to(device).float()
            parts.append(network(x.contiguous(memory_format=torch.channels_last)).sigmoid().float().cpu())
    return torch.cat(parts).numpy()


def np_save(path: Path, array: NDArray[np.float32]) -> None:
    """Write an array in one step."""

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
        The run's. What is predicted is kept in ``predictions/parts`` until all is, so that a kill costs little.
    outputs : list of str
        Observations trained.
    data : RunData
        The films.
    checkpoints : list of Checkpoint
        Best first.
    network : Network
        Their architecture, on its device; its weights are overwritten.
    splits : sequence of str
        Of ``validation`` and ``test``.
    stop : callable
        Raises where the process was asked to end.

    Returns
    -------
    dict
        AUROCs of the ensemble and of the soup on each split, for done.json.
    """
    parts = folder / "predictions" / "parts"
    device = network.head.weight.device
    done: dict[str, Any] = {"best_validation_auroc": checkpoints[0].validation_auroc}

    def weights(checkpoint: Checkpoint) -> dict[str, Tensor]:
        return load_tensors(folder / "checkpoints" / checkpoint.file, checkpoint.sha256)

    def predict(part: Path, rows: NDArray[np.intp], state: Callable[[], dict[str, Tensor]]) -> NDArray[np.float32]:
        if not part.is_file():
            network.load_state_dict(state())
            np_save(part, predict_rows(network, data.pixels, rows, device, stop))
        probability: NDArray[np.float32] = np.load(part, allow_pickle=False)
        return probability

    for split in splits:
        rows = data.rows[split]
        members = [
            predict(parts / f"{split}-{checkpoint.step:08d}.npy", rows, partial(weights, checkpoint))
            for checkpoint in checkpoints
        ]
        mixed = predict(parts / f"{split}-soup.npy", rows, lambda: soup([weights(c) for c in checkpoints]))
        predictions = predictions_of(
            data.table.subset(rows),
            outputs,
            data.label[rows],
            np.stack(members, axis=1),
            [checkpoint.step for checkpoint in checkpoints],
            soup=mixed,
        )
        write_predictions(folder / "predictions" / f"{split}.npz", predictions)
        judged = [k for k, name in enumerate(outputs) if name in {o.identifier for o in OBSERVATIONS}]
        names = [outputs[k] for k in judged]
        for key, probability in ((f"{split}_auroc", predictions.ensemble()), (f"soup_{split}_auroc", mixed)):
            macro, each = macro_and_each(predictions.label[:, judged], probability[:, judged])
            done[key] = {
                name: None if math.isnan(value) else round(value, 6)
                for name, value in zip(["macro", *names], [macro, *each], strict=True)
            }
    for path in parts.glob("*.npy"):
        path.unlink()
    parts.rmdir()
    return done
