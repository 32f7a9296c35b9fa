"""The graph: contract, parity with torch and Pillow, determinism, every kind of member."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from torch import nn

from xraytransfer.errors import ExportError
from xraytransfer.export.calibration import Calibration
from xraytransfer.export.checks.parity import Parity, measure_parity, random_films
from xraytransfer.export.graph.calibration_numbers import set_calibration
from xraytransfer.export.graph.precision import lower
from xraytransfer.export.graph.resizing import resized
from xraytransfer.export.graph.rewriting import with_fixed_input
from xraytransfer.export.graph.to_onnx import build_graph
from xraytransfer.export.graph.tracing import trace
from xraytransfer.resize import resize
from xraytransfer.study.networks.architectures import find_architecture
from xraytransfer.study.networks.network import build_network
from xraytransfer.study.quality_gate.network import empty_quality_gate

pytestmark = pytest.mark.usefixtures("remembered_traces")


class Plain(nn.Module):
    """A network of one convolution: the smallest thing with ``forward_with_map``."""

    def __init__(self, stride: int = 4, outputs: int = 6, seed: int = 0) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.conv = nn.Conv2d(1, outputs, 5, stride, padding=2)

    def forward_with_map(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        activation = self.conv(x / 255 - 0.5)
        return activation.mean((2, 3)), activation


def session_of(model: onnx.ModelProto) -> ort.InferenceSession:
    return ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])


def films_of(sizes, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, size, dtype=np.uint8) for size in sizes]


def test_the_same_networks_give_the_same_bytes():
    networks = [Plain(seed=1), Plain(seed=2)]
    one, two = (build_graph(networks, (32, 48)).SerializeToString(deterministic=True) for _ in range(2))
    assert one == two


def test_members_keep_their_own_weights_and_order():
    networks = [Plain(seed=seed) for seed in (1, 2, 3)]
    session = session_of(build_graph(networks, (32, 48)))
    parity = measure_parity(networks, session, films_of([(64, 96)] * 3), [], (32, 48), tolerance=1e-5)
    assert parity.passed
    shuffled = measure_parity(networks[::-1], session, films_of([(64, 96)] * 3), [], (32, 48), tolerance=1e-5)
    assert not shuffled.passed


@pytest.mark.parametrize(
    ("whole_film", "whole_made_film", "beyond"),
    [
        (0.004, 0.03, []),
        (0.006, 0.0, ["a whole real film's probability"]),
        (0.0, 0.06, ["a whole made film's probability"]),
        (float("nan"), 0.0, ["a whole real film's probability"]),
    ],
)
def test_rounding_of_grey_levels_may_move_films_of_noise_further_than_real_ones(whole_film, whole_made_film, beyond):
    parity = Parity(38, 32, 1e-6, 1e-6, whole_film, whole_made_film, 1e-4, "CPUExecutionProvider")
    assert [what for what, value, allowed in parity.comparisons() if not value <= allowed] == beyond
    assert parity.passed is (not beyond)


@pytest.mark.parametrize("name", ["toy_resnet", "toy_efficientnet"])
@pytest.mark.parametrize("truncation", [0, 2])
def test_architectures_answer_as_in_torch(name, truncation):
    torch.manual_seed(0)
    network = build_network(find_architecture(name), truncation=truncation, initialisation="random").eval()
    session = session_of(build_graph([network], (64, 64)))
    made = random_films((64, 64), np.random.default_rng(0))
    assert measure_parity([network], session, [], made, (64, 64), tolerance=1e-4).passed


def test_map_of_the_finest_member_where_sizes_differ():
    networks = [Plain(stride=8), Plain(stride=4)]
    session = session_of(build_graph(networks, (32, 32)))
    film = films_of([(40, 40)])
    assert session.run(["activation_map"], {"image": film[0][None, None]})[0].shape == (1, 6, 8, 8)
    assert measure_parity(networks, session, [], film, (32, 32), tolerance=1e-4).passed


@pytest.mark.parametrize("precision", ["float32", "float16-weights"])
def test_members_of_other_resolutions_take_the_film_resized_once_more(precision):
    networks, sides = [Plain(seed=1), Plain(seed=2), Plain(seed=3)], [(20, 30), (32, 48), (20, 30)]
    model = lower(build_graph(networks, (32, 48), resolutions=sides), precision, [])
    tolerance = {"float32": 1e-4, "float16-weights": 2e-3}[precision]
    known, films = {"tolerance": tolerance, "resize_again": resized}, films_of([(64, 96), (40, 50)])
    assert measure_parity(networks, session_of(model), films, [], (32, 48), resolutions=sides, **known).passed
    assert not measure_parity(networks, session_of(model), films, [], (32, 48), **known).passed
    fixed = session_of(with_fixed_input(model, (32, 48)))
    small = resize(films[0], (32, 48))[None, None]
    np.testing.assert_allclose(
        fixed.run(["probability"], {"image": small})[0],
        session_of(model).run(["probability"], {"image": films[0][None, None]})[0],
        atol=1e-3,
    )
    onnx.checker.check_model(model, full_check=True)


def test_batch_equals_singles():
    session = session_of(build_graph([Plain()], (32, 32)))
    films = np.stack(films_of([(50, 70)] * 5))[:, None]
    whole = session.run(None, {"image": films})
    singles = [session.run(None, {"image": films[i : i + 1]}) for i in range(5)]
    for index, values in enumerate(whole):
        np.testing.assert_allclose(values, np.concatenate([single[index] for single in singles]), atol=1e-5)


def test_calibration_in_the_graph():
    c = np.arange(6) / 10
    model = build_graph([Plain(seed=4)], (32, 32))
    calibration = Calibration("beta", np.full(6, 2.0), np.full(6, 0.5), c, {}, np.ones(6, bool))
    set_calibration(model, calibration.initialisers())
    session = session_of(model)
    probability, members, _ = session.run(None, {"image": films_of([(32, 32)])[0][None, None]})
    p = members.mean(axis=1, dtype=float)
    logit = 2 * np.log(p) - 0.5 * np.log1p(-p) + c
    np.testing.assert_allclose(probability, 1 / (1 + np.exp(-logit)), atol=1e-6)


def test_saturated_members_stay_finite():
    network = Plain()
    with torch.no_grad():
        network.conv.bias.fill_(200.0)
    probability = session_of(build_graph([network], (32, 32))).run(None, {"image": np.zeros((1, 1, 9, 9), np.uint8)})[0]
    assert np.isfinite(probability).all()
    assert (probability > 0.999).all()


def test_the_graph_has_no_resize_and_the_lowest_opset():
    gate = empty_quality_gate(find_architecture("toy_resnet"), 1, 48).eval()
    model = build_graph([Plain(stride=8), Plain(stride=4)], (32, 32), quality_gate=gate)
    assert "Resize" not in {node.op_type for node in model.graph.node}
    assert (model.opset_import[0].version, model.ir_version) == (13, 7)
    onnx.checker.check_model(model, full_check=True)


def test_no_paths_or_stack_traces_in_the_graph():
    data = build_graph([Plain()], (32, 32)).SerializeToString()
    assert b"stack_trace" not in data
    assert b".py" not in data


def test_refusals():
    with pytest.raises(ExportError, match="at least one network"):
        build_graph([], (32, 32))
    with pytest.raises(ExportError, match=r"different numbers of observations: \[5, 6\]"):
        build_graph([Plain(), Plain(outputs=5)], (32, 32))


class Branching(Plain):
    def forward_with_map(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return super().forward_with_map(x if x.sum() > 0 else -x)


def test_a_network_that_torch_cannot_write_is_refused_in_one_line():
    with pytest.raises(ExportError, match="torch cannot write this network as ONNX: ") as raised:
        trace(Branching(), (32, 32))
    assert "\n" not in str(raised.value)


def test_tracing_leaves_the_training_mode(monkeypatch):
    network = Plain().train()
    build_graph([network], (32, 32))
    assert network.training
