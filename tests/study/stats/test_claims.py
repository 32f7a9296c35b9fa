"""The simulation of benchmarks/study_claims.py in small: what is not there is not claimed."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture(scope="module")
def benchmark() -> ModuleType:
    path = Path(__file__).parents[3] / "benchmarks" / "study_claims.py"
    spec = importlib.util.spec_from_file_location("study_claims", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("truth", ["nothing", "family only", "size only"])
def test_wrong_claims_are_rare_and_intervals_cover(benchmark: ModuleType, truth: str) -> None:
    tally, rng = benchmark.Tally(), np.random.default_rng(1)
    for _ in range(60):
        benchmark.draw_study(16, 2, truth, rng, tally)
    # 5 % of 60 studies is 3; more than 8 has a probability below 1 %
    assert all(share <= 8 / 60 for share in benchmark.wrong_claims(tally, truth).values())
    assert np.mean(tally.slope_covered) > 0.9
    assert np.mean(tally.rho_covered) > 0.9
    if truth == "size only":
        assert np.mean(tally.size) > 0.3  # and what is there is seen


def test_one_seed_gives_no_share_of_family(benchmark: ModuleType) -> None:
    tally = benchmark.Tally()
    benchmark.draw_study(16, 1, "family only", np.random.default_rng(0), tally)
    assert tally.share_covered == []
    assert tally.split == ["none"]
