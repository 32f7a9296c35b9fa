"""The parity check: the file answers as the trained networks do, on real and on random films.

Conventions
-----------
The reference is torch in float32, fed with films that Pillow resized, as in training. The candidate is the
finished graph in ONNX Runtime, fed twice: with the same resized films as one batch, which compares the
networks alone; and with the whole films one by one, which compares the resize inside the graph with Pillow's.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import nn

from xraytransfer.errors import ExportError
from xraytransfer.model_file import INPUT, OUTPUTS
from xraytransfer.radiograph import Film
from xraytransfer.resize import resize

__all__ = ["TOLERANCES", "Parity", "Resize", "measure_parity", "random_films"]

TOLERANCES = {"float32": 1e-4, "float16-weights": 1e-2, "float16": 2e-2, "int8": 1e-1}
"""Largest difference of a probability that a precision may have. float32: rounding in another order moves
probabilities by 1e-6; 1e-4 is far below any threshold's meaning. The others: float16 keeps 11 bits of a
weight, int8 8 bits; what they cost in AUROC is checked apart."""

_MAP_TOLERANCE = 10.0
"""The activation map is on the logit's scale, of which the sigmoid takes at most a quarter, and is spread
over all positions: it may differ by this many times the probability's tolerance, relative to its range."""

_RESIZE_TOLERANCE = 5e-3
"""Allowed for real films given whole, and for the resize before a member of another resolution than the model's: graph
and Pillow may round a grey level differently, which moves a probability by up to 0.002."""

_MADE_RESIZE_TOLERANCE = 5e-2
"""Allowed for films of noise given whole, where a network may take rounding for a pattern: 0.012 at 64 px after
two epochs. A film that is sampled and not averaged moves a probability by about 0.05 on real films."""

Resize = Callable[[Film, tuple[int, int]], Film]


