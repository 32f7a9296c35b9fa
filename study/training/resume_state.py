"""The tensors of the resume state: network, moving average and optimiser under flat names."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["pack", "unpack"]


def pack(network: nn.Module, average: nn.Module | None, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Return all tensors of the resume state under flat names."""
    tensors = {f"network.{name}": value for name, value in network.state_dict().items()}
    if average is not None:
        tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    for index, state in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer.{index}.{name}": value for name, value in state.items()}
    return tensors


def unpack(
    tensors: dict[str, Tensor], network: nn.Module, average: nn.Module | None, optimizer: torch.optim.Optimizer
) -> None:
    """Put back what `pack` took, each tensor in its parameter's memory layout."""

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
