"""What `calibrate` tells its user: the new numbers beside the old, and which observations have few films."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from xraytransfer.export.calibration import Calibration
from xraytransfer.export.site_films import SiteFilms
from xraytransfer.model_file import ModelDescription
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.study.data.predictions import Predictions

__all__ = ["site_report"]

_FEW = 50
"""With fewer films of a class, the 95 % interval of a sensitivity (or specificity) of .8 is wider than .66 to .89."""


def site_report(
    out: Path,
    before: ModelDescription,
    after: ModelDescription,
    *,
    calibration: Calibration,
    films: SiteFilms,
    scored: Predictions,
) -> list[str]:
    """Return lines: the copy, its old and new numbers side by side, and what was left as it was, and why.

    Parameters
    ----------
    out : Path
        The copy.
    before, after : ModelDescription
        Of the model and of its copy.
    calibration : Calibration
        The copy's.
    films : SiteFilms
        The site's table.
    scored : Predictions
        Its films that were scored.
    """
    fitted = [k for k, yes in enumerate(calibration.fitted) if yes]
    absent = films.without_column
    few = [row.identifier for k, row in enumerate(OBSERVATIONS) if k not in fitted and row.identifier not in absent]
    kept = calibration.method == "none"
    method = "the model's own calibration kept, none is better" if kept else f"{calibration.method} calibration"
    names = ", ".join(OBSERVATIONS[k].identifier for k in fitted)
    lines = [
        f"{out}: {after.name} {after.version}, checksum of the model {after.sha256}",
        f"{out}: {method}; thresholds of {names} found on {len(scored.image)} films",
        *_table(before, after, fitted, scored, calibration),
        *_warning(fitted, scored),
    ]
    for why, left in (("fewer than 5 films with or without", few), ("the table has no column", absent)):
        if left:
            lines.append(f"left as they were ({why}): {', '.join(left)}")
    return lines


def _table(
    before: ModelDescription,
    after: ModelDescription,
    fitted: list[int],
    scored: Predictions,
    calibration: Calibration,
) -> list[str]:
    """Return mean probabilities and default thresholds, before and after, and how many decisions they change."""
    old, new = _calibrated(before, scored), calibration.apply(scored.ensemble())
    old_threshold, new_threshold = _thresholds(before), _thresholds(after)
    lines = [
        f"{'':18} {'films':>6} {'with it':>8}   {'mean probability':^16}   {'threshold':^16}   decisions",
        f"{'':18} {'':>6} {'':>8}   {'before':>7}  {'now':>7}   {'before':>7}  {'now':>7}   that change",
    ]
    for k in fitted:
        row, known = OBSERVATIONS[k], ~np.isnan(scored.label[:, k])
        with_it = int((scored.label[:, k] == 1).sum())
        means = f"{old[known, k].mean():7.3f}  {new[known, k].mean():7.3f}"
        was, now = old_threshold.get(row.identifier), new_threshold.get(row.identifier)
        line = f"{row.identifier:18} {known.sum():>6} {with_it:>8}   {means}   {_number(was)}  {_number(now)}"
        if was is not None and now is not None:
            changed = ((old[known, k] >= was) != (new[known, k] >= now)).mean()
            line += f"   {changed:11.1%}"
        lines.append(line)
    return lines


def _calibrated(model: ModelDescription, scored: Predictions) -> NDArray[np.float64]:
    """Return the probabilities of the model before: float64, shape (films, 6)."""
    curve = model.calibration
    return np.asarray(scored.ensemble() if curve is None else curve.apply(scored.ensemble()), float)


def _thresholds(model: ModelDescription) -> dict[str, float]:
    """Return the thresholds of the default operating point by observation, where it has one."""
    default = model.document.get("default_operating_point")
    rows = [row for row in model.operating_points if row["name"] == default and row["threshold"] is not None]
    return {row["observation"]: row["threshold"] for row in rows}


def _number(value: float | None) -> str:
    return f"{'-':>7}" if value is None else f"{value:7.3f}"


def _warning(fitted: list[int], scored: Predictions) -> list[str]:
    """Return a line that names the observations whose thresholds rest on few films; none if there are none."""
    few = []
    for k in fitted:
        for value, words in ((1, "with it"), (0, "without")):
            if (count := int((scored.label[:, k] == value).sum())) < _FEW:
                few.append(f"{OBSERVATIONS[k].identifier} ({count} {words})")
    if not few:
        return []
    return [
        f"few films, under {_FEW}: {', '.join(few)}. Other films of this site would give other thresholds, and on new "
        "films they may do worse: test the copy on labelled films that did not calibrate it"
    ]
