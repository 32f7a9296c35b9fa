"""Checkpoints: the best of a run, the state from which it resumes, and the average of weights.

Tensors are stored as safetensors, everything else as JSON: nothing is unpickled.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from xraytransfer.errors import StudyError
from xraytransfer.files import read_json, write_json, write_with
from xraytransfer.study.networks.weights import file_sha256

__all__ = [
    "Checkpoint", "load_resume", "load_tensors", "pack", "rank", "read_index", "save_checkpoint", "save_resume",
    "save_tensors", "soup", "unpack", "write_index",
]  # fmt: skip


@dataclass(frozen=True)
class Checkpoint:
    """One of the best checkpoints of a run.

    Attributes
    ----------
    step : int
        Optimiser steps taken.
    file : str
        Name below ``checkpoints/``.
    validation_auroc : float
        Macro AUROC on the validation patients.
    sha256 : str
        Checksum of the file.
    """

    step: int
    file: str
    validation_auroc: float
    sha256: str


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> str:
    """Write a file of tensors, whole or not at all; return its SHA-256."""
    plain = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    write_with(path, lambda temporary: save_file(plain, temporary))
    return file_sha256(path)


def load_tensors(path: Path, sha256: str) -> dict[str, Tensor]:
    """Read tensors from a file that must have this checksum.

    Raises
    ------
    StudyError
        If the file is absent or damaged.
    """
    if not path.is_file():
        raise StudyError(f"{path}: no such file; the run folder is incomplete")
    if file_sha256(path) != sha256:
        raise StudyError(f"{path}: damaged, its checksum is not the one that was noted when it was written")
    try:
        tensors: dict[str, Tensor] = load_file(path)
    except safetensors.SafetensorError as error:
        raise StudyError(f"{path}: cannot be read as safetensors: {error}") from error
    return tensors


def save_checkpoint(folder: Path, step: int, auroc: float, network: nn.Module) -> Checkpoint:
    """Write a network's weights into ``checkpoints/``."""
    file = f"step-{step:08d}.safetensors"
    return Checkpoint(step, file, auroc, save_tensors(folder / file, network.state_dict()))


def load_checkpoint(folder: Path, checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Read the weights of a checkpoint from ``checkpoints/``; errors as in `load_tensors`."""
    return load_tensors(folder / checkpoint.file, checkpoint.sha256)


def rank(checkpoints: Sequence[Checkpoint], keep: int) -> list[Checkpoint]:
    """Return the best `keep`, best first; of two that are equal the earlier comes first."""
    return sorted(checkpoints, key=lambda c: (-c.validation_auroc, c.step))[:keep]


def write_index(folder: Path, checkpoints: Sequence[Checkpoint]) -> None:
    """Write ``index.json``, then delete the weights that it does not name."""
    write_json(folder / "index.json", [asdict(checkpoint) for checkpoint in checkpoints])
    kept = {checkpoint.file for checkpoint in checkpoints}
    for path in folder.glob("step-*.safetensors"):
        if path.name not in kept:
            path.unlink(missing_ok=True)


def read_index(folder: Path) -> list[Checkpoint]:
    """Read ``index.json``, best first.

    Raises
    ------
    StudyError
        If it is absent or damaged.
    """
    rows = read_json(folder / "index.json")
    try:
        return [Checkpoint(**row) for row in rows]
    except TypeError as error:
        raise StudyError(f"{folder / 'index.json'}: damaged: {error}") from error


def soup(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of several networks' weights, as the weights of one network.

    Integers (counters) are those of the first. The mean makes sense only for checkpoints of one run.

    Raises
    ------
    StudyError
        If there is no state, or the states are of different networks.

    References
    ----------
    Wortsman et al., Model soups, ICML 2022.
    """
    if not states:
        raise StudyError("a soup needs at least one checkpoint")
    first = states[0]
    for other in states[1:]:
        if {k: v.shape for k, v in other.items()} != {k: v.shape for k, v in first.items()}:
            raise StudyError("checkpoints of different networks cannot be averaged")
    return {
        name: torch.stack([state[name].double() for state in states]).mean(0).to(value.dtype)
        if value.is_floating_point()
        else value.clone()
        for name, value in first.items()
    }


def save_resume(folder: Path, tensors: Mapping[str, Tensor], progress: Mapping[str, Any]) -> None:
    """Write the resume state: first a new file of tensors, then the JSON file that names it; then delete the old one.

    Whenever the process ends, ``state.json`` names a complete file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = f"state-{progress['step']:08d}-{progress['evaluated']:08d}.safetensors"
    sha256 = save_tensors(folder / file, tensors)
    write_json(folder / "state.json", {**progress, "file": file, "sha256": sha256})
    for path in folder.glob("state-*.safetensors"):
        if path.name != file:
            path.unlink(missing_ok=True)


def load_resume(folder: Path) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
    """Return the resume state, or None if there is none.

    Raises
    ------
    StudyError
        If it is damaged.
    """
    if not (folder / "state.json").is_file():
        return None
    progress = read_json(folder / "state.json")
    try:
        return load_tensors(folder / progress["file"], progress["sha256"]), progress
    except (StudyError, KeyError, TypeError) as error:
        raise StudyError(f"the run cannot be resumed: {error}; delete {folder} to start it anew") from error


def pack(network: nn.Module, average: nn.Module | None, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return all tensors of the resume state under flat names: network, moving average and optimiser."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    return tensors


def unpack(
    tensors: dict[str, Tensor], network: nn.Module, average: nn.Module | None, optimizer: torch.optim.Optimizer
) -> None:
    """Put back what `pack` returned, each tensor in the memory layout of its parameter."""

    def part(prefix: str) -> dict[str, Tensor]:
        return {name[len(prefix) :]: value for name, value in tensors.items() if name.startswith(prefix)}

    network.load_state_dict(part("network."))
    if average is not None:
        average.load_state_dict(part("average."))
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for name, value in part("optimizer.").items():
        index, _, key = name.partition(".")
        parameter = parameters[int(index)]
        moment = value.shape == parameter.shape and key != "step"
        optimizer.state[parameter][key] = torch.empty_like(parameter).copy_(value) if moment else value
