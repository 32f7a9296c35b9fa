"""What `predict` writes for a film besides its result: overlays, and DICOM objects."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

from xraytransfer.constants import RESEARCH_NOTICE
from xraytransfer.errors import OutputError, ServeError
from xraytransfer.files import write_with
from xraytransfer.film_privacy import printable_line
from xraytransfer.observations import OBSERVATIONS

if TYPE_CHECKING:
    from xraytransfer.prediction import Prediction

__all__ = ["FilmOutputs"]

# file systems allow names of 255 bytes; what is added to a stem needs up to 50
_LONGEST_STEM = 180


@dataclass(frozen=True)
class FilmOutputs:
    """What is written for each film, and where.

    Attributes
    ----------
    overlay : Path or None
        Folder of overlays: the film with an activation map, as PNG.
    observations : tuple of str
        Identifiers of the observations that get an overlay; all six where empty.
    sr, sc : Path or None
        Folders of DICOM structured reports and of secondary captures.
    """

    overlay: Path | None
    observations: tuple[str, ...]
    sr: Path | None
    sc: Path | None

    @property
    def folders(self) -> tuple[Path | None, ...]:
        """Return the folders that are written to."""
        return self.overlay, self.sr, self.sc

    @property
    def need_pixels(self) -> bool:
        """Return whether predictions must keep the film's pixels."""
        return self.overlay is not None or self.sc is not None

    def write(self, outcome: Prediction, film: str | BinaryIO) -> bool:
        """Write a film's overlays and DICOM results.

        Returns
        -------
        bool
            False where DICOM results were asked for and the film allows none, which standard error then says.

        Raises
        ------
        OutputError
            A folder cannot be written.
        """
        self._write_overlays(outcome)
        if self.sr is None and self.sc is None:
            return True
        from xraytransfer.serve.dicom_results.results import ResultFolders, write_results

        problem = "a picture, which belongs to no examination"
        if outcome.radiograph["format"] == "dicom":
            try:
                write_results(outcome, film, ResultFolders(self.sr, self.sc))
                return True
            except ServeError as error:
                problem = str(error)
        click.echo(printable_line(f"no DICOM result: {outcome.source}: {problem}"), err=True)
        return False

    def _write_overlays(self, outcome: Prediction) -> None:
        """Write one PNG per observation, named so that films of one name in two folders keep apart."""
        if self.overlay is None or outcome.pixels is None:
            return
        from xraytransfer.overlay import captioned, overlay

        stem = _stem(outcome.source)
        try:
            for i, observation in enumerate(OBSERVATIONS):
                if self.observations and observation.identifier not in self.observations:
                    continue
                picture = overlay(outcome.pixels, outcome.activation_map[i], full_scale=outcome.full_scale)
                save = partial(captioned(picture, _caption(outcome, i)).save, format="PNG")
                write_with(self.overlay / f"{stem}.{observation.identifier}.png", save)
        except OSError as error:
            raise OutputError(f"{self.overlay}: an overlay cannot be written: {error.strerror or error}") from error


def _stem(source: str) -> str:
    """Return the beginning of a film's file names, with a mark of its path."""
    mark = hashlib.sha256(os.path.abspath(source).encode("utf-8", "surrogateescape")).hexdigest()[:8]
    stem = Path(source).stem.strip("<>") or "film"
    while len(os.fsencode(stem)) > _LONGEST_STEM:
        stem = stem[:-1]
    return f"{stem}-{mark}"


def _caption(outcome: Prediction, i: int) -> list[str]:
    """Return what an overlay shows: observation, probability, threshold, model, and what it is not."""
    threshold = outcome.thresholds[i]
    near = ", near it" if outcome.near_threshold[i] else ""
    limit = "" if threshold is None else f" (threshold {threshold:.3f}{near})"
    return [
        f"{OBSERVATIONS[i].name}: probability {outcome.probability[i]:.3f}{limit}",
        f"Model {outcome.model.name} {outcome.model.version} ({outcome.model.sha256[:12]}).",
        "Colour: where evidence lies, no outline of a finding.",
        *outcome.cautions,
        RESEARCH_NOTICE,
    ]
