"""The classifier: one film or many give the same answers, in order, whatever is refused between them."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

import xraytransfer
from xraytransfer.errors import DeviceError, ModelFileError, RadiographError
from xraytransfer.model_file import describe
from xraytransfer.radiograph import Radiograph


def png(seed: int, shape: tuple[int, int] = (120, 100)) -> bytes:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (8, 8), dtype=np.uint8))
    buffer = io.BytesIO()
    coarse.resize(shape[::-1], Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def classifier(toy_model):
    return xraytransfer.load(toy_model, device="cpu", threads=2)


def test_prediction_is_complete(classifier):
    prediction = classifier.predict(png(0), keep_pixels=True)
    assert prediction.ok
    assert prediction.probability.shape == (6,)
    assert prediction.member_probability.shape == (2, 6)
    assert prediction.activation_map.shape == (6, 30, 30)
    np.testing.assert_allclose(prediction.raw_probability, prediction.probability, atol=1e-6)
    assert prediction.pixels.shape == (120, 100)
    assert prediction.provider == "CPUExecutionProvider"
    assert prediction.model.sha256 == classifier.description.sha256
    assert prediction.radiograph["intensity"] == "voi"
    assert prediction.decision == tuple(
        bool(p >= t) for p, t in zip(prediction.probability, prediction.thresholds, strict=True)
    )


def test_graph_resizes_like_the_classifier(classifier):
    """A host that gives the graph the whole film gets the answer that we get with Pillow's resize."""
    film = classifier.read(png(1, (333, 250)))
    mine = classifier.predict(film).probability
    (host,) = classifier._session.run(["probability"], {"image": film.pixels[None, None]})
    np.testing.assert_allclose(mine, host[0], atol=2e-3)


@pytest.mark.parametrize("options", [{}, {"batch_size": 1, "workers": 3}, {"batch_size": 4}, {"batch_size": 50}])
def test_many_equal_singles_in_order(classifier, options):
    sources = [png(i, (60 + 7 * i, 90)) if i % 4 else b"no film" for i in range(21)]
    results = list(classifier.predict_many(sources, **options))
    assert [result.ok for result in results] == [bool(i % 4) for i in range(21)]
    for source, result in zip(sources, results, strict=True):
        if result.ok:
            np.testing.assert_allclose(result.probability, classifier.predict(source).probability, atol=1e-5)
        else:
            assert result.reason == "unsupported-format"


def test_many_is_lazy_and_bounded(classifier):
    drawn = 0

    def endless() -> Iterator[bytes]:
        nonlocal drawn
        while True:
            drawn += 1
            yield png(3)

    results = classifier.predict_many(endless(), workers=2)
    for _ in range(5):
        assert next(results).ok
    results.close()
    assert drawn <= 5 + 6
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("xraytransfer")]


@pytest.mark.parametrize(("films", "threads"), [(1, 4), (2, 2), (3, 1), (9, 1)])
@pytest.mark.parametrize("batch_size", [1, 16])
def test_fewer_films_than_threads_get_several_each(classifier, monkeypatch, films, threads, batch_size):
    asked = []
    read = classifier.read
    monkeypatch.setattr(
        classifier, "read", lambda source, **options: asked.append(options.get("threads")) or read(source, **options)
    )
    results = classifier.predict_many([png(0)] * films, workers=4, batch_size=batch_size)
    assert len(list(results)) == films
    assert [number for number in asked if number is not None] == [threads] * films


def test_broken_source_iterator_is_the_callers_error(classifier):
    def broken() -> Iterator[bytes]:
        yield png(0)
        raise RuntimeError("the list of films broke")

    results = classifier.predict_many(broken(), workers=1)
    with pytest.raises(RuntimeError, match="the list of films broke"):
        list(results)


def test_single_calls_raise(classifier):
    with pytest.raises(RadiographError, match="neither DICOM") as refusal:
        classifier.predict(b"no film at all")
    assert refusal.value.reason == "unsupported-format"
    assert classifier.predict_radiographs([]) == []


def test_wrong_recipe_is_refused(classifier):
    film = xraytransfer.read_radiograph(png(0), intensity="minmax")
    assert isinstance(film, Radiograph)
    with pytest.raises(RadiographError, match="intensity recipe 'minmax'"):
        classifier.predict(film)
    with pytest.raises(RadiographError, match="intensity recipe 'minmax'"):
        classifier.predict_radiographs([film])
    (refusal,) = classifier.predict_many([film])
    assert refusal.reason == "invalid-attribute"


def test_graph_of_another_shape_is_refused(toy_model_writer, tmp_path):
    path = tmp_path / "three.onnx"
    toy_model_writer(path, members=[{"architecture": "toy"}] * 3)
    with pytest.raises(ModelFileError, match=r"member_probability has shape .* expected 3 along axis 1"):
        xraytransfer.load(path)


def test_bad_options(classifier, toy_model):
    with pytest.raises(ValueError, match="at least 1"):
        classifier.predict_many([], batch_size=0)
    with pytest.raises(DeviceError, match="threads is 0"):
        xraytransfer.load(toy_model, threads=0)
    with pytest.raises(ModelFileError, match="no such model file"):
        xraytransfer.load("no-such-model")


def test_many_threads_one_classifier(classifier):
    expected = [classifier.predict(png(i)).probability for i in range(4)]
    failures: list[int] = []

    def work(i: int) -> None:
        for _ in range(5):
            if not np.allclose(classifier.predict(png(i)).probability, expected[i], atol=1e-6):
                failures.append(i)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


def test_an_answer_that_is_no_number_is_no_negative_one(toy_model, tmp_path):
    onnx = pytest.importorskip("onnx")
    from xraytransfer.export.graph.model_writer import serialise

    graph = onnx.load(toy_model)
    weight = next(tensor for tensor in graph.graph.initializer if tensor.name == "weight_b")
    weight.CopyFrom(onnx.numpy_helper.from_array(np.full(tuple(weight.dims), np.nan, np.float32), weight.name))
    path = tmp_path / "nan.onnx"
    path.write_bytes(serialise(graph, describe(toy_model).document))
    model = xraytransfer.load(path, device="cpu", threads=2)
    with pytest.raises(DeviceError, match=r"nan\.onnx on CPU.*<bytes> is no finite number"):
        model.predict(png(0))
    with pytest.raises(DeviceError, match="no finite number"):
        list(model.predict_many([png(0), png(1)]))
