"""What ONNX Runtime is told for CUDA and TensorRT: their precision, TensorRT's caches, and the shapes that they meet.

Conventions
-----------
TensorRT compiles a model into an engine, which takes minutes, and again whenever a film's shape lies outside those that
the engine was compiled for. Therefore the shapes are named beforehand (a profile), batches have few sizes, and engines
are kept in ``$XDG_CACHE_HOME/xraytransfer/tensorrt`` (``~/.cache`` where unset; ``%LOCALAPPDATA%`` on Windows), which
may be deleted at any time.

References
----------
ONNX Runtime, TensorRT Execution Provider: ``trt_engine_cache_enable``, ``trt_timing_cache_enable``,
``trt_profile_min_shapes``, ``trt_profile_opt_shapes``, ``trt_profile_max_shapes``.
"""

from __future__ import annotations

import hashlib
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from xraytransfer.model_file import INPUT

__all__ = ["CPU", "LARGEST_BATCH", "USUAL_BATCH", "gpu_batches", "gpu_provider", "gpu_providers", "without_profile"]

Provider: TypeAlias = tuple[str, dict[str, str]]

CPU = "CPUExecutionProvider"
USUAL_BATCH = 16
LARGEST_BATCH = 64
_CUDA: Provider = (
    "CUDAExecutionProvider",
    # TF32 moves probabilities by 1e-3, and an exhaustive search for algorithms makes first runs slow
    {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"},
)
_TENSORRT = "TensorrtExecutionProvider"
_PROFILE = "trt_profile_"

_log = logging.getLogger(__name__)


def gpu_provider(device: str) -> str:
    """Return the name of the provider that a device other than the CPU asks for."""
    return _TENSORRT if device == "tensorrt" else _CUDA[0]


def gpu_providers(device: str, model: bytes, film_sizes: Sequence[tuple[int, int]] = ()) -> list[Provider]:
    """Return the GPU's providers and their options, the preferred one first.

    Parameters
    ----------
    device : {'auto', 'cuda', 'tensorrt'}
    model : bytes
        The model file.
    film_sizes : sequence of (int, int)
        Rows and columns of the films that will be scored, the usual ones first. TensorRT's engine then takes 1 to
        `LARGEST_BATCH` films of any size from the smallest to the largest of these; where absent, TensorRT compiles
        for each shape as it comes.

    Returns
    -------
    list of (str, dict)
        As `onnxruntime.InferenceSession` takes them.
    """
    if device != "tensorrt":
        return [_CUDA]
    profile = _profile(film_sizes) if film_sizes else {}
    return [(_TENSORRT, {**_caches(model, profile), **profile}), _CUDA]


def without_profile(providers: Sequence[Provider]) -> list[Provider]:
    """Return providers with the same options but the shapes, for a graph of which TensorRT takes a part alone."""
    return [
        (name, {key: value for key, value in options.items() if not key.startswith(_PROFILE)})
        for name, options in providers
    ]


def gpu_batches(films: NDArray[np.uint8 | np.float32]) -> Iterator[tuple[NDArray[np.uint8 | np.float32], int]]:
    """Split a batch into parts of few sizes: kernels and engines are chosen anew for each size.

    Parameters
    ----------
    films : ndarray, shape (films, 1, rows, columns)
        At least one film.

    Yields
    ------
    ndarray
        1, 2, 4, ... or `LARGEST_BATCH` films: the last one is repeated where there are fewer.
    int
        How many of them are films of the batch; the answers for the others are to be dropped.
    """
    for start in range(0, len(films), LARGEST_BATCH):
        part = films[start : start + LARGEST_BATCH]
        size = 1 << (len(part) - 1).bit_length()
        yield np.concatenate([part, np.repeat(part[-1:], size - len(part), axis=0)]), len(part)


def _profile(film_sizes: Sequence[tuple[int, int]]) -> dict[str, str]:
    """Return the smallest, the usual and the largest shape of the input."""
    rows, columns = zip(*film_sizes, strict=True)
    shapes = {
        "min": (1, 1, min(rows), min(columns)),
        "opt": (USUAL_BATCH, 1, *film_sizes[0]),
        "max": (LARGEST_BATCH, 1, max(rows), max(columns)),
    }
    return {f"{_PROFILE}{name}_shapes": f"{INPUT}:{'x'.join(map(str, shape))}" for name, shape in shapes.items()}


def _caches(model: bytes, profile: dict[str, str]) -> dict[str, str]:
    """Return the options of the caches; none where their folder cannot be made.

    ONNX Runtime names an engine by the graph's nodes and not by its weights, so that it would take the engine of
    another model of the same networks. Each model, and each profile, has a folder of its own.
    """
    root = _cache_root() / "xraytransfer" / "tensorrt"
    key = hashlib.sha256(model + "".join(profile.values()).encode("ascii")).hexdigest()
    engines = root / key
    try:
        engines.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not os.access(engines, os.W_OK):
            raise PermissionError(13, os.strerror(13))
    except OSError as error:
        _log.warning("%s: TensorRT's engine is not kept and is compiled at each start: %s", engines, error.strerror)
        return {}
    return {
        "trt_engine_cache_enable": "True",
        "trt_engine_cache_path": str(engines),
        "trt_timing_cache_enable": "True",
        "trt_timing_cache_path": str(root),
    }


def _cache_root() -> Path:
    variable = "LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME"
    named = os.environ.get(variable)
    return Path(named) if named else Path.home() / ".cache"
