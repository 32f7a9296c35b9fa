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
from xraytransfer.model_file import INPUT, ModelDescription, describe
from xraytransfer.quality_gate import QUALITY_GATE_OUTPUTS

__all__ = ["config_text", "write_repository"]

_PREFERRED_BATCHES = (8, 16, 32)
_LARGEST_BATCH = 64
_QUEUE_DELAY_MICROSECONDS = 2000
"""Two milliseconds: less than one film takes to decode, enough for a batch to gather under load."""


def write_repository(model: Path, repository: Path) -> Path:
    """Write ``REPOSITORY/NAME/config.pbtxt`` and ``REPOSITORY/NAME/1/model.onnx``.

    Parameters
    ----------
    model : Path
        A model file.
    repository : Path
        Made where absent; other models in it stay.

    Returns
    -------
    Path
        The model's folder in the repository.

    Raises
    ------
    ModelFileError
        Not a model file.
    ExportError
        The repository cannot be written, or the model's name is no name for a folder.
    """
    description = describe(model)
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]*", description.name):
        raise ExportError(f"{description.name!r} cannot name a Triton model; export with --name of letters and digits")
    folder = repository / description.name
    try:
        (folder / "1").mkdir(parents=True, exist_ok=True)
        graph = model.read_bytes()
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
    batches, and the same answers. Height and width are free all the same.
    """
    observations, members = len(description.observations), len(description.members)
    name = os.fspath(description.name)
    gate_outputs = ""
    if description.quality_gate is not None:
        # one number a film: Triton calls a tensor of the batch alone [ 1 ] that is reshaped to nothing
        kinds, distance = QUALITY_GATE_OUTPUTS
        gate_outputs = f""",
  {{ name: "{kinds}" data_type: TYPE_FP32 dims: [ {len(description.quality_gate.kinds)} ] }},
  {{ name: "{distance}" data_type: TYPE_FP32 dims: [ 1 ] reshape: {{ shape: [ ] }} }}"""
    return f"""# written by {description.document["writer"]}; graph and weights {description.graph_sha256}
name: "{name}"
platform: "onnxruntime_onnx"
max_batch_size: {_LARGEST_BATCH}
input [
  {{ name: "{INPUT}" data_type: TYPE_UINT8 dims: [ 1, -1, -1 ] }}
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
version_policy: {{ latest: {{ num_versions: 1 }} }}
"""
