"""Evaluation of a quality gate: its limits, and how many films it accepts, by source and kind.

Conventions
-----------
A film passes if it is more probably upright than all else together (`MINIMUM_PROBABILITY`), and lies no farther from
the films of training than a limit. That limit is set across sources: on validation patients, as their films are and
changed as in training, and on the films of further sources whose use is ``limits``. No source may lose more than its
share by it (`BEYOND_LIMIT`), so the source that lies farthest decides. Films of test patients judge, wrong films made
of those, and films of further sources. A source that sets limits judges too: each half of its patients is judged with
limits that only the other half helped to set.

References
----------
Wilson, Probable inference, the law of succession, and statistical inference, JASA 22, 1927 (intervals).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from xraytransfer.quality_gate import KINDS, QualityGateLimits, QualityGateResult
from xraytransfer.resize import resize
from xraytransfer.study.data.run_data import RunData
from xraytransfer.study.quality_gate.appearance import APPEARANCES
from xraytransfer.study.quality_gate.films import FilmMaker
from xraytransfer.study.quality_gate.network import QualityGateNetwork
from xraytransfer.study.quality_gate.settings import QualityGateSettings
from xraytransfer.study.quality_gate.sources import Source, half_of_patients
from xraytransfer.study.stats.calibration_error import wilson_interval

__all__ = ["BATCH", "Answers", "Pictures", "answers_of", "batches", "evaluate", "fit_limits"]

MINIMUM_PROBABILITY = 0.5
"""Least probability of ``upright``. It is not fitted: a lower limit refuses fewer good films, and lets films pass that
the quality gate itself takes for something else."""
BEYOND_LIMIT = {"real": 0.005, "projected": 0.005, "drawn": 0.01}
"""Share of a source's good films that may lie beyond the limit of the distance; drawn: films changed as in training."""
NOTED = 0.005
"""Share of a source's films that may be called mirrored wrongly."""
EVALUATED = 400
"""Number of films of each kind that are made for the evaluation."""
BATCH = 64
"""Films that are trained on, or predicted, at a time."""

Pictures = dict[str, list[NDArray[np.uint8]]]


@dataclass(frozen=True, eq=False)
class Answers:
    """What a quality gate answers for some films, and of which source they are.

    Attributes
    ----------
    origin : str
        ``real``, ``drawn`` or ``projected``.
    kinds, distance, mirrored : ndarray
        float32, shapes (films, kinds), (films,) and (films,).
    """

    origin: str
    kinds: NDArray[np.float32]
    distance: NDArray[np.float32]
    mirrored: NDArray[np.float32]

    def subset(self, chosen: NDArray[np.bool_]) -> Answers:
        """Return the answers for some films."""
        return Answers(self.origin, self.kinds[chosen], self.distance[chosen], self.mirrored[chosen])

    def results(self, rule: QualityGateLimits) -> list[QualityGateResult]:
        """Hold each answer against limits."""
        rows = zip(self.kinds, self.distance.tolist(), self.mirrored.tolist(), strict=True)
        return [rule.evaluate(kinds, distance, mirrored) for kinds, distance, mirrored in rows]


@dataclass(frozen=True, eq=False)
class _FilmSet:
    """Films that are judged together; `patients` is None where a patient may have given any number of them."""

    name: str
    kind: str
    origin: str
    films: NDArray[np.uint8]
    patients: int | None = None
    view: str | None = None


def batches(films: NDArray[np.uint8]) -> list[torch.Tensor]:
    """Return films in batches, float32 [n, 1, rows, columns]."""
    return [torch.from_numpy(films[start : start + BATCH])[:, None].float() for start in range(0, len(films), BATCH)]


@torch.no_grad()
def answers_of(gate: QualityGateNetwork, films: NDArray[np.uint8], origin: str = "real") -> Answers:
    """Return what a quality gate answers for films, uint8, shape (films, side, side)."""
    answers = [gate(x) for x in batches(films)]
    return Answers(origin, *(torch.cat(part).numpy() for part in zip(*answers, strict=True)))


def _unchanged(data: RunData, split: str, side: int) -> NDArray[np.uint8]:
    """Return the films of a split without changes, at the size that the quality gate takes."""
    return np.stack([resize(np.asarray(data.pixels[row]), (side, side)) for row in data.rows[split]])


def home_answers(
    gate: QualityGateNetwork, data: RunData, pictures: Pictures, settings: QualityGateSettings
) -> list[Answers]:
    """Return the answers for validation films that set the limits: as they are, and changed as in training."""
    maker = FilmMaker(data.pixels, data.rows["validation"], settings.side, pictures)
    generator = np.random.default_rng([settings.seed, 3])
    unchanged = _unchanged(data, "validation", settings.side)
    changed = np.stack([_changed(maker, generator) for _ in range(len(unchanged))])
    return [answers_of(gate, unchanged), answers_of(gate, changed, "drawn")]


def _changed(maker: FilmMaker, generator: np.random.Generator) -> NDArray[np.uint8]:
    """Return a good film, changed as in training, but not mirrored."""
    return resize(maker.upright(maker.real(generator), generator), (maker.side, maker.side))


def fit_limits(sources: Sequence[Answers]) -> QualityGateLimits:
    """Set the limits of the distance and of mirrored films so that few good films of every source lie beyond them.

    Parameters
    ----------
    sources : sequence of Answers
        For good films that are not mirrored, of each source.
    """
    distance = max(float(np.quantile(source.distance, 1 - BEYOND_LIMIT[source.origin])) for source in sources)
    mirrored = max(float(np.quantile(source.mirrored, 1 - NOTED)) for source in sources)
    return QualityGateLimits(
        tuple(KINDS),
        MINIMUM_PROBABILITY,
        round(distance, 4),
        round(float(np.clip(mirrored, 0.5, 0.9999)), 4),
    )


