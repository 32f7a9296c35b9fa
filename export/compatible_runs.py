"""Which runs can be members of one file: those that learned the same labels of the same films."""

from __future__ import annotations

from xraytransfer.errors import ExportError
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.study.data.placement import placement_of
from xraytransfer.study.training.run_folder import Run

__all__ = ["check_member", "check_same"]

_SHARED = (
    ("intensity", "they were fed differently windowed films"),
    ("label_policy", "they mean different things by the same observation"),
)


def check_member(run: Run) -> None:
    """Raise `ExportError` where no network of a run can be a member of any file; the message says why."""
    if placement_of(run.config) != "stretch":
        raise ExportError(
            f"{run.name} was trained on films whose shorter side was resized and which were cropped (placement "
            f"{placement_of(run.config)}). A model file stretches the whole film, so its answers would be others than "
            "those of the run. Train with --set placement=stretch for a model file."
        )
    if missing := [row.identifier for row in OBSERVATIONS if row.identifier not in run.config["outputs"]]:
        raise ExportError(f"{run.folder}: was not trained for {', '.join(missing)}; a model file needs all six")
    if run.kept_weights.keep == "predictions":
        raise ExportError(f"{run.folder}: thinned to predictions: no weights are left to export; train it again")


def check_same(first: Run, other: Run) -> None:
    """Raise `ExportError` where two runs cannot be members of one file; the message says why."""
    for key, why in _SHARED:
        if first.config[key] != other.config[key]:
            raise ExportError(
                f"{first.name} and {other.name} differ in {key} ({first.config[key]} and {other.config[key]}): {why}"
            )
    corrected = [(run.config["data"].get("corrected") or {}).get("sha256") for run in (first, other)]
    if corrected[0] != corrected[1]:
        raise ExportError(
            f"{first.name} and {other.name} were taught other labels: their data sets were corrected differently"
        )
    same_films = first.config["data"]["name"] == other.config["data"]["name"]
    if not same_films or first.config["split"]["sha256"] != other.config["split"]["sha256"]:
        raise ExportError(
            f"{first.name} and {other.name} divided patients differently: one's test patients may be "
            f"another's training patients, so no number of the ensemble would be honest"
        )
