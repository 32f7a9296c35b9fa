"""Pretrained weights: from a file, a folder of files, or timm's hub.

Files are safetensors in timm's layout, float16 or float32, never torch's pickles. The ImageNet classifier may be
absent, because it is replaced anyway.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import safetensors
import safetensors.torch
import timm
import torch

from xraytransfer.errors import StudyError
from xraytransfer.study.networks.architectures import ARCHITECTURES, Architecture

__all__ = ["file_sha256", "find_weights", "hub_weights", "read_weights"]


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def find_weights(architecture: Architecture, folder: Path) -> Path:
    """Return the file in `folder` that holds an architecture's weights.

    The file names are tried in this order: ``<timm name with tag>.safetensors``, ``<name>.safetensors``, and
    ``<timm name without tag>.safetensors``.

    Raises
    ------
    StudyError
        If the folder has none of them.
    """
    stems = dict.fromkeys((architecture.timm, architecture.name, architecture.timm.split(".")[0]))
    for stem in stems:
        path = folder / f"{stem}.safetensors"
        if path.is_file():
            return path
    tried = ", ".join(f"{stem}.safetensors" for stem in stems)
    raise StudyError(
        f"{folder}: no weights for {architecture.name} (tried {tried}); save timm's there with safetensors, "
        "leave --weights-dir out to load them from timm's hub, or take --initialisation random"
    )


def read_weights(architecture: Architecture, path: Path) -> dict[str, torch.Tensor]:
    """Read float32 tensors in timm's layout from a safetensors file.

    Raises
    ------
    StudyError
        If the file is no safetensors file, or is the file that belongs to another row. (The weights of ResNet v1,
        for example, would load into v1.5 without an error and give meaningless results.)
    """
    sha256 = file_sha256(path)
    owner = next((row.name for row in ARCHITECTURES if row.sha256 == sha256), architecture.name)
    if owner != architecture.name:
        raise StudyError(f"{path}: these are the weights of {owner}, not of {architecture.name}; train {owner} instead")
    try:
        tensors = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as error:
        raise StudyError(f"{path}: cannot be read as safetensors: {error}") from error
    return {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}


def hub_weights(architecture: Architecture) -> dict[str, torch.Tensor]:
    """Load an architecture's weights from timm's hub, or from its local cache.

    Raises
    ------
    StudyError
        If the hub cannot be reached, or does not have the weights.
    """
    try:
        model = timm.create_model(architecture.timm, pretrained=True)
    except (OSError, RuntimeError, ValueError) as error:
        raise StudyError(
            f"the weights {architecture.timm} cannot be loaded from timm's hub ({type(error).__name__}); "
            "go online once, or give a folder of safetensors files with --weights-dir, "
            "or take --initialisation random"
        ) from error
    state: dict[str, torch.Tensor] = model.state_dict()
    return state
