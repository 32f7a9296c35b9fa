from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from safetensors.torch import save_file  # noqa: E402

from xraytransfer.errors import StudyError  # noqa: E402
from xraytransfer.study.networks import weights as weights_module  # noqa: E402
from xraytransfer.study.networks.architectures import find_architecture  # noqa: E402
from xraytransfer.study.networks.network import build_network  # noqa: E402
from xraytransfer.study.networks.weights import file_sha256, find_weights, read_weights  # noqa: E402

ROW = find_architecture("toy_resnet")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return weights in timm's layout, half precision where it can be, without a classifier."""
    torch.manual_seed(3)
    state = timm.create_model("test_resnet").state_dict()
    state = {n: t.half() if t.ndim >= 2 else t for n, t in state.items() if not n.startswith("fc.")}
    path = tmp_path_factory.mktemp("weights") / "toy_resnet.safetensors"
    save_file(state, path)
    return path


def test_half_precision_and_a_missing_classifier_are_fine(file: Path):
    network = build_network(ROW, weights=file.parent)
    state = read_weights(ROW, file)
    assert all(t.dtype == torch.float32 for t in state.values() if t.is_floating_point())
    torch.testing.assert_close(network.features.get_submodule("layer3.0.conv1").weight, state["layer3.0.conv1.weight"])
    assert build_network(ROW, weights=file, truncation=1).head.in_features == 192


def test_the_tagged_name_comes_first(tmp_path: Path, file: Path):
    for name in ("toy_resnet", "test_resnet", "test_resnet.r160_in1k"):
        (tmp_path / f"{name}.safetensors").write_bytes(file.read_bytes())
    assert find_weights(ROW, tmp_path).name == "test_resnet.r160_in1k.safetensors"


def test_what_is_missing_or_wrong_is_said(tmp_path: Path, file: Path):
    with pytest.raises(StudyError, match=r"no weights for toy_resnet \(tried .*--initialisation random"):
        build_network(ROW, weights=tmp_path)
    with pytest.raises(StudyError, match="no such file or folder"):
        build_network(ROW, weights=tmp_path / "nothing.safetensors")
    (tmp_path / "toy_resnet.safetensors").write_bytes(b"no tensors")
    with pytest.raises(StudyError, match="cannot be read as safetensors"):
        build_network(ROW, weights=tmp_path)
    with pytest.raises(StudyError, match="not the weights of test_efficientnet"):
        build_network(find_architecture("toy_efficientnet"), weights=file)


def test_the_known_file_of_another_row_is_refused(monkeypatch: pytest.MonkeyPatch, file: Path):
    owner = replace(ROW, name="toy_resnet_v0", sha256=file_sha256(file))
    monkeypatch.setattr(weights_module, "ARCHITECTURES", (owner, ROW))
    with pytest.raises(StudyError, match="weights of toy_resnet_v0, not of toy_resnet"):
        read_weights(ROW, file)
    assert read_weights(owner, file)


def test_offline_the_cure_is_named(monkeypatch: pytest.MonkeyPatch):
    create = timm.create_model

    def offline(name: str, pretrained: bool = False, **options: object) -> object:
        if pretrained:
            raise OSError("no route to host")
        return create(name, pretrained=False, **options)

    monkeypatch.setattr(weights_module.timm, "create_model", offline)
    with pytest.raises(StudyError, match=r"cannot be loaded from timm's hub.*--weights-dir"):
        build_network(ROW)


def test_the_hubs_weights_are_used(monkeypatch: pytest.MonkeyPatch):
    create = timm.create_model
    monkeypatch.setattr(
        weights_module.timm,
        "create_model",
        lambda name, pretrained=False, **options: create(name.split(".")[0], **options),
    )
    assert build_network(ROW).head.out_features == 6


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "mobilenetv2_100"])
def test_real_weights_load(shared_data: Path, name: str):
    folder = shared_data.parent / "weights"
    if not folder.is_dir():
        pytest.skip("the folder of ImageNet weights is not beside this checkout")
    network = build_network(find_architecture(name), weights=folder).eval()
    with torch.no_grad():
        assert torch.isfinite(network(torch.zeros(1, 1, 64, 64))).all()


def test_version_1_of_resnet50_is_not_taken_for_1_5(shared_data: Path):
    path = shared_data.parent / "weights" / "resnet50.safetensors"
    if not path.is_file():
        pytest.skip("the folder of ImageNet weights is not beside this checkout")
    with pytest.raises(StudyError, match="weights of resnet50_v1"):
        read_weights(find_architecture("resnet50"), path)
