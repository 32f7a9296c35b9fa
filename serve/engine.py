"""The engine: a bounded queue that scores films, side by side on a CPU and in batches on a GPU."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

from xraytransfer.errors import ServeError
from xraytransfer.radiograph import read_radiograph
from xraytransfer.usable_cores import cpu_limit

if TYPE_CHECKING:
    from pydicom import Dataset

    from xraytransfer.classifier import Classifier
    from xraytransfer.prediction import Prediction
    from xraytransfer.radiograph import Radiograph, Source
    from xraytransfer.serve.metrics import Metrics
    from xraytransfer.serve.settings import Settings

__all__ = ["DeadlineError", "DrainingError", "Engine", "QueueFullError"]

T = TypeVar("T")


class QueueFullError(ServeError):
    """Every place in the queue is taken.

    Parameters
    ----------
    retry_after : int
        Seconds after which a place will probably be free.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the server is busy: every place in the queue is taken; try again in {retry_after} s")
        self.retry_after = retry_after


class DrainingError(ServeError):
    """The engine accepts no more films, because it is being stopped."""

    def __init__(self) -> None:
        super().__init__("the server is being stopped and takes no more films")


class DeadlineError(ServeError):
    """A film was not scored before its deadline."""

    def __init__(self) -> None:
        super().__init__("the film's time was up before it was scored; send fewer at once, or later")


@dataclass(eq=False)
class _Job(Generic[T]):
    """One film on its way: its source, its deadline, what to do with its prediction, and the future of the result."""

    source: Source | Dataset | None
    deadline: float
    finish: Callable[[Radiograph, Prediction], T]
    any_modality: bool = False
    any_film: bool = False
    decode: str = "full"
    future: Future[T] = field(default_factory=Future)


