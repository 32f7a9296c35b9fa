"""One step of training: what the labels are that a batch learns from."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from xraytransfer.study.training.presets import change_preset  # noqa: E402
from xraytransfer.study.training.step import TrainingStep  # noqa: E402

LABEL = np.array([[1, 0], [0, np.nan], [1, 1]], np.float32)


def loss_of(**changes: object) -> tuple[float, np.ndarray]:
    """Return the loss of one step, and the probabilities that the network gave before it."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
    step = TrainingStep(network, change_preset("tiny", changes), "Toy", torch.device("cpu"))
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    probability = network(x).sigmoid().detach().numpy()
    return float(step.learn(x, LABEL, 0.1)), probability


def cross_entropy(target: np.ndarray, probability: np.ndarray) -> float:
    each = -(target * np.log(probability) + (1 - target) * np.log1p(-probability))
    return float(np.nanmean(each))


def test_labels_are_smoothed_towards_one_half() -> None:
    loss, probability = loss_of(smoothing=0.2)
    assert loss == pytest.approx(cross_entropy(0.8 * LABEL + 0.1, probability), rel=1e-5)
    assert loss_of()[0] == pytest.approx(cross_entropy(LABEL, probability), rel=1e-5)


def test_a_bootstrapped_label_is_partly_the_networks_own_answer() -> None:
    loss, probability = loss_of(bootstrap=0.3)
    assert loss == pytest.approx(cross_entropy(0.7 * LABEL + 0.3 * probability, probability), rel=1e-5)
