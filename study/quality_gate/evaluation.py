"""Evaluation of a quality gate: its two limits, and how many films it accepts of each kind.

Conventions
-----------
The limits are set on films of validation patients, of which they refuse about `REFUSED`. The evaluation uses films of
test patients, and wrong films made of those.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xraytransfer.quality_gate import KINDS, QualityGateLimits
from xraytransfer.resize import resize
from xraytransfer.study.data.run_data import RunData
from xraytransfer.study.quality_gate.films import FilmMaker
from xraytransfer.study.quality_gate.network import QualityGateNetwork
from xraytransfer.study.quality_gate.settings import QualityGateSettings

__all__ = ["BATCH", "Pictures", "batches", "evaluate", "fit_limits"]

REFUSED = 0.01
"""Share of good validation films that the two limits may refuse, half of it each."""
EVALUATED = 400
"""Number of wrong films of each kind that are made for the evaluation."""
BATCH = 64
"""Films that are trained on, or predicted, at a time."""

Pictures = dict[str, list[NDArray[np.uint8]]]


def batches(films: NDArray[np.uint8]) -> list[torch.Tensor]:
    """Return films in batches, float32 [n, 1, rows, columns]."""
    return [torch.from_numpy(films[start : start + BATCH])[:, None].float() for start in range(0, len(films), BATCH)]


@torch.no_grad()
def _predict(gate: QualityGateNetwork, films: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the probability of each kind, shape (films, kinds), and the distances, shape (films,)."""
    answers = [gate(x) for x in batches(films)]
    return torch.cat([kinds for kinds, _ in answers]).numpy(), torch.cat([distance for _, distance in answers]).numpy()


def _unchanged(data: RunData, split: str, side: int) -> NDArray[np.uint8]:
    """Return the films of a split without changes, at the size that the quality gate takes."""
    return np.stack([resize(np.asarray(data.pixels[row]), (side, side)) for row in data.rows[split]])


def fit_limits(
    gate: QualityGateNetwork, data: RunData, pictures: Pictures, settings: QualityGateSettings
) -> QualityGateLimits:
    """Set the two limits so that they refuse few good validation films, unchanged or changed as in training."""
    maker = FilmMaker(data.pixels, data.rows["validation"], settings.side, pictures)
    generator = np.random.default_rng([settings.seed, 3])
    unchanged = _unchanged(data, "validation", settings.side)
    changed = np.stack([maker.draw(generator, "upright")[0] for _ in range(len(unchanged))])
    kinds, distance = zip(*(_predict(gate, films) for films in (unchanged, changed)), strict=True)
    probability = np.concatenate([each[:, 0] for each in kinds])
    # at least 0.05, so that no other kind is far more probable; at most 0.5, so that a doubtful film passes
    least = float(np.clip(np.quantile(probability, REFUSED / 2), 0.05, 0.5))
    most = float(np.quantile(np.concatenate(distance), 1 - REFUSED / 2))
    return QualityGateLimits(tuple(KINDS), round(least, 4), round(most, 4))


def evaluate(
    gate: QualityGateNetwork,
    rule: QualityGateLimits,
    data: RunData,
    settings: QualityGateSettings,
    *,
    pictures: Pictures,
    unseen: Pictures,
) -> list[dict[str, Any]]:
    """Return a row for each set of films: how many it holds, how many were accepted, how many named right.

    `pictures` are the pictures of other things that were trained on, `unseen` those that were not.
    """
    rows = []
    for name, kind, films in _film_sets(data, pictures, unseen, settings):
        answers = [
            rule.evaluate(kinds, float(distance)) for kinds, distance in zip(*_predict(gate, films), strict=True)
        ]
        accepted = sum(answer.accepted for answer in answers)
        expected = KINDS[kind][0] or None
        named = sum(answer.reason == expected for answer in answers)
        row: dict[str, Any] = {"what": name, "kind": kind, "films": len(films), "accepted": accepted, "named": named}
        if settings.left_out == name:
            row["left_out"] = True
        rows.append(row)
    return rows


def _film_sets(
    data: RunData, pictures: Pictures, unseen: Pictures, settings: QualityGateSettings
) -> Iterator[tuple[str, str, NDArray[np.uint8]]]:
    """Yield the name, the kind and the films of each set; the order decides which random numbers a set gets."""
    side = (settings.side, settings.side)
    maker = FilmMaker(data.pixels, data.rows["test"], settings.side, pictures)
    generator = np.random.default_rng([settings.seed, 4])
    yield "test films as they are", "upright", _unchanged(data, "test", settings.side)
    for kind in KINDS:
        if kind != "other":
            films = [maker.draw(generator, kind)[0] for _ in range(EVALUATED)]
            yield ("test films, changed" if kind == "upright" else f"test films, {kind}"), kind, np.stack(films)
    for name in maker.faults:
        films = [resize(maker.faulty(name, generator), side) for _ in range(EVALUATED)]
        yield name, "other", np.stack(films)
    for name, others in unseen.items():
        yield f"never seen: {name}", "other", np.stack([resize(film, side) for film in others])
