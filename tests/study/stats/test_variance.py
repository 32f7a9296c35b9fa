"""The variance split against scipy's analysis of variance and against data drawn with known parts."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats as scipy_stats

from xraytransfer.study.stats.variance import variance_split


def grid(
    rng: np.random.Generator, families: int, sizes: int, seeds: int, parts: tuple[float, float, float]
) -> tuple[np.ndarray, list[str], list[str]]:
    family, architecture, value = [], [], []
    for f in range(families):
        in_family = rng.normal(0, parts[0])
        for a in range(sizes):
            in_size = rng.normal(0, parts[1])
            for _ in range(seeds):
                family.append(f"family{f}")
                architecture.append(f"family{f}-{a}")
                value.append(0.8 + in_family + in_size + rng.normal(0, parts[2]))
    return np.array(value), family, architecture


def test_balanced_grid_is_the_textbook() -> None:
    value, family, architecture = grid(np.random.default_rng(0), 4, 3, 5, (0.02, 0.01, 0.005))
    split = variance_split(value, family, architecture, np.random.default_rng(1), 200)
    cube = value.reshape(4, 3, 5)
    ms_seed = cube.var(axis=2, ddof=1).mean()
    ms_size = 5 * cube.mean(axis=2).var(axis=1, ddof=1).mean()
    ms_family = 15 * cube.mean(axis=(1, 2)).var(ddof=1)
    assert split.seed == pytest.approx(np.sqrt(ms_seed))
    assert split.size == pytest.approx(np.sqrt((ms_size - ms_seed) / 5))
    assert split.family == pytest.approx(np.sqrt((ms_family - ms_size) / 15))
    f = scipy_stats.f_oneway(*cube.mean(axis=2))
    assert ms_family / ms_size == pytest.approx(f.statistic)
    assert (split.families, split.architectures, split.runs) == (4, 12, 60)


def test_finds_known_parts_in_an_unbalanced_grid() -> None:
    rng, found = np.random.default_rng(2), []
    keep = np.ones(12 * 4 * 3, bool)
    keep[[0, 1, 2, 5, 7, 30, 31, 60, 100]] = False
    for _ in range(60):
        value, family, architecture = grid(rng, 12, 4, 3, (0.02, 0.01, 0.005))
        split = variance_split(
            value[keep], np.array(family)[keep].tolist(), np.array(architecture)[keep].tolist(), rng, 2
        )
        found.append([split.family, split.size, split.seed])
    assert np.sqrt(np.mean(np.square(found), axis=0)) == pytest.approx([0.02, 0.01, 0.005], rel=0.12)


def test_interval_and_p_tell_family_from_size() -> None:
    rng = np.random.default_rng(3)
    value, family, architecture = grid(rng, 6, 3, 3, (0.03, 0.003, 0.002))
    by_family = variance_split(value, family, architecture, rng, 500)
    assert by_family.lower > 0.5
    assert by_family.p < 0.02
    value, family, architecture = grid(rng, 6, 3, 3, (0.0, 0.01, 0.002))
    by_size = variance_split(value, family, architecture, rng, 500)
    assert by_size.lower < 0.2
    assert by_size.p > 0.05


def test_without_a_second_seed_size_holds_chance_too() -> None:
    rng = np.random.default_rng(4)
    split = variance_split(*grid(rng, 5, 3, 1, (0.02, 0.01, 0.01)), rng, 100)
    assert np.isnan(split.seed)
    assert 0.004 < split.size < 0.03


@pytest.mark.parametrize(("families", "sizes"), [(1, 3), (4, 1)])
def test_grids_that_cannot_answer(families: int, sizes: int) -> None:
    rng = np.random.default_rng(5)
    split = variance_split(*grid(rng, families, sizes, 2, (0.01, 0.01, 0.01)), rng, 10)
    assert np.isnan([split.share, split.p, split.family]).all()


def test_bad_input() -> None:
    rng = np.random.default_rng(6)
    with pytest.raises(ValueError, match="two families"):
        variance_split([1.0, 2.0], ["a", "b"], ["x", "x"], rng)
    with pytest.raises(ValueError, match="NaN"):
        variance_split([1.0, np.nan], ["a", "b"], ["x", "y"], rng)
    with pytest.raises(ValueError, match="runs"):
        variance_split([1.0], ["a", "b"], ["x", "y"], rng)
