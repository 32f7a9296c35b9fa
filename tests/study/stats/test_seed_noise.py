"""The pooled chance of training: its variance, and what is unknown without a second seed."""

from __future__ import annotations

import numpy as np
import pytest

from xraytransfer.study.stats.seed_noise import pooled_covariance, seed_noise


def test_noise_has_the_pooled_covariance_over_the_number_of_seeds() -> None:
    rng = np.random.default_rng(0)
    truth = np.array([[4.0, 1.0], [1.0, 2.0]])
    cells = [rng.multivariate_normal([5, 9], truth, size=1 + index % 3) for index in range(900)]
    covariance, freedom = pooled_covariance(cells)
    assert freedom == 900
    assert covariance == pytest.approx(truth, rel=0.15)
    noise = seed_noise(cells[:3], ["one"] * 3, 40_000, rng)
    few, _ = pooled_covariance(cells[:3])
    assert [one.shape for one in noise] == [(40_000, 2)] * 3
    # three degrees of freedom: Student's t has three times the variance, and no fourth moment
    inside = np.abs(noise[0][:, 0]) < 3.182 * np.sqrt(few[0, 0])
    assert inside.mean() == pytest.approx(0.95, abs=0.01)
    inside = np.abs(noise[2][:, 0]) < 3.182 * np.sqrt(few[0, 0] / 3)
    assert inside.mean() == pytest.approx(0.95, abs=0.01)


def test_without_a_second_seed_nothing_is_added() -> None:
    noise = seed_noise([np.ones((1, 6)), np.zeros((1, 6))], ["one", "two"], 10, np.random.default_rng(0))
    assert not np.any(noise)


def test_an_undefined_number_stays_without_noise() -> None:
    noise = seed_noise([np.array([[0.7, np.nan], [0.8, np.nan]])], ["one"], 10, np.random.default_rng(0))[0]
    assert np.all(noise[:, 1] == 0)
    assert np.all(noise[:, 0] != 0)


def test_a_group_has_its_own_chance_where_it_has_seeds_enough() -> None:
    rng = np.random.default_rng(1)
    quiet = [rng.normal(0, 1, (2, 1)) for _ in range(400)]
    loud = [rng.normal(0, 3, (2, 1)) for _ in range(400)]
    drawn = seed_noise([*quiet, *loud], ["quiet"] * 400 + ["loud"] * 400, 20, rng)
    spread = [np.std(np.concatenate(part)) for part in (drawn[:400], drawn[400:])]
    assert spread == pytest.approx([1 / np.sqrt(2), 3 / np.sqrt(2)], rel=0.1)
    # three cells of two seeds each are too few: the loud ones have the covariance of all
    few = [*quiet, *loud[:3]]
    covariance, _ = pooled_covariance(few)
    drawn = seed_noise(few, ["quiet"] * 400 + ["loud"] * 3, 20_000, rng)
    assert np.std(np.concatenate(drawn[400:])) == pytest.approx(np.sqrt(covariance[0, 0] / 2), rel=0.05)
