"""One step of training: the same code in a run, in the measurement of `study plan`, and in the benchmarks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xraytransfer.study.training.augment import augment
from xraytransfer.study.training.optimizer import make_optimizer, masked_loss, resolve_precision
from xraytransfer.study.training.presets import Preset

__all__ = ["TrainingStep"]


class TrainingStep:
    """A network with its optimiser, changed by one batch at a time.

    Parameters
    ----------
    network : nn.Module
        On the device, channels last; its weights are changed.
    preset : Preset
        The settings of training.
    family : str
        The family of the architecture; it decides what precision ``auto`` means.
    device : torch.device
        Where the network is.
    positive_weight : Tensor or None
        float32 [outputs], on the device: the weight of positive labels in the loss; None for 1.

    Attributes
    ----------
    optimizer, scaler, dtype
        The optimiser, the scaler of the loss (active with float16 only), and the type of autocast.
    """

    def __init__(
        self,
        network: nn.Module,
        preset: Preset,
        family: str,
        device: torch.device,
        positive_weight: Tensor | None = None,
    ) -> None:
        self.network, self.preset, self.device, self.positive_weight = network, preset, device, positive_weight
        self.optimizer = make_optimizer(network, preset)
        self.dtype = resolve_precision(preset, family, device)
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype == torch.float16)
        self._forward: Callable[[Tensor], Tensor] = torch.compile(network) if preset.compile else network

    def make_batch(self, pixels: NDArray[np.uint8], seed: int) -> Tensor:
        """Return a batch on the device, augmented: float32 [n, 1, rows, columns], grey levels 0 to 255.

        The seed decides the augmentation, and the dropout of the `learn` that follows.
        """
        generator = torch.Generator().manual_seed(seed)
        torch.manual_seed(seed)  # for dropout
        x = torch.from_numpy(pixels)[:, None].to(self.device, non_blocking=True).float()
        return augment(x, self.preset, generator).contiguous(memory_format=torch.channels_last)

    def learn(
        self,
        x: Tensor,
        target: NDArray[np.float32] | Tensor,
        rate: float,
        teacher_probability: NDArray[np.float32] | None = None,
        teacher_share: float = 0.0,
        *,
        trimming: float = 0.0,
    ) -> Tensor:
        """Take one optimiser step; return the loss, detached.

        Parameters
        ----------
        x : Tensor
            The batch, from `make_batch`.
        target : NDArray or Tensor
            float32, shape (n, outputs): labels; NaN is masked.
        rate : float
            The learning rate.
        teacher_probability : NDArray or None
            float32, shape (n, outputs): the teachers' probabilities of the same films.
        teacher_share : float
            Weight of the teachers in the loss; the labels have the rest.
        trimming : float
            Share of the labels, those with the highest loss, that does not count; see `masked_loss`. All answers of
            the teachers count.
        """
        y = self._to_device(target)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.network.train()
        with torch.autocast(self.device.type, dtype=self.dtype, enabled=self.dtype != torch.float32):
            logits = self._forward(x)
        loss = masked_loss(logits, self._softened(y, logits), self.positive_weight, trimming)
        if teacher_probability is not None:
            # not weighted again: the teachers learned with the weights of positives, so their answers hold them
            distilled = masked_loss(logits, self._to_device(teacher_probability), None)
            loss = (1 - teacher_share) * loss + teacher_share * distilled
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(self.scaler.scale(loss))
        self.scaler.step(self.optimizer)
        self.scaler.update()
        return loss.detach()

    def _softened(self, y: Tensor, logits: Tensor) -> Tensor:
        """Return labels that are less sure, because some are wrong; NaN stays NaN."""
        y = y + self.preset.smoothing * (0.5 - y)
        return y + self.preset.bootstrap * (logits.detach().float().sigmoid() - y) if self.preset.bootstrap else y

    def _to_device(self, array: NDArray[np.float32] | Tensor) -> Tensor:
        return torch.as_tensor(array).to(self.device, non_blocking=True)
