"""Predictions and refusals, and the JSON documents that are written for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.constants import RESEARCH_NOTICE
from xraytransfer.errors import RadiographError
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.quality_gate import QualityGateResult
from xraytransfer.reading.patient import ANIMAL, UNDER_18

__all__ = ["RESEARCH_NOTICE", "ModelIdentity", "Prediction", "Refusal", "record_cells"]


@dataclass(frozen=True)
class ModelIdentity:
    """The model that made a prediction.

    Attributes
    ----------
    name : str
        The model's own, as in its file.
    version : str
        The model's own, as in its file.
    sha256 : str
        The model's checksum: over its graph, calibration, thresholds, limits and input
        (`xraytransfer.model_identity`).
    """

    name: str
    version: str
    sha256: str


@dataclass(frozen=True, eq=False)
class Prediction:
    """A model's outputs for one radiograph.

    Vectors follow the order of `xraytransfer.OBSERVATIONS`.

    Attributes
    ----------
    source : str
        The film's file name, or ``<bytes>`` and the like.
    probability : ndarray
        float32, shape (6,), in [0, 1]: the ensemble's calibrated probability.
    member_probability : ndarray
        float32, shape (members, 6), in [0, 1]: each member's own, through the same calibration as `probability`.
    activation_map : ndarray
        float32, shape (6, h, w): class activation maps (Zhou et al. 2016), mean over members, in
        logits; low resolution, to be laid over the whole film.
    thresholds : tuple of (float or None)
        Decision threshold on `probability` at the model's default operating point, for each
        observation; None where the model holds none.
    operating_point : str or None
        Name of that operating point.
    radiograph : dict
        The film's attributes, and what was done to its pixels.
    model : ModelIdentity
        The model that scored the film.
    provider : str
        The execution provider that ran, such as ``CPUExecutionProvider``.
    raw_member_probability : ndarray
        float32, shape (members, 6), in [0, 1]: each member's own before calibration, as the graph gives it.
    pixels : ndarray or None
        uint8, shape (rows, columns): the film as it was read; None unless the caller asked to keep it.
    acceptance : QualityGateResult or None
        What the model's quality gate found; None where the model has none.
    flip_widths : tuple of (float or None)
        For each observation, how near to its threshold a probability has to be for a small change of the film to flip
        the decision; None where the model holds no such number.
    """

    source: str
    probability: NDArray[np.float32]
    member_probability: NDArray[np.float32]
    activation_map: NDArray[np.float32]
    thresholds: tuple[float | None, ...]
    operating_point: str | None
    radiograph: dict[str, Any]
    model: ModelIdentity
    provider: str
    raw_member_probability: NDArray[np.float32]
    pixels: NDArray[np.uint8] | None = field(default=None, repr=False)
    acceptance: QualityGateResult | None = None
    flip_widths: tuple[float | None, ...] = (None,) * len(OBSERVATIONS)

    ok = True

    @property
    def raw_probability(self) -> NDArray[np.float32]:
        """Return the plain mean over members, float32 (6,), before calibration."""
        mean: NDArray[np.float32] = self.raw_member_probability.mean(axis=0)
        return mean

    @property
    def spread(self) -> NDArray[np.float32]:
        """Return the standard deviation over calibrated members, float32 (6,): the ensemble's disagreement."""
        deviation: NDArray[np.float32] = self.member_probability.std(axis=0)
        return deviation

    @property
    def full_scale(self) -> float:
        """Return the largest value of the six activation maps, in logits: the brightest colour of all of them."""
        return float(self.activation_map.max())

    @property
    def decision(self) -> tuple[bool | None, ...]:
        """Return for each observation whether `probability` reaches its threshold; None without one."""
        return tuple(
            None if threshold is None else bool(probability >= threshold)
            for probability, threshold in zip(self.probability, self.thresholds, strict=True)
        )

    @property
    def near_threshold(self) -> tuple[bool | None, ...]:
        """Return for each observation whether a small change of the film may flip its decision; None without a width.

        It may where `probability` lies within the flip width of the threshold: a picture of the film in JPEG of quality
        90, with every grey level one lower, with 1 % of the sides cut off, or turned by 2 degrees could then decide
        otherwise.
        """
        return tuple(
            None if threshold is None or width is None else bool(abs(probability - threshold) <= width)
            for probability, threshold, width in zip(self.probability, self.thresholds, self.flip_widths, strict=True)
        )

    @property
    def doubt(self) -> str | None:
        """Return the warning for a film that the quality gate refused and a user had scored; None for others."""
        if self.acceptance is None or self.acceptance.accepted:
            return None
        return (
            f"The model's quality gate refused this film ({self.acceptance.reason}); it was scored because a user "
            "asked for any film: the values may mean nothing."
        )

    @property
    def unintended(self) -> tuple[str, ...]:
        """Return the notes that say that models are not meant for the film's patient; empty for a human adult."""
        return tuple(note for note in self.radiograph.get("notes") or () if note in (UNDER_18, ANIMAL))

    @property
    def cautions(self) -> tuple[str, ...]:
        """Return the sentences that must stand beside the numbers wherever a person reads them."""
        notes = tuple(f"Outside the intended use: {note}." for note in self.unintended)
        return notes if self.doubt is None else (self.doubt, *notes)

    def to_dict(self) -> dict[str, Any]:
        """Return everything but the arrays of pixels and maps, ready for `json.dumps`."""
        decision, raw, spread, near = self.decision, self.raw_probability, self.spread, self.near_threshold
        return {
            "source": self.source,
            "ok": True,
            "observations": [
                {
                    "identifier": observation.identifier,
                    "name": observation.name,
                    "probability": _rounded(self.probability[i]),
                    "raw_probability": _rounded(raw[i]),
                    "member_probability": [_rounded(value) for value in self.member_probability[:, i]],
                    "spread": _rounded(spread[i]),
                    "threshold": self.thresholds[i],
                    "decision": decision[i],
                    "near_threshold": near[i],
                }
                for i, observation in enumerate(OBSERVATIONS)
            ],
            "operating_point": self.operating_point,
            "acceptance": None if self.acceptance is None else self.acceptance.to_dict(),
            "radiograph": self.radiograph,
            "model": vars(self.model),
            "provider": self.provider,
            "notice": RESEARCH_NOTICE,
        }


