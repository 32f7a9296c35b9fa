"""Readiness: whether a film sent now would be scored, tested by scoring one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Future
from io import BytesIO
from typing import TYPE_CHECKING, Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ComputedRadiographyImageStorage, ExplicitVRLittleEndian, generate_uid

from xraytransfer.errors import RadiographError, ServeError
from xraytransfer.serve.engine import QueueFullError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from xraytransfer.prediction import Prediction
    from xraytransfer.serve.engine import Engine
    from xraytransfer.serve.settings import Settings

__all__ = ["Readiness", "phantom"]

_FRESH_S = 10.0
_BITS = 12


class Readiness:
    """Scores a film and remembers the outcome for ten seconds.

    The film is `Settings.ready_film`, or a `phantom`: it is read, resized and scored like any other, on the same
    provider. While films of clients are being scored, they are the proof and none is added.

    Parameters
    ----------
    engine : Engine
    settings : Settings

    Attributes
    ----------
    checks : list of callable
        Each returns why another part of the server takes no films, or None. They run in a thread, at every question.
    """

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine = engine
        self._own = settings.ready_film is None
        try:
            self._film = settings.ready_film.read_bytes() if settings.ready_film else phantom()
        except OSError as error:
            raise ServeError(f"{settings.ready_film}: {error.strerror}; --ready-film must be readable") from error
        self._lock = asyncio.Lock()
        self.checks: list[Callable[[], str | None]] = []

    def score_now(self) -> Prediction:
        """Score the film, or raise the reason why it cannot be scored. For start-up, outside the event loop."""
        return self._submit().result()

    def _submit(self) -> Future[Prediction]:
        # the model's quality gate may refuse a drawn chest
        return self._engine.submit(self._film, lambda _, prediction: prediction, any_film=self._own)

    async def check(self) -> dict[str, Any]:
        """Return the answer of ``/readyz``; ``ready`` says whether films are scored."""
        async with self._lock:  # one film for all callers
            if time.monotonic() - self._engine.last_scored > _FRESH_S:
                try:
                    scoring: Future[Prediction] = self._submit()
                    await asyncio.wrap_future(scoring)
                except QueueFullError as error:
                    return self._state(False, f"nothing was scored lately and {error}")
                except RadiographError as error:
                    return self._state(False, error.message)
                except ServeError as error:
                    return self._state(False, str(error))
            problems = await asyncio.to_thread(lambda: [problem for check in self.checks if (problem := check())])
        return self._state(not problems, "; ".join(problems) or None)

    def _state(self, ready: bool, problem: str | None) -> dict[str, Any]:
        age = time.monotonic() - self._engine.last_scored
        state: dict[str, Any] = {
            "ready": ready,
            "model": self._engine.classifier.description.name,
            "provider": self._engine.classifier.provider,
            "film": "drawn phantom" if self._own else "the site's own",
            "last_scored_s": round(age, 3) if age < float("inf") else None,
            "queue": self._engine.depth,
        }
        return state if problem is None else {**state, "problem": problem}


def phantom() -> bytes:
    """Return a drawn chest as a DICOM file: two dark lungs, a heart, a spine, 12 bits in 16.

    It is processed like any film (header, window, resize, model). A prediction for it proves that films are scored,
    not that they are scored well.
    """
    pixels = _draw()
    film = Dataset()
    film.file_meta = FileMetaDataset()
    film.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    film.file_meta.MediaStorageSOPClassUID = film.SOPClassUID = ComputedRadiographyImageStorage
    film.file_meta.MediaStorageSOPInstanceUID = film.SOPInstanceUID = generate_uid(
        entropy_srcs=["xraytransfer", "phantom"]
    )
    film.Modality, film.BodyPartExamined, film.ViewPosition = "CR", "CHEST", "PA"
    film.SamplesPerPixel, film.PhotometricInterpretation = 1, "MONOCHROME2"
    film.Rows, film.Columns = pixels.shape
    film.BitsAllocated, film.BitsStored, film.HighBit, film.PixelRepresentation = 16, _BITS, _BITS - 1, 0
    film.WindowCenter, film.WindowWidth = 2048, 4096
    film.PixelData = pixels.tobytes()
    file = BytesIO()
    film.save_as(file, enforce_file_format=True)
    return file.getvalue()


def _draw(side: int = 512) -> NDArray[np.uint16]:
    y, x = np.mgrid[-1 : 1 : side * 1j, -1 : 1 : side * 1j]

    def ellipse(column: float, row: float, width: float, height: float) -> NDArray[np.float64]:
        distance = ((x - column) / width) ** 2 + ((y - row) / height) ** 2
        return np.asarray(0.5 - 0.5 * np.tanh(6 * (distance - 1)))  # soft edges

    body = ellipse(0, 0.25, 0.95, 1.2)
    lungs = ellipse(-0.42, -0.05, 0.33, 0.68) + ellipse(0.42, -0.05, 0.33, 0.68)
    heart = ellipse(0.14, 0.32, 0.3, 0.3)
    spine = ellipse(0, 0, 0.09, 1.4)
    ribs = 0.05 * np.cos(24 * (y + 0.35 * np.abs(x))) * lungs
    shade = 0.62 * body - 0.45 * lungs * (1 - heart) + 0.18 * heart + 0.2 * spine + ribs
    stored: NDArray[np.uint16] = np.clip(shade * (2**_BITS - 1), 0, 2**_BITS - 1).astype(np.uint16)
    return stored
