"""Pretrained weights: from a file, a folder of files, or timm's hub.

Files are safetensors in timm's layout, float16 or float32, never torch's pickles. The ImageNet classifier may be
absent, because it is replaced anyway.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import huggingface_hub
import safetensors
import safetensors.torch
import timm
import torch
from huggingface_hub.errors import EntryNotFoundError, RepositoryNotFoundError

from xraytransfer.errors import StudyError
from xraytransfer.study.networks.architectures import ARCHITECTURES, Architecture

__all__ = [
    "check_hub_weights",
    "check_same_weights",
    "describe_weights",
    "file_sha256",
    "find_weights",
    "hub_weights",
    "read_weights",
]

HUB_FILES = ("model.safetensors", "pytorch_model.bin")
"""Names under which timm's hub holds weights, in the order in which timm tries them."""
HUB_SECONDS = 10.0
"""Seconds to wait for an answer of the hub."""


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def find_weights(architecture: Architecture, folder: Path) -> Path:
    """Return the file in `folder` that holds an architecture's weights; `folder` itself where it is a file.

    The file names are tried in this order: ``<timm name with tag>.safetensors``, ``<name>.safetensors``, and
    ``<timm name without tag>.safetensors``.

    Raises
    ------
    StudyError
        If the folder has none of them.
    """
    if folder.is_file():
        return folder
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


def describe_weights(architecture: Architecture, folder: Path) -> dict[str, str]:
    """Return the ``weights`` part of config.json: the folder or file, and the SHA-256 of the architecture's file.

    Raises
    ------
    StudyError
        If the folder has no weights of the architecture.
    """
    path = find_weights(architecture, folder)
    status = path.stat()
    return {"path": str(folder.resolve()), "sha256": _sha256_once(path, status.st_size, status.st_mtime_ns)}


@lru_cache(maxsize=64)
def _sha256_once(path: Path, size: int, modified_ns: int) -> str:
    """Return the SHA-256 of a file, which a grid asks for once for each of its runs."""
    return file_sha256(path)


def check_same_weights(architecture: Architecture, weights: Mapping[str, Any]) -> None:
    """Check that the file of weights is still the one that a run was planned with.

    Parameters
    ----------
    architecture : Architecture
        Whose weights.
    weights : mapping
        The ``weights`` part of config.json. Without ``sha256``, as older versions wrote it, nothing is checked.

    Raises
    ------
    StudyError
        If the file is another one, or is absent.
    """
    if (planned := weights.get("sha256")) is None:
        return
    path = find_weights(architecture, Path(weights["path"]))
    if (found := file_sha256(path)) != planned:
        raise StudyError(
            f"{path}: has other weights than the run was planned with (SHA-256 {found[:12]}, planned {planned[:12]}); "
            "put the planned file back, or plan the run in another results folder"
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


def check_hub_weights(rows: Sequence[Architecture]) -> None:
    """Check that each row's weights are in the local cache or on timm's hub; load and download nothing.

    The hub is asked about the rows that the cache lacks. If it does not answer once, it is not asked again.

    Raises
    ------
    StudyError
        Naming all rows that timm or the hub has no weights for, or all that are not cached while the hub is silent.
    """
    absent: list[str] = []
    unknown: list[str] = []
    reason = ""
    for row in rows:
        files = _hub_files(row)
        if files is None or any(_in_cache(file) for file in files):
            continue
        if reason:
            unknown.append(row.name)
            continue
        try:
            if not any(_on_hub(file) for file in files):
                absent.append(row.name)
        except Exception as error:  # noqa: BLE001 - the hub's client raises what its HTTP library does, and that changes
            reason = type(error).__name__
            unknown.append(row.name)
    cure = "give a folder of safetensors files with --weights-dir, or take --initialisation random"
    if absent:
        raise StudyError(f"timm's hub has no weights for {', '.join(absent)}; {cure}")
    if unknown:
        raise StudyError(
            f"the weights of {', '.join(unknown)} are not in the local cache of timm's hub, and the hub cannot be "
            f"reached ({reason}); go online once, {cure}"
        )


HubFile = tuple[str, str, str | None]
"""Repository, name and revision of a file on the hub."""


def _hub_files(row: Architecture) -> list[HubFile] | None:
    """Return the files of which timm takes the first; empty if it has no such weights, None if it reads others."""
    try:
        source = timm.get_pretrained_cfg(row.timm, allow_unregistered=False)
    except RuntimeError:
        return []
    if source is None or not source.has_weights:
        return []
    if not source.hf_hub_id:  # timm loads these from another address, or from a file
        return None
    repository, _, revision = source.hf_hub_id.partition("@")
    names = (source.hf_hub_filename,) if source.hf_hub_filename else HUB_FILES
    return [(repository, name, revision or None) for name in names]


def _in_cache(file: HubFile) -> bool:
    """Return whether the local cache of the hub holds a file."""
    repository, name, revision = file
    return isinstance(huggingface_hub.try_to_load_from_cache(repository, name, revision=revision), str)


def _on_hub(file: HubFile) -> bool:
    """Ask the hub whether it has a file."""
    repository, name, revision = file
    address = huggingface_hub.hf_hub_url(repository, name, revision=revision)
    try:
        huggingface_hub.get_hf_file_metadata(address, timeout=HUB_SECONDS)
    except (EntryNotFoundError, RepositoryNotFoundError):
        return False
    return True
