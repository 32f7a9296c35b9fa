"""One network traced by torch, and the trace given other weights.

Conventions
-----------
A trace is an ONNX model from ``pixels`` to a network's outputs whose weights bear their names from the
state dict. One trace serves all networks of one structure: tracing takes 10 to 90 s, giving a trace other
weights takes one.
"""

from __future__ import annotations

import logging
import warnings

import onnx
import torch
from onnx import numpy_helper
from onnxscript import optimizer
from torch import nn

from xraytransfer.errors import ExportError
from xraytransfer.export.graph.resizing import PIXELS

__all__ = ["OPSET", "structure", "trace", "with_weights"]

OPSET = 20
"""What torch writes; `xraytransfer.export.graph.opset` lowers it."""


class _Outputs(nn.Module):
    """A network whose forward pass gives a member's logits and map, or a quality gate's outputs."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(getattr(self.network, "forward_with_map", self.network)(pixels))


def trace(network: nn.Module, resolution: tuple[int, int]) -> onnx.ModelProto:
    """Trace one network; its weights keep their names from the state dict.

    Parameters
    ----------
    network : nn.Module
        A member, with ``forward_with_map``; or a quality gate, whose outputs follow in the order of its forward pass.
        Its training mode is left as it was.
    resolution : tuple of int
        Rows and columns, fixed in the trace; the batch is free.

    Returns
    -------
    onnx.ModelProto
        From ``pixels`` to the outputs in their order, not yet optimised.

    Raises
    ------
    ExportError
        torch cannot export it; the message holds torch's first line.
    """
    was_training = network.training
    member = _Outputs(network).eval()
    # a batch of one would be baked in; two is the smallest that stays free
    example = torch.zeros(2, 1, *resolution, device=next(network.parameters()).device)
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "torch.export", "onnxscript")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.CRITICAL)
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                member,
                (example,),
                dynamo=True,
                opset_version=OPSET,
                external_data=False,
                optimize=False,
                dynamic_shapes=({0: torch.export.Dim("batch")},),
                input_names=[PIXELS],
                output_names=["logits", "map"] if hasattr(network, "forward_with_map") else None,
                verbose=False,
            )
    except torch.onnx.errors.OnnxExporterError as error:
        cause = str(error.__cause__ or error).strip().splitlines()[0]
        raise ExportError(f"torch cannot write this network as ONNX: {cause}") from error
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
        network.train(was_training)
    if program is None:
        raise ExportError("torch wrote no ONNX program for this network")
    model: onnx.ModelProto = program.model_proto
    return model


def structure(network: nn.Module) -> str:
    """Return a text that is equal for networks which differ only in their weights."""
    shapes = ";".join(f"{name}{tuple(value.shape)}" for name, value in network.state_dict().items())
    return f"{type(network).__qualname__}|{network!r}|{shapes}"


def with_weights(traced: onnx.ModelProto, network: nn.Module) -> onnx.ModelProto:
    """Return the traced graph with this network's weights, constants folded, batch norms merged.

    Raises
    ------
    ExportError
        A weight has another shape than in the trace.
    """
    model = onnx.ModelProto()
    model.CopyFrom(traced)
    state = network.state_dict()
    for tensor in model.graph.initializer:
        name = tensor.name.removeprefix("network.")
        if name in state:
            value = state[name].detach().cpu().numpy()
            if tuple(tensor.dims) != value.shape:
                raise ExportError(f"weight {name} has shape {value.shape}, the trace {tuple(tensor.dims)}")
            tensor.CopyFrom(numpy_helper.from_array(value, tensor.name))
    optimised: onnx.ModelProto = optimizer.optimize(model, onnx_shape_inference=True)
    return optimised
