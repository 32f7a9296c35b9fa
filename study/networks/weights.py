"""Pretrained weights: from a file, a folder of files, or timm's hub.

Files are safetensors in timm's layout, float16 or float32, never torch's pickles. The ImageNet classifier may be
absent, because it is replaced anyway.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import huggingface_hub
import safetensors
import safetensors.torch
import timm
import torch
from huggingface_hub.errors import EntryNotFoundError, HTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

from xraytransfer.errors import StudyError
from xraytransfer.study.networks.architectures import ARCHITECTURES, Architecture

__all__ = ["check_hub_weights", "file_sha256", "find_weights", "hub_weights", "read_weights"]

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


def check_hub_weights(rows: Sequence[Architecture]) -> None:
    """Check that each row's weights are in the local cache or on timm's hub; load and download nothing.

    The hub is asked about the rows that the cache lacks. If it cannot be reached once, it is not asked again.

    Raises
    ------
    StudyError
        Naming all rows that timm has no weights for, that the hub lacks, or that neither can be reached nor are cached.
    """
    absent, unreachable = [], []
    for row in rows:
        found = _on_hub(row, ask=not unreachable)
        if found is False:
            absent.append(row.name)
        elif found is None:
            unreachable.append(row.name)
    cure = "give a folder of safetensors files with --weights-dir, or take --initialisation random"
    if absent:
        raise StudyError(f"timm's hub has no weights for {', '.join(absent)}; {cure}")
    if unreachable:
        raise StudyError(
            f"the weights of {', '.join(unreachable)} are not in the local cache of timm's hub, and the hub cannot be "
            f"reached; go online once, {cure}"
        )


def _on_hub(row: Architecture, *, ask: bool) -> bool | None:
    """Return whether the cache or the hub has the weights; None if the hub cannot be reached or is not to be asked."""
    try:
        source = timm.get_pretrained_cfg(row.timm, allow_unregistered=False)
    except RuntimeError:
        return False
    if source is None or not source.has_weights:
        return False
    if not source.hf_hub_id:  # a file or an address, which timm reads without the hub
        return True
    repository, _, revision = source.hf_hub_id.partition("@")
    names = (source.hf_hub_filename,) if source.hf_hub_filename else HUB_FILES
    if any(_in_cache(repository, name, revision or None) for name in names):
        return True
    return _asked(repository, names, revision or None) if ask else None


def _in_cache(repository: str, name: str, revision: str | None) -> bool:
    """Return whether the local cache of the hub holds a file."""
    try:
        huggingface_hub.hf_hub_download(repository, name, revision=revision, local_files_only=True)
    except LocalEntryNotFoundError:
        return False
    return True


def _asked(repository: str, names: Sequence[str], revision: str | None) -> bool | None:
    """Ask the hub whether it has one of the files; None if it does not answer."""
    for name in names:
        address = huggingface_hub.hf_hub_url(repository, name, revision=revision)
        try:
            huggingface_hub.get_hf_file_metadata(address, timeout=HUB_SECONDS)
        except EntryNotFoundError:
            continue
        except RepositoryNotFoundError:
            return False
        except (HTTPError, OSError):  # HTTPError is the base of all errors of the hub's HTTP library
            return None
        return True
    return False
