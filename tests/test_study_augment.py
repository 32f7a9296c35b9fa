from __future__ import annotations

from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from xraytransfer.study.augment import augment  # noqa: E402
from xraytransfer.study.presets import PRESETS, Preset  # noqa: E402

STILL = PRESETS["paper"]


def films(count: int = 8, side: int = 48) -> torch.Tensor:
    return torch.randint(0, 256, (count, 1, side, side), generator=torch.Generator().manual_seed(0)).float()


def generator(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_nothing_asked_nothing_changed():
    assert torch.equal(augment(films(), STILL, generator()), films())


@pytest.mark.parametrize(
    "change",
    [
        {"rotation": 10.0},
        {"scale": 0.2},
        {"shift": 0.1},
        {"brightness": 0.3},
        {"contrast": 0.3},
        {"gamma": 0.5},
        {"soften": 1.0},
        {"erase": 1.0},
        PRESETS["modern"].to_dict(),
    ],
    ids=lambda change: "-".join(change) if len(change) == 1 else "modern",
)
def test_each_kind_changes_films_in_range_and_the_same_way_for_a_seed(change: dict[str, object]):
    preset = replace(STILL, **change)
    x = films()
    kept = x.clone()
    first = augment(x, preset, generator())
    assert torch.equal(x, kept), "the batch itself stays"
    assert first.shape == x.shape
    assert first.dtype == torch.float32
    assert (first >= -1e-3).all()
    assert (first <= 255 + 1e-3).all()
    assert (first != x).any()
    assert torch.equal(first, augment(x, preset, generator()))
    assert not torch.equal(first, augment(x, preset, generator(2)))


def test_films_are_never_mirrored():
    x = torch.zeros(64, 1, 64, 64)
    x[:, :, :, :16] = 255
    y = augment(x, PRESETS["modern"], generator())
    assert (y[..., :32].mean(dim=(1, 2, 3)) > y[..., 32:].mean(dim=(1, 2, 3))).all()


def test_a_shift_moves_by_at_most_its_share():
    x = torch.zeros(32, 1, 100, 100)
    x[:, :, 50, 50] = 255
    y = augment(x, replace(STILL, shift=0.1), generator()).flatten(1)
    place = y.argmax(dim=1)
    moved = torch.stack([place // 100 - 50, place % 100 - 50]).abs()
    assert moved.max() <= 11
    assert moved.max() >= 5


def test_softening_removes_detail_only_from_its_share():
    x = films(32)
    y = augment(x, replace(STILL, soften=0.5), generator())
    changed = (y != x).flatten(1).any(dim=1)
    assert changed.sum() <= 16
    assert y[changed].diff(dim=-1).abs().mean() < x[changed].diff(dim=-1).abs().mean()


def test_switching_one_kind_on_leaves_the_others_as_they_were():
    shifted = replace(STILL, shift=0.1)
    both: Preset = replace(shifted, brightness=1e-9)
    torch.testing.assert_close(
        augment(films(), shifted, generator()), augment(films(), both, generator()), rtol=0, atol=1e-3
    )
