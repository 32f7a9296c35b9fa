"""Triton's configuration, read by Triton's own schema; its inputs are scored by ONNX Runtime."""

from __future__ import annotations

import shutil

import numpy as np
import onnxruntime as ort
import pytest
from click.testing import CliRunner

pytest.importorskip("onnx")
model_config_pb2 = pytest.importorskip("tritonclient.grpc.model_config_pb2")
from google.protobuf import text_format  # noqa: E402
from tritonclient.utils import triton_to_np_dtype  # noqa: E402

import xraytransfer  # noqa: E402
from xraytransfer.cli.models import models  # noqa: E402
from xraytransfer.errors import ExportError, ModelFileError  # noqa: E402
from xraytransfer.export.file_copies import fixed_copy, renewed_copy  # noqa: E402
from xraytransfer.export.triton import write_repository  # noqa: E402
from xraytransfer.resize import resize  # noqa: E402


@pytest.fixture(scope="module", params=["any", "uint8", "float32"])
def model(request, tmp_path_factory):
    path = tmp_path_factory.mktemp("triton") / "model.onnx"
    if request.param == "any":
        return renewed_copy("default-small", path)
    return fixed_copy("default-small", path, kind=request.param)


@pytest.fixture
def served(model, tmp_path):
    """Return Triton's configuration and the session that its backend would open."""
    folder = write_repository(model, tmp_path)
    config = text_format.Parse((folder / "config.pbtxt").read_text(), model_config_pb2.ModelConfig())
    return config, ort.InferenceSession(folder / "1" / "model.onnx", providers=["CPUExecutionProvider"])


def array(dtype, dims, batch, value=0):
    name = model_config_pb2.DataType.Name(dtype).removeprefix("TYPE_")
    return np.full([batch, *(64 if side == -1 else side for side in dims)], value, triton_to_np_dtype(name))


def test_inputs_and_outputs_are_those_of_the_graph(served):
    config, session = served
    assert (config.platform, config.name) == ("onnxruntime_onnx", "default-small")
    (entry,) = config.input
    for batch in (1, 3, config.max_batch_size):
        answers = session.run(None, {entry.name: array(entry.data_type, entry.dims, batch, 100)})
        found = dict(zip([output.name for output in session.get_outputs()], answers, strict=True))
        assert {output.name for output in config.output} == set(found)
        for output in config.output:
            shape = output.reshape.shape if output.HasField("reshape") else output.dims
            assert found[output.name].dtype == np.float32
            assert len(found[output.name].shape) == 1 + len(shape)
            sides = zip(found[output.name].shape, [batch, *shape], strict=True)
            assert all(expected in (-1, side) for side, expected in sides)


def test_every_preferred_batch_is_warm_before_the_model_is_ready(served):
    config, session = served
    (entry,) = config.input
    assert [item.batch_size for item in config.model_warmup] == [1, *config.dynamic_batching.preferred_batch_size]
    assert max(config.dynamic_batching.preferred_batch_size) <= config.max_batch_size
    for item in config.model_warmup:
        ((name, film),) = item.inputs.items()
        assert (name, film.data_type, film.zero_data) == (entry.name, entry.data_type, True)
        (probability,) = session.run(["probability"], {name: array(film.data_type, film.dims, item.batch_size)})
        assert len(probability) == item.batch_size
    (instances,) = config.instance_group
    assert (instances.kind, instances.count) == (model_config_pb2.ModelInstanceGroup.KIND_AUTO, 1)


def test_a_batch_of_films_has_the_answers_of_each(served, model, sample_film):
    config, session = served
    classifier = xraytransfer.load(model, device="cpu")
    film = classifier.read(sample_film("RG1_UNCR"))
    pixels = resize(film.pixels, classifier.description.resolution)
    batch = np.stack([pixels, pixels[:, ::-1]])[:, None]
    dtype = array(config.input[0].data_type, [], 1).dtype
    (probability,) = session.run(["probability"], {config.input[0].name: batch.astype(dtype)})
    np.testing.assert_allclose(probability[0], classifier.predict(film).probability, atol=1e-5)


def test_the_command_takes_shipped_models_and_keeps_others(tmp_path):
    (tmp_path / "other").mkdir()
    done = CliRunner().invoke(models, ["triton", "default-small", "-o", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert done.output == f"Triton: {tmp_path / 'default-small'}\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["default-small", "other"]
    names = (tmp_path / "default-small" / "observations.txt").read_text().split()
    assert names == [observation.identifier for observation in xraytransfer.OBSERVATIONS]
    again = CliRunner().invoke(models, ["triton", "default-small", "-o", str(tmp_path)])
    assert again.exit_code != 0
    assert "default-small: exists; --overwrite replaces it" in str(again.exception)
    assert CliRunner().invoke(models, ["triton", "default-small", "-o", str(tmp_path), "--overwrite"]).exit_code == 0


def test_a_damaged_model_or_folder_is_refused(model, tmp_path):
    damaged = tmp_path / "damaged.onnx"
    data = bytearray(model.read_bytes())
    data[len(data) // 3] ^= 1
    damaged.write_bytes(data)
    with pytest.raises(ModelFileError):
        write_repository(damaged, tmp_path / "repository")
    assert not (tmp_path / "repository").exists()
    shutil.copy(model, tmp_path / "a-file")
    with pytest.raises(ExportError, match="cannot be written"):
        write_repository(model, tmp_path / "a-file")
