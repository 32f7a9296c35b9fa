"""A model repository for NVIDIA's Triton Inference Server.

References
----------
Triton Inference Server, Model Configuration; its schema is ``model_config.proto``.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from xraytransfer.errors import ExportError
from xraytransfer.files import write_bytes
from xraytransfer.model_file import INPUT, ModelDescription, read

__all__ = ["check_name", "check_place", "config_text", "write_repository"]

_PREFERRED_BATCHES = (8, 16, 32)
_LARGEST_BATCH = 64
_QUEUE_DELAY_MICROSECONDS = 2000
"""Two milliseconds: less than one film takes to decode, enough for a batch to gather under load."""


def check_name(name: str) -> None:
    """Refuse a model's name that is no name for a folder of Triton's.

    Raises
    ------
    ExportError
        It has other characters than letters, digits, points, dashes and underscores.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", name):
        raise ExportError(f"{name!r} cannot name a Triton model; export with --name of letters and digits")


def check_place(repository: Path, name: str, overwrite: bool) -> None:
    """Refuse a repository that holds a model of this name already, unless it may be replaced.

    Raises
    ------
    ExportError
        It holds one.
    """
    if not overwrite and (repository / name).exists():
        raise ExportError(f"{repository / name}: exists; --overwrite replaces it")


def write_repository(model: str | Path, repository: Path, *, overwrite: bool = False) -> Path:
    """Write ``REPOSITORY/NAME/config.pbtxt`` and ``REPOSITORY/NAME/1/model.onnx``.

    Parameters
    ----------
    model : str or Path
        A model file or the name of a shipped model.
    repository : Path
        Made where absent; other models in it stay.
    overwrite : bool
        Replace a model of the same name.

    Returns
    -------
    Path
        The model's folder in the repository.

    Raises
    ------
    ModelFileError
        Not a model file, or damaged.
    ExportError
        The repository cannot be written or holds a model of this name, or the name is no name for a folder.
    """
    description, graph = read(model, verify=True)
    check_name(description.name)
    check_place(repository, description.name, overwrite)
    folder = repository / description.name
    try:
        (folder / "1").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExportError(f"{folder}: cannot be written: {error.strerror}") from error
    write_bytes(folder / "1" / "model.onnx", graph, error=ExportError)
    labels = "\n".join(description.observations) + "\n"
    write_bytes(folder / "observations.txt", labels.encode(), error=ExportError)
    write_bytes(folder / "config.pbtxt", config_text(description).encode(), error=ExportError)
    return folder


def config_text(description: ModelDescription) -> str:
    """Return Triton's configuration of a model file, in protobuf's text format.

    Parameters
    ----------
    description : ModelDescription
        What the file says of itself.

    Notes
    -----
    Triton batches only requests of one shape: clients that resize films to the model's resolution first get
    batches, and the same answers. Height and width are free all the same, unless the file's input is fixed: then
    every request has one shape, and Triton refuses others.

    Each GPU has one instance, or the processor where there is none: an instance uses all cores. Before a model is
    ready, it scores a black film alone and in each batch that is preferred, so that no request waits for the first
    choice of kernels.
    """
    observations, members = len(description.observations), len(description.members)
    name = os.fspath(description.name)
    gate_outputs = ""
    if description.quality_gate is not None:
        # one number a film: Triton calls a tensor of the batch alone [ 1 ] that is reshaped to nothing
        kinds, *numbers = description.quality_gate.outputs
        gate_outputs = f""",
  {{ name: "{kinds}" data_type: TYPE_FP32 dims: [ {len(description.quality_gate.kinds)} ] }}"""
        for number in numbers:
            gate_outputs += f""",
  {{ name: "{number}" data_type: TYPE_FP32 dims: [ 1 ] reshape: {{ shape: [ ] }} }}"""
    return f"""# written by {description.document["writer"]}; graph and weights {description.graph_sha256}
name: "{name}"
platform: "onnxruntime_onnx"
max_batch_size: {_LARGEST_BATCH}
input [
  {{ name: "{INPUT}" data_type: {_input_type(description)} dims: {_input_dims(description)} }}
]
output [
  {{ name: "probability" data_type: TYPE_FP32 dims: [ {observations} ] label_filename: "observations.txt" }},
  {{ name: "member_probability" data_type: TYPE_FP32 dims: [ {members}, {observations} ] }},
  {{ name: "activation_map" data_type: TYPE_FP32 dims: [ {observations}, -1, -1 ] }}{gate_outputs}
]
dynamic_batching {{
  preferred_batch_size: {list(_PREFERRED_BATCHES)}
  max_queue_delay_microseconds: {_QUEUE_DELAY_MICROSECONDS}
}}
instance_group [
  {{ kind: KIND_AUTO count: 1 }}
]
model_warmup [
{_warm_up(description)}
]
version_policy: {{ latest: {{ num_versions: 1 }} }}
"""


def _warm_up(description: ModelDescription) -> str:
    """Return a black film at the model's resolution for each size of a batch."""
    rows, columns = description.resolution
    film = f"{{ data_type: {_input_type(description)} dims: [ 1, {rows}, {columns} ] zero_data: true }}"
    return ",\n".join(
        f'  {{ name: "batch of {size}" batch_size: {size} inputs {{ key: "{INPUT}" value: {film} }} }}'
        for size in (1, *_PREFERRED_BATCHES)
    )


def _input_type(description: ModelDescription) -> str:
    return "TYPE_FP32" if description.document["input"].get("type") == "float32" else "TYPE_UINT8"


def _input_dims(description: ModelDescription) -> str:
    rows, columns = description.resolution if description.fixed_input else (-1, -1)
    return f"[ 1, {rows}, {columns} ]"
