"""The engine: films in, predictions out; bounded, side by side on a CPU, in batches on a GPU."""

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
from xraytransfer.serve.cores import keep_to_one

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
    """All places are taken.

    Parameters
    ----------
    retry_after : int
        Seconds after which a place is likely to be free.
    """

    def __init__(self, retry_after: int) -> None:
        super().__init__(f"the server is busy: every place in the queue is taken; try again in {retry_after} s")
        self.retry_after = retry_after


class DrainingError(ServeError):
    """The engine takes no more work: it is being stopped."""

    def __init__(self) -> None:
        super().__init__("the server is being stopped and takes no more films")


class DeadlineError(ServeError):
    """A film's time was up before it was scored."""

    def __init__(self) -> None:
        super().__init__("the film's time was up before it was scored; send fewer at once, or later")


@dataclass(eq=False)
class _Job(Generic[T]):
    """One film on its way: what to read, until when, what to make of the answer, and whom to tell."""

    source: Source | Dataset | None
    deadline: float
    finish: Callable[[Radiograph, Prediction], T]
    any_modality: bool = False
    any_film: bool = False
    future: Future[T] = field(default_factory=Future)


class Engine:
    """Score films from any thread with one classifier.

    A film takes one of `Settings.queue_size` places from `submit` until its future is done; with no place
    left `submit` raises at once. A future that is cancelled before work on it began gives its place back
    at once and is never worked on. On the CPU, films are read and scored side by side, one by one; on other
    devices they are read side by side and scored in batches, gathered while more films are being read, at
    most for `Settings.batch_wait_s`.

    Parameters
    ----------
    classifier : Classifier
        The model that runs.
    settings : Settings
        Workers, batch, queue and limits.
    metrics : Metrics
        Where to count.
    """

    def __init__(self, classifier: Classifier, settings: Settings, metrics: Metrics) -> None:
        from xraytransfer.runtime import cpu_limit

        self.classifier = classifier
        self.metrics = metrics
        self.workers = settings.workers or cpu_limit()
        on_cpu = classifier.provider == "CPUExecutionProvider"
        self.batch_size = settings.batch_size or (1 if on_cpu else 32)
        self._batch_wait_s = settings.batch_wait_s
        self._queue_size = settings.queue_size
        self._deadline_s = settings.deadline_s
        self._max_pixels = settings.max_pixels
        self._changed = threading.Condition()
        self._taken = 0  # places
        self._unread = 0  # films accepted and not yet read, or given up
        self._ready: deque[tuple[_Job[object], Radiograph]] = deque()
        self._closed = False
        self.last_scored = -math.inf  # time.monotonic of the model's last run
        self._film_s = 0.2  # moving average of one film's time in a worker
        keep = keep_to_one(self.workers if self.batch_size == 1 else 0)
        self._readers = ThreadPoolExecutor(self.workers, thread_name_prefix="film", initializer=keep)
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
        """Seconds until the films that wait now are likely to be answered; at least 1."""
        return max(1, min(60, math.ceil(self._taken * self._film_s / self.workers)))

    def submit(self, source: Source | Dataset, deadline: float | None = None) -> Future[Prediction]:
        """Accept a film.

        Parameters
        ----------
        source : str, PathLike, bytes, BinaryIO or pydicom.Dataset
            As for `xraytransfer.read_radiograph`.
        deadline : float or None
            Time of `time.monotonic` at which nobody needs the answer any more. None: `Settings.deadline_s`
            from now; ``math.inf``: never.

        Returns
        -------
        concurrent.futures.Future of Prediction
            Raises `RadiographError` for a film that the reader or the model's judge refuses, `DeadlineError` for
            one that came too late.

        Raises
        ------
        QueueFullError
            At once, if every place is taken.
        DrainingError
            If the engine is being stopped.
        """
        return self.submit_with(source, lambda _, prediction: prediction, deadline)

    def submit_with(
        self,
        source: Source | Dataset,
        finish: Callable[[Radiograph, Prediction], T],
        deadline: float | None = None,
        *,
        any_modality: bool = False,
        any_film: bool = False,
    ) -> Future[T]:
        """Accept a film as `submit` does; the future holds what `finish` makes, in a worker thread.

        `any_modality` and `any_film` are those of `xraytransfer.Classifier.predict`.
        """
        until = time.monotonic() + self._deadline_s if deadline is None else deadline
        job = _Job(source, until, finish, any_modality, any_film)
        with self._changed:
            if self._closed:
                raise DrainingError
            if self._taken >= self._queue_size:
                raise QueueFullError(self.retry_after)
            self._taken += 1
            self._unread += 1
        job.future.add_done_callback(partial(self._release, job))
        reading = self._readers.submit(self._read, job)
        reading.add_done_callback(partial(self._settle, job))
        return job.future

    def close(self) -> None:
        """Take no more films, answer those accepted, end the threads. Twice is harmless."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._readers.shutdown(wait=True)
        if self._gatherer is not None:
            self._gatherer.join()
            self._scorer.shutdown(wait=True)
            self._finishers.shutdown(wait=True)

    def _release(self, job: _Job[T], _: Future[T]) -> None:
        job.source = None  # a cancelled film's bytes go now, not when its turn would have come
        with self._changed:
            self._taken -= 1
            self._changed.notify_all()

    def _settle(self, job: _Job[T], step: Future[None]) -> None:
        """Hand a step's failure to whoever waits for the film."""
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
            )
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
        """Wait for films; return up to a batch of them, or none when the engine is closed and empty."""
        with self._changed:
            self._changed.wait_for(lambda: self._ready or (self._closed and not self._unread))
            # Nothing on its way: waiting would only cost time.
            self._changed.wait_for(
                lambda: len(self._ready) >= self.batch_size or not self._unread, timeout=self._batch_wait_s
            )
            return [self._ready.popleft() for _ in range(min(self.batch_size, len(self._ready)))]

    @staticmethod
    def _finish(job: _Job[T], radiograph: Radiograph, prediction: Prediction) -> None:
        gate = prediction.acceptance
        if gate is not None and not job.any_film and (refusal := gate.refusal(prediction.source)) is not None:
            raise refusal
        job.future.set_result(job.finish(radiograph, prediction))
