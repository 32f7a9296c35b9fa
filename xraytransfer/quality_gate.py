"""The quality gate: a small network in the model file that says which films the model may score.

Conventions
-----------
For each film the network gives the probability of each kind of picture (`KINDS`), and the distance of the film from
those that the network was trained on: the Mahalanobis distance of its features, divided by the square root of their
number, so that a usual film lies near 1. The file's description holds a limit for each of the two, fitted on validation
patients. The model card states what the limits refuse and what they miss.

In model files, in results and in the HTTP interface the gate's entry is called ``acceptance``.

References
----------
Lee et al., A Simple Unified Framework for Detecting Out-of-Distribution Samples, NeurIPS 2018 (the distance).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import ModelFileError, RadiographError

__all__ = [
    "CURES",
    "KINDS",
    "MIRRORED_NOTE",
    "MIRRORED_OUTPUT",
    "QUALITY_GATE_OUTPUTS",
    "QualityGateLimits",
    "QualityGateResult",
    "find_all_faults",
]

QUALITY_GATE_OUTPUTS = ("film_kind", "film_distance")
"""Further outputs of a graph with a quality gate: float32 [batch, kinds], summing to 1, and float32 [batch]."""

MIRRORED_OUTPUT = "film_mirrored"
"""One more output of graphs whose description holds ``minimum_mirrored_probability``: float32 [batch], in [0, 1]."""
MIRRORED_NOTE = "left and right may be exchanged: the heart seems to lie on the patient's right; see the side marker"
"""The note on an accepted film that seems mirrored. It is no reason for a refusal: some hearts do lie on the right."""

KINDS: dict[str, tuple[str, str]] = {
    "upright": ("", ""),
    "turned-clockwise": (
        "sideways",
        "the film seems turned by 90 degrees clockwise; turn it by 90 degrees counter-clockwise and score it again",
    ),
    "turned-counterclockwise": (
        "sideways",
        "the film seems turned by 90 degrees counter-clockwise; turn it by 90 degrees clockwise and score it again",
    ),
    "upside-down": ("upside-down", "the film seems upside down; turn it by 180 degrees and score it again"),
    "inverted": (
        "inverted",
        "the grey levels seem inverted (air bright, bone dark), as if PhotometricInterpretation were wrong; "
        "invert them and score it again",
    ),
    "other": ("not-accepted", "it does not look like one whole, upright, frontal chest radiograph"),
}
"""Kind -> the reason for a refusal (a key of `xraytransfer.errors.REASONS`) and its text for people. Films of the first
kind are accepted."""

CURES: dict[str, Callable[[NDArray[np.uint8]], NDArray[np.uint8]]] = {
    "turned-clockwise": lambda pixels: np.rot90(pixels, 1),
    "turned-counterclockwise": lambda pixels: np.rot90(pixels, -1),
    "upside-down": lambda pixels: np.rot90(pixels, 2),
    "inverted": lambda pixels: 255 - pixels,
}
"""Kind -> what makes an upright film of it."""

_UNLIKE = "it looks unlike the films that the model was trained on"


@dataclass(frozen=True, eq=False)
class QualityGateResult:
    """What the quality gate found about one film.

    Attributes
    ----------
    accepted : bool
        Whether the film may be scored.
    reason : str or None
        Why not: a key of `xraytransfer.errors.REASONS`.
    explanation : str or None
        The same for people, with what to do.
    kind_probability : dict of str to float
        Kind -> probability; they sum to 1.
    distance : float
        Distance from the training films; near 1 for a usual film.
    mirrored_probability : float or None
        The probability that left and right are exchanged; None where the model file does not tell.
    mirrored : bool
        Whether that is noted: the film is accepted, and the probability reaches the file's limit.
    """

    accepted: bool
    reason: str | None
    explanation: str | None
    kind_probability: dict[str, float] = field(repr=False)
    distance: float
    mirrored_probability: float | None = None
    mirrored: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return a dictionary for `json.dumps`."""
        document = {
            "accepted": self.accepted,
            "reason": self.reason,
            "kind_probability": {kind: round(value, 6) for kind, value in self.kind_probability.items()},
            "distance": round(self.distance, 4),
        }
        if self.mirrored_probability is not None:
            document["mirrored_probability"] = round(self.mirrored_probability, 6)
        return document

    def refusal(self, source: str) -> RadiographError | None:
        """Return the error that refuses a film, None for one that is accepted."""
        if self.accepted or self.reason is None:
            return None
        return RadiographError(self.reason, f"{source}: {self.explanation}", acceptance=self.to_dict())

    @property
    def kind(self) -> str:
        """Return the most probable kind."""
        return max(self.kind_probability, key=lambda kind: self.kind_probability[kind])


