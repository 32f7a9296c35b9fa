from __future__ import annotations

import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")
timm = pytest.importorskip("timm")

from xraytransfer.errors import StudyError  # noqa: E402
from xraytransfer.study.networks.architectures import ARCHITECTURES, Architecture, find_architecture  # noqa: E402
from xraytransfer.study.networks.network import build_network, cut_network  # noqa: E402

# Millions of parameters with 14 outputs, of the whole network and of what is left without its final stages
# (facts on the paper's tables: computed with timm, the paper's ratios reproduced).
PARAMETERS = {
    "densenet121": 6.968,
    "densenet169": 12.508,
    "densenet201": 18.120,
    "efficientnet_b0": 4.025,
    "efficientnet_b1": 6.531,
    "efficientnet_b2": 7.721,
    "efficientnet_b3": 10.718,
    "mobilenetv2_100": 2.242,
    "mobilenetv3_large_100": 4.220,
}
# Six outputs.
PARAMETERS_6 = {
    "resnet18": 11.180,
    "resnet34": 21.288,
    "resnet50": 23.520,
    "resnet101": 42.512,
    "inception_v3": 21.798,
    "inception_v4": 41.152,
    "mnasnet_100": 3.110,
}
# How many times smaller: (millions that the paper's column starts from, ratio after 1, 2, 3, ... stages).
RATIOS = {
    "resnet18": (11.690, (4.20, 17.07, 73.79)),
    "densenet121": (6.968, (1.63, 5.34, 20.01)),
    "efficientnet_b0": (4.025, (1.40, 4.72, 12.99, 60.7)),
    "mnasnet_100": (3.120, (1.49, 6.57, 11.8)),
}


@pytest.mark.parametrize("row", [r for r in ARCHITECTURES if r.group != "extra"], ids=lambda row: row.name)
def test_every_row_at_every_truncation(row: Architecture):
    torch.manual_seed(0)
    whole = timm.create_model(row.timm.split(".")[0], num_classes=0)
    x = torch.randint(0, 256, (1, 1, 96, 96)).float()
    counts, sides = [], []
    for truncation in range(5):
        network = cut_network(copy.deepcopy(whole), row, outputs=14, truncation=truncation)
        counts.append(network.parameter_count() / 1e6)
        network.eval()
        logits, activation = network.forward_with_map(x)
        assert logits.shape == (1, 14)
        assert activation.shape[:2] == (1, 14)
        sides.append(activation.shape[-1])
        logits.sum().backward()
        without = [name for name, p in network.named_parameters() if p.grad is None]
        assert not without, f"no gradient: {without}"
        if network.hidden is None:
            total = activation.mean(dim=(2, 3)) + network.head.bias
            torch.testing.assert_close(total, logits, rtol=1e-4, atol=1e-4)
        own = dict(whole.named_parameters())
        kept = dict(network.features.named_parameters())
        same = [value for name, value in kept.items() if name in own and value.shape == own[name].shape]
        assert all(any(torch.equal(value, other) for other in own.values()) for value in same[1:4])
    assert counts == sorted(counts, reverse=True)
    assert sides == sorted(sides)
    if row.name in PARAMETERS:
        assert round(counts[0], 3) == PARAMETERS[row.name]
    if row.name in PARAMETERS_6:
        head = 8 * (cut_network(whole, row, outputs=1, truncation=0).head.in_features + 1) / 1e6
        assert round(counts[0] - head, 3) == PARAMETERS_6[row.name]
    if row.name in RATIOS:
        start, ratios = RATIOS[row.name]
        for count, ratio in zip(counts[1:], ratios, strict=False):
            assert start / count == pytest.approx(ratio, rel=0.005)


# Side of the activation map at 320 pixels, whole and without one to four final stages. The paper's: 10, 20, 40, 80
# for a ResNet or DenseNet; a MobileNet-like network has two stages at one resolution; Inception pads nothing.
MAPS = {
    "resnet": (10, 20, 40, 80, 80),
    "densenet": (10, 20, 40, 80, 80),
    "efficientnet": (10, 10, 20, 20, 40),
    "mobilenetv3": (10, 10, 20, 20, 40),
    "inception_v3": (8, 18, 37, 76, 157),
    "inception_v4": (8, 18, 37, 78, 157),
}