class Engine:
    """Scores films for any thread with one classifier.

    A film holds one of `Settings.queue_size` places from `submit` until its future is done; with no place
    left, `submit` raises at once. A future that is cancelled before work on it began gives its place back
    at once, and its film is never read. On the CPU, films are read and scored side by side, one by one. On other
    devices they are read side by side and scored in batches; a batch waits for films that are being read, at
    most for `Settings.batch_wait_s`.

    Parameters
    ----------
    classifier : Classifier
    settings : Settings
        Workers, batch, queue and limits.
    metrics : Metrics
        Where reading and scoring are counted.

    Attributes
    ----------
    workers : int
        Films read side by side.
    batch_size : int
        Most films in one run of the model.
    last_scored : float
        `time.monotonic` of the model's last run; minus infinity before the first.
    """

    def __init__(self, classifier: Classifier, settings: Settings, metrics: Metrics) -> None:
        self.classifier = classifier
        self.metrics = metrics
        self.workers = settings.workers or cpu_limit()
        on_cpu = classifier.provider == "CPUExecutionProvider"
        self.batch_size = settings.batch_size or (1 if on_cpu else 32)
        self._batch_wait_s = settings.batch_wait_s
        self._queue_size = settings.queue_size
        self._deadline_s = settings.deadline_s
        self._max_pixels = settings.max_pixels
        self._decode = settings.decode
        self._changed = threading.Condition()
        self._taken = 0  # places
        self._unread = 0  # films accepted and neither read nor given up
        self._ready: deque[tuple[_Job[object], Radiograph]] = deque()
        self._closed = False
        self.last_scored = -math.inf
        self._film_s = 0.2  # moving average of one film's time in a worker
        self._readers = ThreadPoolExecutor(self.workers, thread_name_prefix="film")
        self._gatherer: threading.Thread | None = None
        if self.batch_size > 1:
            self._finishers = ThreadPoolExecutor(self.workers, thread_name_prefix="finish")
            self._scorer = ThreadPoolExecutor(1, thread_name_prefix="score")
            self._gatherer = threading.Thread(target=self._gather, name="gather", daemon=True)
            self._gatherer.start()
        metrics.watch_queue(lambda: self._taken, self._queue_size)

    @property
    def depth(self) -> int:
        """Films accepted and not yet answered."""
        return self._taken

    @property
    def full(self) -> bool:
        """Whether the next film would be refused."""
        return self._taken >= self._queue_size

    @property
    def retry_after(self) -> int:
        """Seconds until the films that wait now will probably be answered; 1 to 60."""
        return max(1, min(60, math.ceil(self._taken * self._film_s / self.workers)))

    def submit(
        self,
        source: Source | Dataset,
        finish: Callable[[Radiograph, Prediction], T],
        deadline: float | None = None,
        *,
        any_modality: bool = False,
        any_film: bool = False,
        decode: str | None = None,
    ) -> Future[T]:
        """Accept a film.

        Parameters
        ----------
        source : str, PathLike, bytes, BinaryIO or pydicom.Dataset
            As for `xraytransfer.read_radiograph`.
        finish : callable
            Called in a worker thread with the film and its prediction.
        deadline : float or None
            `time.monotonic` after which the film is not scored any more. None: `Settings.deadline_s`
            from now; ``math.inf``: never.
        any_modality, any_film : bool
            As for `xraytransfer.Classifier.predict`.
        decode : str or None
            As for `xraytransfer.Classifier.predict`; None: that of the settings.

        Returns
        -------
        concurrent.futures.Future
            Holds what `finish` returns. Raises `RadiographError` for a film that the reader or the model's quality gate
            refuses, `DeadlineError` for one whose deadline passed.

        Raises
        ------
        QueueFullError
            Every place is taken.
        DrainingError
            The engine is being stopped.
        RuntimeError
            The system starts no further thread.
        """
        if deadline is None:
            deadline = time.monotonic() + self._deadline_s
        job = _Job(source, deadline, finish, any_modality, any_film, decode or self._decode)
        with self._changed:
            if self._closed:
                raise DrainingError
            if self._taken >= self._queue_size:
                raise QueueFullError(self.retry_after)
            self._taken += 1
            self._unread += 1
        job.future.add_done_callback(partial(self._release, job))
        try:
            reading = self._readers.submit(self._read, job)
        except (RuntimeError, MemoryError):  # no thread can be started
            job.future.cancel()  # gives the place back; a thread that comes to the film later passes it over
            raise
        reading.add_done_callback(partial(self._settle, job))
        return job.future

    def close(self) -> None:
        """Accept no more films, answer the accepted ones and end the threads; a second call does nothing."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._readers.shutdown(wait=True)
        if self._gatherer is not None:
            self._gatherer.join()
            self._scorer.shutdown(wait=True)
            self._finishers.shutdown(wait=True)

    def _release(self, job: _Job[T], _: Future[T]) -> None:
        job.source = None  # frees a cancelled film's bytes now, not when its turn would have come
        with self._changed:
            self._taken -= 1
            self._changed.notify_all()

    def _settle(self, job: _Job[T], step: Future[None]) -> None:
        """Pass a step's failure on to the film's future."""
        error = step.exception()
        if error is not None and not job.future.done():
            job.future.set_exception(error)

    def _read(self, job: _Job[T]) -> None:
        radiograph = None
        try:
            source = job.source
            if not job.future.set_running_or_notify_cancel() or source is None:
                return
            started = time.monotonic()
            if started > job.deadline:
                raise DeadlineError
            radiograph = read_radiograph(
                source,
                intensity=self.classifier.description.intensity,
                any_modality=job.any_modality,
                max_pixels=self._max_pixels,
                reduced_to=min(self.classifier.description.resolution) if job.decode == "reduced" else None,
            )
            self.classifier.check_intended(radiograph)
            self.metrics.read_seconds.observe(time.monotonic() - started)
        finally:
            with self._changed:
                self._unread -= 1
                if radiograph is not None and self.batch_size > 1:
                    self._ready.append((job, radiograph))  # type: ignore[arg-type]
                self._changed.notify_all()
        if self.batch_size == 1:
            (prediction,) = self._score([radiograph])
            self._finish(job, radiograph, prediction)
        self._film_s += 0.1 * (time.monotonic() - started - self._film_s)

    def _score(self, radiographs: list[Radiograph]) -> list[Prediction]:
        started = time.monotonic()
        predictions = self.classifier.predict_radiographs(radiographs)
        self.metrics.score_seconds.observe(time.monotonic() - started)
        self.metrics.batch_films.observe(len(radiographs))
        self.last_scored = time.monotonic()
        return predictions

    def _gather(self) -> None:
        while batch := self._next_batch():
            scoring = self._scorer.submit(self._score, [radiograph for _, radiograph in batch])
            error = scoring.exception()  # waits
            if error is not None:
                for job, _ in batch:
                    job.future.set_exception(error)
                continue
            for (job, radiograph), prediction in zip(batch, scoring.result(), strict=True):
                finishing = self._finishers.submit(self._finish, job, radiograph, prediction)
                finishing.add_done_callback(partial(self._settle, job))

    def _next_batch(self) -> list[tuple[_Job[object], Radiograph]]:
        """Wait for films and return up to a batch of them; none when the engine is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or (self._closed and not self._unread))
            # A batch waits only while other films are being read.
            self._changed.wait_for(
                lambda: len(self._ready) >= self.batch_size or not self._unread, timeout=self._batch_wait_s
            )
            return [self._ready.popleft() for _ in range(min(self.batch_size, len(self._ready)))]

    @staticmethod
    def _finish(job: _Job[T], radiograph: Radiograph, prediction: Prediction) -> None:
        gate = prediction.acceptance
        if gate is not None and not job.any_film and (refusal := gate.refusal(prediction.source)) is not None:
            refusal.radiograph = prediction.radiograph
            raise refusal
        job.future.set_result(job.finish(radiograph, prediction))
