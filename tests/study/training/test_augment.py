from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from xraytransfer.reading.intensity import equalise  # noqa: E402
from xraytransfer.study.training.augment import augment  # noqa: E402
from xraytransfer.study.training.presets import PRESETS, Preset  # noqa: E402

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
        {"equalise": 1.0},
        {"levels": 0.2},
        {"noise": 0.1},
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


def test_noise_is_as_strong_as_it_says_and_changes_no_other_draw():
    x = torch.full((200, 1, 48, 48), 128.0)
    deviation = (augment(x, replace(STILL, noise=0.1), generator()) - x).std(dim=(1, 2, 3))
    assert 0 < float(deviation.min()) < 3
    assert 23 < float(deviation.max()) < 27  # 10 % of 255
    turned = replace(STILL, rotation=10.0, erase=1.0)
    quiet, loud = augment(films(), turned, generator()), augment(films(), replace(turned, noise=1e-6), generator())
    torch.testing.assert_close(loud, quiet, atol=0.01, rtol=0)


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


def test_equalising_is_what_the_intensity_recipe_does():
    # dark films that use a third of the range, one of a single level, one of two
    x = (films(32, 40) / 3).round()
    x[30], x[31] = 17, 17
    x[31, :, :20] = 200
    y = augment(x, replace(STILL, equalise=1.0), generator())
    expected = torch.from_numpy(np.stack([equalise(film.numpy().astype(np.uint8)) for film in x[:, 0]]))[:, None]
    assert torch.equal(y[30], x[30]), "a film of one level stays as it is"
    # the recipe rounds to whole levels; half of the films are equalised wholly, the others lie in between
    away, whole = (y - x).abs().amax(dim=(1, 2, 3)), (expected - x).abs().amax(dim=(1, 2, 3))
    near = (y - expected).abs().amax(dim=(1, 2, 3)) <= 0.5 + 1e-3
    assert 8 <= near.sum() <= 24
    assert (away <= whole + 0.5 + 1e-3).all()
    between = ~near
    assert ((y - x)[between] * (expected - x)[between] >= -1e-3).all(), "towards the equalised film, never away"


def test_equalising_takes_its_share_of_films():
    x = (films(400, 16) / 3).round()
    changed = (augment(x, replace(STILL, equalise=0.3), generator()) != x).flatten(1).any(dim=1)
    assert 0.2 < changed.float().mean() < 0.4


def test_levels_move_black_up_and_white_down():
    x = torch.arange(256).float().expand(64, 1, 4, 256)
    y = augment(x, replace(STILL, levels=0.2), generator())
    assert (y.diff(dim=-1) >= 0).all()
    black = (y[:, 0, 0] == 0).sum(dim=1)
    white = (y[:, 0, 0] == 255).sum(dim=1)
    assert black.max() <= 0.2 * 255 + 1
    assert white.max() <= 0.2 * 255 + 1
    assert black.max() > 30
    assert white.max() > 30
    assert (black - white).abs().max() > 10, "each end by itself"


@pytest.mark.parametrize("added", [{"equalise": 1e-12}, {"levels": 1e-12}], ids=lambda change: next(iter(change)))
def test_the_newest_kinds_leave_the_draws_of_the_others_as_they_were(added: dict[str, float]):
    modern = PRESETS["modern"]
    torch.testing.assert_close(
        augment(films(), modern, generator()),
        augment(films(), replace(modern, **added), generator()),
        rtol=0,
        atol=1e-3,
    )
    # what the draws were before those kinds existed
    again = generator()
    turn = torch.rand(8, generator=again) * 2 - 1
    only = augment(films(), replace(STILL, rotation=10.0), generator())
    angle = torch.deg2rad(10 * turn)
    theta = torch.stack([angle.cos(), -angle.sin(), 0 * angle, angle.sin(), angle.cos(), 0 * angle])
    grid = torch.nn.functional.affine_grid(theta.T.reshape(8, 2, 3), [8, 1, 48, 48], align_corners=False)
    by_hand = torch.nn.functional.grid_sample(films(), grid, padding_mode="border", align_corners=False)
    torch.testing.assert_close(only, by_hand, rtol=0, atol=0.01)


def test_switching_one_kind_on_leaves_the_others_as_they_were():
    shifted = replace(STILL, shift=0.1)
    both: Preset = replace(shifted, brightness=1e-9)
    torch.testing.assert_close(
        augment(films(), shifted, generator()), augment(films(), both, generator()), rtol=0, atol=1e-3
    )