@pytest.mark.parametrize("row", [r for r in ARCHITECTURES if r.group == "study"], ids=lambda row: row.name)
def test_the_activation_map_has_the_resolution_of_its_last_stage(row: Architecture):
    whole = timm.create_model(row.timm.split(".")[0], num_classes=0)
    sides = []
    for truncation in range(5):
        # on the meta device shapes are computed, and nothing else
        network = cut_network(copy.deepcopy(whole), row, outputs=6, truncation=truncation).eval().to("meta")
        _, activation = network.forward_with_map(torch.empty(1, 1, 320, 320, device="meta"))
        assert activation.shape[2] == activation.shape[3]
        sides.append(activation.shape[3])
    assert tuple(sides) == MAPS[row.body]


@pytest.mark.parametrize(
    "name", ["toy_resnet", "toy_efficientnet", "resnet18", "mobilenetv3_large_100", "tf_efficientnet_lite0"]
)
def test_the_grey_stem_equals_timms_three_channels(name: str):
    row = find_architecture(name)
    torch.manual_seed(1)
    model = timm.create_model(row.timm.split(".")[0], num_classes=0).eval()
    network = cut_network(copy.deepcopy(model), row, outputs=6, truncation=0).eval()
    grey = torch.randint(0, 256, (2, 1, 64, 64))
    colour = (grey.float().repeat(1, 3, 1, 1) / 255 - torch.tensor(row.mean)[:, None, None]) / torch.tensor(row.std)[
        :, None, None
    ]
    with torch.no_grad():
        expected = network.head(model(colour))
        torch.testing.assert_close(network(grey.float()), expected, rtol=1e-4, atol=1e-4)
        # uint8, as it comes from the cache, is the same
        torch.testing.assert_close(network(grey.to(torch.uint8)), network(grey.float()), rtol=0, atol=0)
        # the border too: features before the pooling
        torch.testing.assert_close(network.feature_map(grey), model.forward_features(colour), rtol=1e-3, atol=1e-4)


def test_densenet_drops_the_transition_before_the_block():
    names = [name for name, _ in build_network(
        find_architecture("densenet121"), truncation=1, initialisation="random"
    ).features.named_children()]  # fmt: skip
    assert names[-1] == "denseblock3"
    assert "transition2" in names
    assert "transition3" not in names


def test_stride_stands_in_the_first_convolution_of_version_1():
    network = build_network(find_architecture("resnet50_v1"), truncation=2, initialisation="random")
    first = network.features.get_submodule("layer2.0")
    assert first.get_submodule("conv1").stride == (2, 2)
    assert first.get_submodule("conv2").stride == (1, 1)


def test_the_hidden_head_of_mobilenetv3_is_applied_at_each_position():
    network = build_network(find_architecture("mobilenetv3_large_100"), initialisation="random").eval()
    x = torch.full((1, 1, 64, 64), 100.0)
    with torch.no_grad():
        logits, activation = network.forward_with_map(x)
        torch.testing.assert_close(logits, network(x))
        features = network.feature_map(x)
        corner = network.hidden(features[:, :, :1, :1])
        torch.testing.assert_close(activation[:, :, 0, 0], corner.flatten(1) @ network.head.weight.T)


def test_the_same_seed_gives_the_same_weights():
    networks = []
    for _ in range(2):
        torch.manual_seed(5)
        networks.append(build_network(find_architecture("toy_resnet"), initialisation="random"))
    for a, b in zip(networks[0].parameters(), networks[1].parameters(), strict=True):
        assert np.array_equal(a.detach().numpy(), b.detach().numpy())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"truncation": 5}, "0 to 4 can"),
        ({"truncation": -1}, "-1 stages"),
        ({"initialisation": "warm"}, "neither pretrained nor random"),
        ({"outputs": 0}, "at least one output"),
    ],
)
def test_wrong_settings_are_refused(options: dict[str, object], message: str):
    with pytest.raises(StudyError, match=message):
        build_network(find_architecture("toy_resnet"), **{"initialisation": "random", **options})
