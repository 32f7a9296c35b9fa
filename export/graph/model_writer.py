"""The bytes of a model file: the graph with its description inside, and their size."""

from __future__ import annotations

import importlib.metadata
import json
import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

import onnx

from xraytransfer.errors import ExportError
from xraytransfer.model_file import MAX_BYTES, METADATA_KEY, graph_sha256
from xraytransfer.model_metadata import SCHEMA_VERSION, check_metadata
from xraytransfer.observations import OBSERVATIONS

if TYPE_CHECKING:  # files are also rewritten where there is no torch
    from torch import nn

__all__ = ["check_size", "member_bytes", "observation_rows", "serialise", "writer"]

_BYTES_PER_WEIGHT = {"float32": 4, "float16-weights": 2, "float16": 2, "int8": 1}
_NODES_BYTES = 1_000_000
"""Room for nodes and description beside the weights: a DenseNet-201's nodes take 0.4 MB."""


def writer() -> str:
    """Return this program's name and version, for the file's description."""
    return f"xraytransfer {importlib.metadata.version('xraytransfer')}"


def observation_rows() -> list[dict[str, Any]]:
    """Return the six observations as the model file's metadata lists them."""
    return [
        {
            "identifier": row.identifier,
            "name": row.name,
            "code": {"value": row.code.value, "scheme": row.code.scheme, "meaning": row.code.meaning},
        }
        for row in OBSERVATIONS
    ]


def check_size(networks: Sequence[nn.Module], precision: str, float_members: Sequence[int] = ()) -> int:
    """Return the bytes that the file will take, or refuse before any work is done.

    Parameters
    ----------
    networks : sequence of nn.Module
        The members.
    precision : {'float32', 'float16-weights', 'float16', 'int8'}
        How weights are stored.
    float_members : sequence of int
        Members whose weights are stored as float16 in an int8 file.

    Raises
    ------
    ExportError
        More than an ONNX file can hold; the message says what would fit.
    """
    each = [
        member_bytes(network, "float16-weights" if index in float_members else precision)
        for index, network in enumerate(networks)
    ]
    total: int = sum(each)
    if total > MAX_BYTES:
        fitting = MAX_BYTES // max(each)
        advice = f"at most {fitting} such members fit" if fitting else "not even one such member fits"
        half = "; --precision float16-weights halves the size" if precision == "float32" else ""
        raise ExportError(
            f"{len(networks)} members take about {total / 1e9:.1f} GB, an ONNX file holds 2.1 GB: "
            f"{advice}; export fewer (--checkpoints) or average them (--fuse soup){half}"
        )
    return total


def member_bytes(network: nn.Module, precision: str) -> int:
    """Return about how many bytes a member takes in a file: its weights in a precision, and room for its nodes."""
    weights = sum(value.numel() for value in network.state_dict().values())
    return int(weights * _BYTES_PER_WEIGHT[precision] + _NODES_BYTES)


def serialise(model: onnx.ModelProto, document: Mapping[str, Any]) -> bytes:
    """Return a model file's bytes: the graph with its description inside.

    Parameters
    ----------
    model : onnx.ModelProto
        The graph; metadata that it already holds are replaced.
    document : mapping
        The description; ``schema_version``, ``writer``, ``created``, ``graph_sha256`` and ``graph_bytes`` are filled
        in, numbers that are not finite become null.

    Returns
    -------
    bytes

    Raises
    ------
    ExportError
        Larger than 2 GB.
    ModelFileError
        The description does not fulfil the schema.
    """
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.metadata_props[:]
    if bare.ByteSize() > MAX_BYTES:
        raise ExportError(f"the graph takes {bare.ByteSize() / 1e9:.1f} GB, an ONNX file holds 2.1 GB")
    graph = bare.SerializeToString(deterministic=True)
    now = datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    complete = {
        "schema_version": SCHEMA_VERSION,
        "created": now,
        **_finite(dict(document)),
        "writer": writer(),
        "graph_sha256": graph_sha256(graph),
        "graph_bytes": len(graph),
    }
    check_metadata(complete)
    bare.metadata_props.add(key=METADATA_KEY, value=json.dumps(complete, allow_nan=False, ensure_ascii=False))
    return bytes(bare.SerializeToString(deterministic=True))


def _finite(value: Any) -> Any:
    """Return the value with each number that is not finite replaced by None."""
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
