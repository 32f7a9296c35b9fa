"""The members' weights as safetensors files, for people who train on from them."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

from safetensors.torch import save_file

from xraytransfer.errors import ExportError
from xraytransfer.export.members import Ensemble
from xraytransfer.files import write_with

__all__ = ["write_member_weights"]


def write_member_weights(ensemble: Ensemble, folder: Path) -> list[Path]:
    """Write the weights of each member, float32, as they were before precision was lowered.

    Parameters
    ----------
    ensemble : Ensemble
        The members.
    folder : Path
        Is made; files of the same names are replaced.

    Returns
    -------
    list of Path
        ``member0.safetensors`` and so on, in the order of the members. The names of the tensors are those of
        `xraytransfer.study.networks.network.Network`; the metadata hold, as JSON under ``member``, the member's row of
        the model file: architecture, truncation, resolution, checkpoints.

    Raises
    ------
    ExportError
        The folder cannot be written.
    """
    paths = [folder / f"member{index}.safetensors" for index in range(len(ensemble.members))]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, member in zip(paths, ensemble.members, strict=True):
            state = {name: value.contiguous() for name, value in member.network.state_dict().items()}
            metadata = {"member": json.dumps(member.description)}
            write_with(path, partial(save_file, state, metadata=metadata))
    except OSError as error:
        raise ExportError(f"{folder}: the members' weights cannot be written: {error.strerror or error}") from error
    return paths