@dataclass(frozen=True)
class Refusal:
    """Why one item of a batch was not scored.

    Attributes
    ----------
    source : str
        The film's file name.
    reason : str
        A key of `xraytransfer.errors.REASONS`.
    message : str
        The same for people. How to have the film scored anyway is no part of it: see
        `xraytransfer.errors.OVERRULED_BY`.
    radiograph : dict or None
        What was read of the film and what was done to its pixels, as far as it came.
    acceptance : dict or None
        What the model's quality gate found, where it was asked.
    """

    source: str
    reason: str
    message: str
    radiograph: dict[str, Any] | None = None
    acceptance: dict[str, Any] | None = None

    ok = False

    @classmethod
    def from_error(cls, source: str, error: RadiographError) -> Refusal:
        """Return the refusal that an error means."""
        return cls(source, error.reason, error.message, error.radiograph, error.acceptance)

    def to_dict(self) -> dict[str, Any]:
        """Return the refusal ready for `json.dumps`."""
        return {
            "source": self.source,
            "ok": False,
            "reason": self.reason,
            "message": self.message,
            "radiograph": self.radiograph,
            "acceptance": self.acceptance,
        }


def _rounded(value: Any) -> float:
    """Return six decimals, as many as float32 holds."""
    return round(float(value), 6)


def record_cells(result: Prediction | Refusal) -> dict[str, Any]:
    """Return what was done to a film's pixels and what the quality gate found, as cells of a table; None where absent.

    The keys are ``window``, ``reduction``, ``notes``, ``quality_gate_kind`` (the most probable one),
    ``quality_gate_distance`` and ``near_threshold`` (identifiers of the observations that are; empty where none is).
    """
    record = result.radiograph or {}
    gate = result.acceptance if isinstance(result, Refusal) else result.acceptance and result.acceptance.to_dict()
    near = None if isinstance(result, Refusal) else _near(result)
    kinds = (gate or {}).get("kind_probability") or {}
    return {
        "window": record.get("window"),
        "reduction": record.get("reduction"),
        "notes": "; ".join(record.get("notes") or ()) or None,
        "quality_gate_kind": max(kinds, key=lambda kind: kinds[kind]) if kinds else None,
        "quality_gate_distance": (gate or {}).get("distance"),
        "near_threshold": near,
    }


def _near(prediction: Prediction) -> str | None:
    """Return which observations are near their thresholds; None where the model tells of none."""
    near = prediction.near_threshold
    if all(value is None for value in near):
        return None
    return "; ".join(row.identifier for row, value in zip(OBSERVATIONS, near, strict=True) if value)
