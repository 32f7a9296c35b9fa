"""One step of training: what the labels are that a batch learns from."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from xraytransfer.study.training.optimizer import masked_loss  # noqa: E402
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


@given(st.data())
def test_trimmed_labels_have_no_gradient_and_the_rest_that_of_their_mean(data: st.DataObject) -> None:
    seed = data.draw(st.integers(0, 2**32 - 1))
    share = data.draw(st.floats(0, 0.5))
    generator = torch.Generator().manual_seed(seed)
    logits = (4 * torch.randn(5, 3, generator=generator)).requires_grad_()
    target = torch.randint(0, 2, (5, 3), generator=generator).float()
    target[torch.rand(5, 3, generator=generator) < 0.3] = torch.nan
    weight = torch.tensor([0.5, 1.0, 5.0]) if data.draw(st.booleans()) else None
    loss = masked_loss(logits, target, weight, share)
    loss.backward()

    # the same by hand, one label after the other
    known = [(film, output) for film in range(5) for output in range(3) if not target[film, output].isnan()]
    probability, label = logits.detach().double().sigmoid().numpy(), target.double().numpy()
    factor = np.where(label == 1, 1.0 if weight is None else weight.numpy(), 1.0)
    highest = sorted(known, key=lambda at: -factor[at] * cross_entropy(label[at], probability[at]))
    kept = highest[int(share * len(known)) :]
    gradient = np.zeros((5, 3), np.float32)
    for at in kept:
        gradient[at] = factor[at] * (probability[at] - label[at]) / len(kept)
    mean = sum(factor[at] * cross_entropy(label[at], probability[at]) for at in kept) / max(len(kept), 1)
    assert loss.item() == pytest.approx(mean, rel=1e-5, abs=1e-7)
    torch.testing.assert_close(logits.grad, torch.from_numpy(gradient), rtol=1e-4, atol=1e-6)


def test_the_weights_of_positives_decide_which_label_is_trimmed() -> None:
    logits = torch.tensor([[2.0], [-1.5]], requires_grad=True)  # a negative called positive, a positive overlooked
    target, weight = torch.tensor([[0.0], [1.0]]), torch.tensor([5.0])
    for positive_weight, trimmed in ((None, 0), (weight, 1)):
        logits.grad = None
        masked_loss(logits, target, positive_weight, 0.5).backward()
        assert (logits.grad[:, 0] == 0).tolist() == [trimmed == 0, trimmed == 1]


def test_of_equal_losses_the_first_are_trimmed() -> None:
    logits = torch.zeros(2, 2, requires_grad=True)
    masked_loss(logits, torch.tensor([[torch.nan, 1.0], [0.0, 1.0]]), None, 0.4).backward()
    assert (logits.grad == 0).tolist() == [[True, True], [False, False]]


@pytest.mark.parametrize("wrong", [float("nan"), float("inf"), float("-inf")])
def test_trimming_hides_no_loss_that_is_not_finite(wrong: float) -> None:
    logits = torch.zeros(4, 2)
    logits[1, 0] = wrong
    target = torch.tensor([[0.0, 1.0]] * 4) if wrong > 0 else torch.tensor([[1.0, 1.0]] * 4)
    assert not masked_loss(logits, target, None, 0.5).isfinite()


def test_no_known_label_leaves_nothing_to_trim() -> None:
    assert masked_loss(torch.zeros(2, 2), torch.full((2, 2), torch.nan), None, 0.5) == 0


def test_teachers_answers_are_not_trimmed() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 2))
    step = TrainingStep(network, change_preset("tiny", {}), "Toy", torch.device("cpu"))
    x = torch.rand(3, 1, 8, 8, generator=torch.Generator().manual_seed(1))
    teacher = np.array([[0.9, 0.1], [0.2, 0.7], [0.99, 0.5]], np.float32)
    probability = network(x).sigmoid().detach().numpy()
    each = -(LABEL * np.log(probability) + (1 - LABEL) * np.log1p(-probability))
    kept = np.nanmean(np.where(each < np.nanmax(each), each, np.nan))  # a fifth of five labels
    loss = float(step.learn(x, LABEL, 0.1, teacher, 0.7, trimming=0.2))
    assert loss == pytest.approx(0.3 * kept + 0.7 * cross_entropy(teacher, probability), rel=1e-5)
