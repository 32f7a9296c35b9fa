"""The worker: hands films from the spool to the engine, and puts their results back into the spool."""

from __future__ import annotations

import math
import sqlite3
import threading
from concurrent.futures import CancelledError, Future
from typing import TYPE_CHECKING

from xraytransfer.errors import PASSING, RadiographError, ServeError
from xraytransfer.film_privacy import place_of
from xraytransfer.plural import counted
from xraytransfer.prediction import ModelIdentity
from xraytransfer.serve.dicom_results.film_header import read_header
from xraytransfer.serve.dicom_results.identity import UNREADABLE
from xraytransfer.serve.dicom_results.results import Result, make_refusal, make_results
from xraytransfer.serve.engine import DrainingError, QueueFullError
from xraytransfer.serve.log import film_log, log
from xraytransfer.serve.spool.spool import MAX_ATTEMPTS

if TYPE_CHECKING:
    from xraytransfer.prediction import Prediction
    from xraytransfer.radiograph import Radiograph
    from xraytransfer.serve.dicom.events import DicomEvents
    from xraytransfer.serve.dicom_settings import DicomSettings
    from xraytransfer.serve.engine import Engine
    from xraytransfer.serve.spool.database import QueuedFilm
    from xraytransfer.serve.spool.spool import Spool

__all__ = ["Worker"]

_IDLE_S = 1.0  # longest sleep: nothing signals that a film that was put back is due
# Nobody expects an answer to the other objects of an examination; our own captures, sent back, are colour pictures.
_NO_REPORT = frozenset({"not-a-radiograph", "colour", "multi-frame", "no-pixels"})
_DISK_S = 10.0  # wait after the disk refused to write