@dataclass(frozen=True)
class QualityGateLimits:
    """The limits of a model file's quality gate.

    Attributes
    ----------
    kinds : tuple of str
        Of `KINDS`, in the order of the graph's output; the first is ``upright``.
    minimum_probability : float
        A film whose probability of ``upright`` is lower is refused.
    maximum_distance : float
        A film whose distance is larger is refused.
    minimum_mirrored_probability : float or None
        An accepted film whose probability of being mirrored is at least that large is noted; None in files that do not
        tell mirrored films, as those of version 0.1.
    """

    kinds: tuple[str, ...]
    minimum_probability: float
    maximum_distance: float
    minimum_mirrored_probability: float | None = None

    @property
    def outputs(self) -> tuple[str, ...]:
        """Return the names of the graph's outputs that the quality gate needs."""
        return (
            QUALITY_GATE_OUTPUTS
            if self.minimum_mirrored_probability is None
            else (*QUALITY_GATE_OUTPUTS, MIRRORED_OUTPUT)
        )

    @classmethod
    def from_document(cls, document: dict[str, Any]) -> QualityGateLimits | None:
        """Read a model file's metadata; None where the model has no quality gate.

        Raises
        ------
        ModelFileError
            The entry exists and is malformed.
        """
        entry = document.get("acceptance")
        if entry is None:
            return None
        if not isinstance(entry, dict):
            raise ModelFileError("metadata: acceptance is no object")
        kinds, least, most = (entry.get(key) for key in ("kinds", "minimum_probability", "maximum_distance"))
        known = list(KINDS)
        if not isinstance(kinds, list) or kinds[:1] != known[:1] or not all(kind in known for kind in kinds):
            raise ModelFileError(f"metadata: acceptance kinds are {kinds!r}, expected upright and others of {known}")
        mirrored = entry.get("minimum_mirrored_probability")
        limits = {"minimum_probability": least, "maximum_distance": most}
        limits |= {} if mirrored is None else {"minimum_mirrored_probability": mirrored}
        for name, value in limits.items():
            if not isinstance(value, int | float) or isinstance(value, bool) or not value >= 0:
                raise ModelFileError(f"metadata: acceptance {name} is {value!r}, expected a number from 0")
        return cls(tuple(kinds), *map(float, limits.values()))  # type: ignore[arg-type]

    def evaluate(
        self, kind_probability: NDArray[np.float32], distance: float, mirrored: float | None = None
    ) -> QualityGateResult:
        """Hold the graph's outputs for one film against the limits.

        Parameters
        ----------
        kind_probability : ndarray
            float32, shape (kinds,).
        distance : float
            NaN counts as too far.
        mirrored : float or None
            `MIRRORED_OUTPUT`, where the graph has it.
        """
        named = {kind: float(value) for kind, value in zip(self.kinds, kind_probability, strict=True)}
        reason = explanation = None
        if not named[self.kinds[0]] >= self.minimum_probability:
            reason, explanation = KINDS[max(self.kinds[1:], key=lambda kind: named[kind])]
        elif not distance <= self.maximum_distance:
            reason, explanation = "not-accepted", _UNLIKE
        limit = self.minimum_mirrored_probability
        seems_mirrored = reason is None and mirrored is not None and limit is not None and mirrored >= limit
        return QualityGateResult(
            reason is None, reason, explanation, named, float(distance), mirrored, mirrored=seems_mirrored
        )


def find_all_faults(
    first: QualityGateResult,
    pixels: NDArray[np.uint8],
    evaluate: Callable[[NDArray[np.uint8]], QualityGateResult],
) -> QualityGateResult:
    """Return the result for a refused film with everything that is wrong with it, in the order in which to cure it.

    A film may lie on its side and be inverted, or lie on its side and be no chest film. The first fault hides the
    others, so each is cured here and the film is looked at again.

    Parameters
    ----------
    first : QualityGateResult
        For the film as it is.
    pixels : ndarray
        uint8, shape (rows, columns): the film.
    evaluate : callable
        Returns the result for other pixels.
    """
    results = [first]
    while not results[-1].accepted and results[-1].kind in CURES and len(results) <= len(CURES):
        pixels = CURES[results[-1].kind](pixels)
        results.append(evaluate(pixels))
        if results[-1].kind in [result.kind for result in results[:-1]]:
            return first  # no cure helps
    faults = [result for result in results if result.explanation is not None and not result.accepted]
    if len(faults) < 2:
        return first
    last = faults[-1]
    if last.reason == "not-accepted":
        return replace(first, reason=last.reason, explanation=f"{last.explanation}, also if it is turned or inverted")
    texts = [str(fault.explanation).removesuffix(" and score it again") for fault in faults]
    return replace(first, explanation=f"{'; then '.join(texts)}, and score it again")