@dataclass(frozen=True)
class Parity:
    """The differences between a graph and the networks that it was made of.

    Attributes
    ----------
    films : int
        Films compared.
    real : int
        How many of them are real radiographs.
    probability : float
        Largest difference of a member's probability, the networks alone.
    activation_map : float
        Largest difference of an activation map, as a share of that map's range.
    whole_film : float
        Largest difference between a real film given whole and given resized by Pillow, for the model and each member;
        0 without real films.
    whole_made_film : float
        The same for films from `random_films`.
    tolerance : float
        Allowed for `probability`.
    provider : str
        Execution provider of the candidate.
    """

    films: int
    real: int
    probability: float
    activation_map: float
    whole_film: float
    whole_made_film: float
    tolerance: float
    provider: str

    @property
    def passed(self) -> bool:
        """Return whether all differences are within their tolerances; never true for NaN."""
        return all(value <= allowed for _, value, allowed in self.comparisons())

    def comparisons(self) -> list[tuple[str, float, float]]:
        """Return what was compared, in words, each with its difference and the difference that is allowed."""
        return [
            ("a probability", self.probability, self.tolerance),
            ("an activation map, as a share of its range,", self.activation_map, _MAP_TOLERANCE * self.tolerance),
            ("a whole real film's probability", self.whole_film, max(_RESIZE_TOLERANCE, self.tolerance)),
            ("a whole made film's probability", self.whole_made_film, max(_MADE_RESIZE_TOLERANCE, self.tolerance)),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return the entry of the model file."""
        return {
            "films": self.films,
            "real_films": self.real,
            "max_abs_difference": self.probability,
            "max_map_difference": self.activation_map,
            "max_whole_film_difference": self.whole_film,
            "max_whole_made_film_difference": self.whole_made_film,
            "comparisons": [
                {"what": what, "difference": value, "allowed": allowed} for what, value, allowed in self.comparisons()
            ],
            "tolerance": self.tolerance,
            "provider": self.provider,
            "torch": torch.__version__,
            "onnxruntime": ort.__version__,
            "machine": platform.machine(),
        }


def random_films(resolution: tuple[int, int], generator: np.random.Generator, count: int = 6) -> list[Film]:
    """Return films that no scanner makes: noise, gradients, black with a bright border, of several sizes.

    Parameters
    ----------
    resolution : tuple of int
        Rows and columns of the model; films are at least as large.
    generator : numpy.random.Generator
        Source of chance.
    count : int
        How many.

    Returns
    -------
    list of ndarray
        uint8, shape (rows, columns) each.
    """
    films = []
    for index in range(count):
        rows, columns = (int(size * generator.uniform(1, 3)) for size in resolution)
        if index % 3 == 0:
            film = generator.integers(0, 256, (rows, columns), dtype=np.uint8)
        elif index % 3 == 1:
            ramp = np.linspace(0, 255, rows)[:, None] * np.linspace(0.2, 1, columns)[None, :]
            film = ramp.astype(np.uint8)
        else:  # zero padding at the border is where a folded normalisation shows
            film = np.zeros((rows, columns), np.uint8)
            film[: rows // 8], film[:, : columns // 8] = 255, 255
        films.append(film)
    return films


def measure_parity(
    networks: Sequence[nn.Module],
    session: ort.InferenceSession,
    real: Sequence[Film],
    made: Sequence[Film],
    resolution: tuple[int, int],
    *,
    tolerance: float,
    resolutions: Sequence[tuple[int, int]] | None = None,
    resize_again: Resize = resize,
) -> Parity:
    """Compare a graph with the networks it was made of.

    Parameters
    ----------
    networks : sequence of nn.Module
        The members, with ``forward_with_map``.
    session : onnxruntime.InferenceSession
        The finished graph.
    real : sequence of ndarray
        uint8, shape (rows, columns), any sizes: real radiographs.
    made : sequence of ndarray
        As `real`: films from `random_films`.
    resolution : tuple of int
        The model's rows and columns.
    tolerance : float
        Allowed difference of a probability.
    resolutions : sequence of tuple of int, optional
        Rows and columns that each member takes, from the film at `resolution`; the same where absent.
    resize_again : callable
        Resizes a film at `resolution` for a member of another one, as the graph does.

    Raises
    ------
    ExportError
        No films at all.
    """
    if not (films := [*real, *made]):
        raise ExportError("parity needs at least one film")
    small = np.stack([resize(film, resolution) for film in films])[:, None]
    resolutions = resolutions or [resolution] * len(networks)
    expected, maps = _reference(networks, small, resolutions, resize_again)
    answers = _answer(session, small)
    spread = np.ptp(maps, axis=(1, 2, 3), keepdims=True) + 1e-6
    whole = _whole_differences(session, films, answers["member_probability"])
    if any(size != resolution for size in resolutions):
        whole = np.maximum(whole, _resize_again_differences(networks, small, resolutions, expected))
    return Parity(
        films=len(films),
        real=len(real),
        probability=_difference(answers["member_probability"], expected),
        activation_map=_difference(answers["activation_map"] / spread, maps / spread),
        whole_film=float(whole[: len(real)].max(initial=0)),
        whole_made_film=float(whole[len(real) :].max(initial=0)),
        tolerance=tolerance,
        provider=session.get_providers()[0],
    )


def _whole_differences(
    session: ort.InferenceSession, films: Sequence[Film], expected: NDArray[np.float32]
) -> NDArray[np.float64]:
    """Return for each film, given whole, the largest difference of a member's probability: shape (films,)."""
    return np.array(
        [
            _difference(_answer(session, film[None, None])["member_probability"], opinion[None])
            for film, opinion in zip(films, expected, strict=True)
        ]
    )


def _resize_again_differences(
    networks: Sequence[nn.Module],
    small: NDArray[np.uint8],
    resolutions: Sequence[tuple[int, int]],
    expected: NDArray[np.float32],
) -> NDArray[np.float64]:
    """Return how far `expected` is from members whose films Pillow resizes again, as in training: shape (films,)."""
    with_pillow, _ = _reference(networks, small, resolutions, resize)
    largest: NDArray[np.float64] = np.abs(with_pillow - expected).max((1, 2)).astype(np.float64)
    return largest


def _reference(
    networks: Sequence[nn.Module],
    pixels: NDArray[np.uint8],
    resolutions: Sequence[tuple[int, int]],
    resize_again: Resize,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return member probabilities [films, members, k] and the mean map [films, k, h, w], from torch."""
    probability, maps = [], []
    with torch.no_grad():
        for network, resolution in zip(networks, resolutions, strict=True):
            was_training = network.training
            network.eval()
            device = next(network.parameters()).device
            pairs = [
                network.forward_with_map(  # type: ignore[operator]
                    torch.from_numpy(resize_again(film[0], resolution)[None, None].copy()).float().to(device)
                )
                for film in pixels
            ]
            network.train(was_training)
            probability.append(torch.cat([torch.sigmoid(logits) for logits, _ in pairs]).cpu())
            maps.append(torch.cat([activation for _, activation in pairs]).cpu())
    size = max(tuple(activation.shape[2:]) for activation in maps)
    scaled = [
        activation
        if tuple(activation.shape[2:]) == size
        else nn.functional.interpolate(activation, size=size, mode="bilinear", align_corners=False)
        for activation in maps
    ]
    return torch.stack(probability, 1).numpy(), torch.stack(scaled).mean(0).numpy()


def _answer(session: ort.InferenceSession, image: NDArray[np.uint8]) -> Mapping[str, NDArray[np.float32]]:
    return dict(zip(OUTPUTS, session.run(list(OUTPUTS), {INPUT: image}), strict=True))


def _difference(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    if actual.shape != expected.shape:
        return float("inf")
    return float(np.abs(actual - expected).max())
