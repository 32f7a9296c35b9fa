"""The precision of training: which floating point type a device and a family of networks take best."""

from __future__ import annotations

from pathlib import Path

import torch

from xraytransfer.study.training.presets import Preset

__all__ = ["resolve_precision"]


def resolve_precision(preset: Preset, family: str, device: torch.device) -> torch.dtype:
    """Return the autocast type: float32 means none.

    ``auto`` is bfloat16 on a GPU, float16 on one too old for it; on a CPU it is bfloat16 only where the
    processor has instructions for it and the family is made of full convolutions: depthwise ones are
    slower that way.
    """
    if preset.precision != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[preset.precision]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    flags = Path("/proc/cpuinfo")
    native = flags.is_file() and any(word in flags.read_text() for word in ("avx512_bf16", "amx_bf16", " bf16 "))
    return torch.bfloat16 if native and family in ("ResNet", "DenseNet", "Inception") else torch.float32
