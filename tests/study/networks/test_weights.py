from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

import huggingface_hub  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

from xraytransfer.errors import StudyError  # noqa: E402
from xraytransfer.study.networks import weights as weights_module  # noqa: E402
from xraytransfer.study.networks.architectures import find_architecture  # noqa: E402
from xraytransfer.study.networks.network import build_network  # noqa: E402
from xraytransfer.study.networks.weights import (  # noqa: E402
    check_hub_weights,
    file_sha256,
    find_weights,
    read_weights,
)

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


class Hub(ThreadingHTTPServer):
    """A hub that has some files, and counts what it is asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answer)
        self.files: set[str] = set()
        self.asked: list[str] = []
        self.broken = False

    @property
    def address(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Answer(BaseHTTPRequestHandler):
    """One answer of the hub, with the headers of the real one."""

    server: Hub

    def do_HEAD(self) -> None:
        self.server.asked.append(self.path)
        if self.server.broken:
            self.send_error(503)
            return
        repositories = {name.split("/resolve/")[0] for name in self.server.files}
        headers = {"X-Repo-Commit": "c" * 40, "ETag": '"e"', "Content-Length": "5"}
        if self.path not in self.server.files:
            known = self.path.split("/resolve/")[0] in repositories
            headers = {"X-Error-Code": "EntryNotFound" if known else "RepoNotFound", "X-Repo-Commit": "c" * 40}
        self.send_response(200 if self.path in self.server.files else 404)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """Serve a hub on this machine, with an empty local cache."""
    server = Hub()
    template = server.address + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    thread = Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


OTHER = find_architecture("toy_efficientnet")
FILES = {
    "/timm/test_resnet.r160_in1k/resolve/main/model.safetensors",
    "/timm/test_efficientnet.r160_in1k/resolve/main/pytorch_model.bin",
}


def test_the_hub_is_asked_and_nothing_is_downloaded(hub: Hub, tmp_path: Path):
    hub.files = FILES
    check_hub_weights([ROW, OTHER])
    assert set(hub.asked) >= FILES
    assert not list((tmp_path / "hub").rglob("*.safetensors"))


def test_all_that_the_hub_lacks_is_named(hub: Hub):
    hub.files = {"/timm/test_resnet.r160_in1k/resolve/main/config.json"}
    unknown = replace(ROW, name="mine", timm="test_resnet.no_such_tag")
    with pytest.raises(StudyError, match=r"no weights for toy_resnet, toy_efficientnet, mine; .*--weights-dir"):
        check_hub_weights([ROW, OTHER, unknown])


def test_weights_that_timm_has_elsewhere_are_not_looked_for(hub: Hub, monkeypatch: pytest.MonkeyPatch):
    elsewhere = replace(timm.get_pretrained_cfg(ROW.timm), hf_hub_id=None, url="https://example.org/weights.pth")
    monkeypatch.setattr(weights_module.timm, "get_pretrained_cfg", lambda name, **options: elsewhere)
    check_hub_weights([ROW])
    assert not hub.asked


def test_a_hub_that_cannot_be_reached_is_asked_once(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    hub.files = FILES
    snapshot = tmp_path / "hub" / "models--timm--test_resnet.r160_in1k"
    (snapshot / "refs").mkdir(parents=True)
    (snapshot / "refs" / "main").write_text("c" * 40)
    (snapshot / "snapshots" / ("c" * 40)).mkdir(parents=True)
    (snapshot / "snapshots" / ("c" * 40) / "model.safetensors").write_bytes(b"cached")
    check_hub_weights([ROW])
    assert not hub.asked  # what the cache holds needs no hub
    hub.broken = True
    with pytest.raises(StudyError, match=r"of toy_efficientnet, resnet18 are not in the local cache.*go online once"):
        check_hub_weights([ROW, OTHER, find_architecture("resnet18")])
    assert len(hub.asked) == 1
    monkeypatch.setattr(huggingface_hub.constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}")
    with pytest.raises(StudyError, match="hub cannot be reached"):
        check_hub_weights([OTHER])  # nothing listens there


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