class Worker:
    """A thread that has every received film scored.

    A film that is refused (no chest radiograph, damaged, ...) is counted and deleted, because its sender has it, and a
    report says that it was not evaluated. A film that fails otherwise, or during which the process dies, is tried again
    a few times and then put into ``dead``.

    Parameters
    ----------
    settings : DicomSettings
    spool : Spool
    engine : Engine
    events : DicomEvents
        Counts refused films by reason.
    """

    def __init__(self, settings: DicomSettings, spool: Spool, engine: Engine, events: DicomEvents) -> None:
        self._events = events
        self._settings, self._spool, self._engine = settings, spool, engine
        self._destinations = [destination.name for destination in settings.destinations]
        description = engine.classifier.description
        self._model = ModelIdentity(description.name, description.version, description.sha256)
        self._stopping = threading.Event()
        self._in_engine = 0
        self._ahead = engine.workers + engine.batch_size  # enough to keep it busy; the other places are for HTTP
        self._thread = threading.Thread(target=self._run, name="dicom worker", daemon=True)
        self._thread.start()

    def stop(self, timeout_s: float = 60.0) -> None:
        """Submit no more films and wait for those in the engine; the others stay in the spool."""
        self._stopping.set()
        with self._spool.changed:
            self._spool.changed.notify_all()
        self._thread.join()
        with self._spool.changed:
            self._spool.changed.wait_for(lambda: self._in_engine == 0, timeout=timeout_s)

    def _run(self) -> None:
        while not self._stopping.is_set():
            film = None
            try:
                with self._spool.changed:
                    if self._in_engine < self._ahead:
                        film = self._spool.claim()
                    if film is None:
                        if not self._stopping.is_set():
                            self._spool.changed.wait(_IDLE_S)
                        continue
                    self._in_engine += 1
                self._submit(film)
            except (OSError, sqlite3.Error) as error:
                self._disk_failed(film, error)
                self._stopping.wait(_IDLE_S)
            # Nobody else has films scored, so no error of a library or of this program ends the thread.
            except Exception as error:  # noqa: BLE001
                self._failed(film, error)
                self._stopping.wait(_IDLE_S)

    def _failed(self, film: QueuedFilm | None, error: Exception) -> None:
        """Put a film back for later after an error that nobody expected."""
        log.error("DICOM: unexpected %s; again in %.0f s", place_of(error), _DISK_S)
        if film is not None:
            self._spool.hold_back(film, _DISK_S)

    def _disk_failed(self, film: QueuedFilm | None, error: Exception) -> None:
        """Put a film back for later; the spool is as it was."""
        log.error("DICOM: the spool takes nothing (%s); again in %.0f s", error, _DISK_S)
        if film is not None:
            self._spool.hold_back(film, _DISK_S)

    def _submit(self, film: QueuedFilm) -> None:
        if film.attempts > MAX_ATTEMPTS:
            self._leave()
            self._bury(film, f"given up after {MAX_ATTEMPTS} attempts that ended without an answer")
            return

        def finish(radiograph: Radiograph, prediction: Prediction) -> list[Result]:
            return self._finish(film, radiograph, prediction)

        try:
            # a capture shows the film: it has full resolution
            decode = "full" if self._settings.secondary_capture else None
            future = self._engine.submit(str(film.path), finish, deadline=math.inf, decode=decode)
        except QueueFullError:
            self._leave()
            self._spool.release(film, 0.5, counts=False)
        except DrainingError:
            self._leave()
            self._stopping.set()
            self._spool.release(film, 0.0, counts=False)
        except BaseException:
            self._leave()
            raise
        else:
            future.add_done_callback(lambda done: self._record(film, done))

    def _finish(self, film: QueuedFilm, radiograph: Radiograph, prediction: Prediction) -> list[Result]:
        """Make a film's results. Runs in the engine's thread, which has the pixels."""
        with film.path.open("rb") as file:
            header = read_header(file)
        return make_results(
            header,
            radiograph.pixels,
            prediction,
            report=self._settings.structured_report,
            capture=self._settings.secondary_capture,
        )

    def _record(self, film: QueuedFilm, done: Future[list[Result]]) -> None:
        try:
            self._settle(film, done)
        except (OSError, sqlite3.Error) as error:
            self._disk_failed(film, error)
        finally:
            self._leave()

    def _settle(self, film: QueuedFilm, done: Future[list[Result]]) -> None:
        """Write the outcome of a film into the spool."""
        error = CancelledError() if done.cancelled() else done.exception()
        if error is None:
            results = done.result()
            self._spool.score(film, results, self._destinations)
            film_log.info(
                "DICOM: a film was scored; %s to send", counted(len(results) * len(self._destinations), "result")
            )
        elif isinstance(error, RadiographError) and error.reason not in PASSING:
            self._events.refusals.labels(error.reason).inc()
            log.warning("DICOM: a film was refused: %s", error.reason)
            self._spool.refuse(film, self._refusal(film, error.reason), self._destinations)
        elif isinstance(error, ServeError):
            self._bury(film, str(error))
        elif isinstance(error, CancelledError):
            self._spool.release(film, 0.0, counts=False)
        else:  # an error of this program, machine or disk; only its kind is logged: its message may hold patient data
            kind = error.reason if isinstance(error, RadiographError) else type(error).__name__
            if film.attempts >= MAX_ATTEMPTS:
                self._bury(film, f"scoring failed {film.attempts} times ({kind})")
                return
            wait_s = self._settings.back_off(film.attempts)
            log.error("DICOM: scoring a film failed (%s); again in %.0f s", kind, wait_s)
            self._spool.release(film, wait_s, counts=True)

    def _refusal(self, film: QueuedFilm, reason: str) -> list[Result]:
        """Make the report that says that a film was not evaluated; none where none is wanted or can be made."""
        wanted = self._settings.structured_report and self._settings.refusal_report
        if not wanted or reason in _NO_REPORT:
            return []
        try:
            return [make_refusal(film.path, reason, self._model)]
        except (ServeError, *UNREADABLE) as error:  # the film is refused all the same
            kind = error if isinstance(error, ServeError) else type(error).__name__
            log.warning("DICOM: no report says that the film was refused: %s", kind)
            return []

    def _bury(self, film: QueuedFilm, reason: str) -> None:
        log.error("DICOM: a film was given up: %s; it lies in %s", reason, self._spool.dead)
        self._spool.bury_film(film, reason)

    def _leave(self) -> None:
        with self._spool.changed:
            self._in_engine -= 1
            self._spool.changed.notify_all()