def evaluate(
    gate: QualityGateNetwork,
    data: RunData,
    settings: QualityGateSettings,
    *,
    pictures: Pictures,
    unseen: Pictures,
    sources: Sequence[Source],
) -> tuple[QualityGateLimits, list[dict[str, Any]]]:
    """Set the limits and judge the quality gate.

    Parameters
    ----------
    gate : QualityGateNetwork
        Trained.
    data : RunData
        The films of the data set.
    settings : QualityGateSettings
        As it was trained.
    pictures, unseen : dict
        Pictures of other things that were trained on, and that were not.
    sources : sequence of Source
        Films of further sources.

    Returns
    -------
    limits : QualityGateLimits
    rows : list of dict
        One for each set of films: how many it holds, how many were accepted with the interval of that share, how many
        named right, and of good films how many were called mirrored.
    """
    home = home_answers(gate, data, pictures, settings)
    setting = {source.name: source for source in sources if source.use == "limits" and source.frontal}
    further = {name: answers_of(gate, source.at(settings.side)) for name, source in setting.items()}
    limits = fit_limits([*home, *further.values()])
    rows = []
    for films in _film_sets(data, pictures, unseen, settings):
        rows.append(_row(films, answers_of(gate, films.films, films.origin).results(limits), settings))
    for name, source in setting.items():
        rest = [*home, *(answers for other, answers in further.items() if other != name)]
        rows.append(_judge_halves(source, further[name], rest, settings))
    for source in sources:
        if source.use == "judge":
            results = answers_of(gate, source.at(settings.side)).results(limits)
            rows.append(_row(_set_of_source(source, settings.side), results, settings))
    return limits, rows


def _judge_halves(
    source: Source, answers: Answers, rest: list[Answers], settings: QualityGateSettings
) -> dict[str, Any]:
    """Return the row of a source that sets limits: each half of its patients is judged by those of the other half."""
    half = half_of_patients(source)
    results = []
    for judged in (half, ~half):
        if judged.any() and (~judged).any():
            results += answers.subset(judged).results(fit_limits([*rest, answers.subset(~judged)]))
        else:  # one patient alone: the others set the limits
            results += answers.subset(judged).results(fit_limits(rest))
    return _row(_set_of_source(source, settings.side), results, settings)


def _set_of_source(source: Source, side: int) -> _FilmSet:
    kind = "upright" if source.frontal else "other"
    return _FilmSet(source.name, kind, source.origin, source.at(side), len(set(source.patients)), source.view)


def _row(films: _FilmSet, results: list[QualityGateResult], settings: QualityGateSettings) -> dict[str, Any]:
    """Return what was found for one set of films."""
    accepted = sum(result.accepted for result in results)
    expected = KINDS[films.kind][0] or None
    # films of one patient resemble each other: the interval is that of one film for each patient
    trials = films.patients or len(results)
    lower, upper = wilson_interval(trials * accepted / len(results), trials)
    row: dict[str, Any] = {
        "what": films.name,
        "kind": films.kind,
        "origin": films.origin,
        "films": len(results),
        "accepted": accepted,
        "lower": round(float(lower), 4),
        "upper": round(float(upper), 4),
        "named": sum(result.reason == expected for result in results),
    }
    row |= {"patients": films.patients} if films.patients else {}
    row |= {"view": films.view} if films.view else {}
    row |= {"mirrored": sum(result.mirrored for result in results)} if films.kind == "upright" else {}
    row |= {"left_out": True} if settings.left_out == films.name else {}
    return row


def _film_sets(
    data: RunData, pictures: Pictures, unseen: Pictures, settings: QualityGateSettings
) -> Iterator[_FilmSet]:
    """Yield the sets of films that are made of test films; the order decides which random numbers a set gets."""
    side = (settings.side, settings.side)
    maker = FilmMaker(data.pixels, data.rows["test"], settings.side, pictures)
    generator = np.random.default_rng([settings.seed, 4])
    whole = _unchanged(data, "test", settings.side)
    patients = len(np.unique(data.table.patient[data.rows["test"]]))
    yield _FilmSet("test films as they are", "upright", "real", whole, patients)
    yield _FilmSet("test films, mirrored", "upright", "drawn", np.ascontiguousarray(whole[:, :, ::-1]), patients)
    changed = [_changed(maker, generator) for _ in range(EVALUATED)]
    yield _FilmSet("test films, changed", "upright", "drawn", np.stack(changed))
    for name, appearance in APPEARANCES.items():
        films = [resize(appearance(maker.real(generator), generator), side) for _ in range(EVALUATED)]
        yield _FilmSet(f"test films, {name}", "upright", "drawn", np.stack(films))
    for kind in KINDS:
        if kind not in ("upright", "other"):
            films = [maker.draw(generator, kind).film for _ in range(EVALUATED)]
            yield _FilmSet(f"test films, {kind}", kind, "drawn", np.stack(films))
    for name in maker.faults:
        films = [resize(maker.faulty(name, generator), side) for _ in range(EVALUATED)]
        yield _FilmSet(name, "other", "drawn", np.stack(films))
    for name, others in unseen.items():
        yield _FilmSet(f"never seen: {name}", "other", "real", np.stack([resize(film, side) for film in others]))
