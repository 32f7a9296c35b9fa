"""The engine: places, deadlines, batches; no answer lost or crossed."""

from __future__ import annotations

import io
import math
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("prometheus_client")

from xraytransfer import Classifier, Prediction, load
from xraytransfer.errors import RadiographError
from xraytransfer.serve.engine import DeadlineError, DrainingError, Engine, QueueFullError
from xraytransfer.serve.metrics import Metrics
from xraytransfer.serve.settings import Settings

PATIENCE = 20


def film(seed: int, shape: tuple[int, int] = (64, 80)) -> bytes:
    """Return a PNG that no other seed makes."""
    pixels = np.random.default_rng(seed).integers(0, 256, shape, np.uint8) // 2 + 60 * (seed % 3)
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def classifier(toy_model: Path) -> Classifier:
    return load(toy_model, device="cpu", threads=1)


@pytest.fixture
def start(classifier: Classifier) -> Iterator[Callable[..., Engine]]:
    engines = []

    def make(**options: object) -> Engine:
        engines.append(Engine(classifier, Settings(**{"workers": 2, **options}), Metrics()))  # type: ignore[arg-type]
        return engines[-1]

    yield make
    for engine in engines:
        engine.close()


class Gate:
    """Holds workers inside their films until it is opened."""

    def __init__(self) -> None:
        self._open = threading.Event()
        self.reached = threading.Semaphore(0)

    def hold(self, *_: object) -> str:
        self.reached.release()
        self._open.wait(PATIENCE)
        return "held"

    def open(self) -> None:
        self._open.set()


def fill(engine: Engine, gate: Gate, count: int) -> list:
    """Occupy both workers and `count` - 2 places more."""
    futures = [engine.submit(film(i), gate.hold) for i in range(count)]
    for _ in range(min(count, engine.workers)):
        assert gate.reached.acquire(timeout=PATIENCE)
    return futures


def submit(engine: Engine, source: bytes, deadline: float | None = None) -> Future[Prediction]:
    """Return the future of a film's prediction."""
    return engine.submit(source, lambda _, prediction: prediction, deadline)


def await_empty(engine: Engine) -> None:
    """Wait until every place is free: a future's waiters wake a moment before its place is given back."""
    until = time.monotonic() + PATIENCE
    while engine.depth:
        assert time.monotonic() < until
        time.sleep(0.005)


@pytest.mark.parametrize("batch_size", [None, 4])
def test_answers_are_those_of_the_classifier_and_never_crossed(start, classifier, batch_size):
    engine = start(batch_size=batch_size, queue_size=100)
    films = [film(i, (40 + i, 90 - i)) for i in range(40)]
    with ThreadPoolExecutor(8) as clients:
        answers = list(clients.map(lambda data: submit(engine, data).result(PATIENCE), films))
    for data, answer in zip(films, answers, strict=True):
        np.testing.assert_allclose(answer.probability, classifier.predict(data).probability, atol=1e-6)


def test_batches_gather_while_more_is_read(start):
    engine = start(batch_size=8, batch_wait_s=5.0)
    futures = [submit(engine, film(i)) for i in range(16)]
    for future in futures:
        future.result(PATIENCE)
    samples = {s.name: s.value for m in engine.metrics.batch_films.collect() for s in m.samples if not s.labels}
    assert samples["xraytransfer_batch_films_sum"] == 16
    assert samples["xraytransfer_batch_films_count"] < 16


def test_a_lone_film_does_not_wait_for_a_batch(start):
    engine = start(batch_size=8, batch_wait_s=1000.0)
    submit(engine, film(1)).result(PATIENCE)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_a_refused_film_says_why(start, batch_size):
    engine = start(batch_size=batch_size)
    with pytest.raises(RadiographError, match="neither DICOM") as caught:
        submit(engine, b"hello, this is no film at all").result(PATIENCE)
    assert caught.value.reason == "unsupported-format"
    assert submit(engine, film(2)).result(PATIENCE).ok


def test_too_many_pixels_are_refused(start):
    engine = start(max_pixels=1000)
    with pytest.raises(RadiographError) as caught:
        submit(engine, film(3)).result(PATIENCE)
    assert caught.value.reason == "too-large"


def test_a_full_queue_refuses_at_once_and_says_when(start):
    engine, gate = start(queue_size=3), Gate()
    futures = fill(engine, gate, 3)
    assert engine.full
    with pytest.raises(QueueFullError, match="busy") as caught:
        submit(engine, film(9))
    assert caught.value.retry_after >= 1
    gate.open()
    assert [future.result(PATIENCE) for future in futures] == ["held"] * 3
    await_empty(engine)
    assert submit(engine, film(9)).result(PATIENCE).ok


def test_a_waiting_film_that_is_given_up_frees_its_place_and_is_never_read(start):
    engine, gate = start(queue_size=3), Gate()
    fill(engine, gate, 2)
    finished = []
    waiting = engine.submit(film(5), lambda *_: finished.append(1))
    assert engine.full
    assert waiting.cancel()
    assert not engine.full
    gate.open()
    engine.close()
    assert finished == []


def test_a_film_whose_time_is_up_is_not_read(start):
    engine = start()
    with pytest.raises(DeadlineError, match="time was up"):
        submit(engine, film(1), time.monotonic() - 1).result(PATIENCE)
    assert submit(engine, film(1), math.inf).result(PATIENCE).ok


@pytest.mark.parametrize("batch_size", [1, 4])
def test_closing_answers_what_was_accepted_and_takes_no_more(start, batch_size):
    engine = start(batch_size=batch_size)
    futures = [submit(engine, film(i)) for i in range(12)]
    engine.close()
    assert all(future.result(0).ok for future in futures)
    with pytest.raises(DrainingError, match="stopped"):
        submit(engine, film(1))
    engine.close()


@pytest.mark.parametrize("batch_size", [1, 4])
def test_an_unexpected_error_reaches_whoever_waits(start, batch_size):
    engine = start(batch_size=batch_size)

    def fail(*_: object) -> None:
        raise ZeroDivisionError("finish failed")

    with pytest.raises(ZeroDivisionError, match="finish failed"):
        engine.submit(film(1), fail).result(PATIENCE)
    await_empty(engine)
    assert submit(engine, film(2)).result(PATIENCE).ok
