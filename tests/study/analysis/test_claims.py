"""The verdicts on the paper's claims give the reason that holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from xraytransfer.study.analysis import claims
from xraytransfer.study.analysis.cells import Scores, score_results
from xraytransfer.study.analysis.claims import claims_table
from xraytransfer.study.analysis.results_folder import read_results
from xraytransfer.study.stats.family_or_size import FamilyOrSize
from xraytransfer.study.stats.variance import VarianceSplit


def verdict(scores: Scores, claim: str) -> tuple[str, str]:
    (row,) = [row for row in claims_table(scores).rows if row["claim"] == claim]
    return row["verdict"], row["why"]


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory, write_study_run: Callable[..., Path]) -> Scores:
    """One network, pretrained, random and cut, each with two seeds."""
    folder = tmp_path_factory.mktemp("results")
    for seed in (0, 1):
        for initialisation, truncation, skill in (("pretrained", 0, 1.0), ("pretrained", 1, 1.0), ("random", 0, 0.2)):
            write_study_run(
                folder, "alpha1", initialisation=initialisation, truncation=truncation, seed=seed, skill=skill,
                parameters=1000 - truncation,
            )  # fmt: skip
    return score_results(read_results(folder), replicates=100)


@pytest.mark.parametrize("claim", ["Pretraining raises AUROC", "Removing one block does no harm"])
def test_one_network_decides_no_claim_on_an_average(scores: Scores, claim: str) -> None:
    assert verdict(scores, claim) == ("cannot be told", "1 network only, and the claim is one on average")


@pytest.mark.parametrize(
    ("found", "why"),
    [
        ((0.3, 0.2, 0.1, 0.2), "the interval is too wide"),
        ((0.6, 0.01, 0.4, 0.01), "a slope on size could explain as much"),
        ((0.6, 0.04, 0.55, 0.05), "chance could explain as much, p = .050 before correction"),
    ],
)
def test_the_reason_why_family_and_size_are_undecided(
    scores: Scores, monkeypatch: pytest.MonkeyPatch, found: tuple[float, float, float, float], why: str
) -> None:
    lower, p, adjusted_lower, adjusted_p = found
    split = VarianceSplit(0.02, 0.01, 0.01, 0.8, lower, 1.0, p, 0.9, families=6, architectures=16, runs=32)
    one = FamilyOrSize("undecided", split, adjusted_p, adjusted_lower)
    monkeypatch.setattr(claims, "family_sizes", lambda scores: {"random": one})
    claim = "Without pretraining, family matters more than size"
    assert verdict(scores, claim) == ("cannot be told", f"6 families: {why}")


@pytest.mark.parametrize(("inception", "mobilenet"), [(0.5, 0.5), (0.3, 0.9)])
def test_no_sign_is_claimed_that_the_interval_does_not_have(
    tmp_path: Path, write_study_run: Callable[..., Path], inception: float, mobilenet: float
) -> None:
    for name, skill in (("inception_v3", inception), ("mobilenetv2_100", mobilenet)):
        for seed in range(2):
            write_study_run(tmp_path, name, initialisation="random", skill=skill, seed=seed, films=2000)
    made_up = score_results(read_results(tmp_path), replicates=200)
    said, why = verdict(made_up, "InceptionV3 and MobileNetV2 differ, random weights")
    assert said != "agrees"
    assert "sign" not in why


def test_older_against_searched_is_about_these_networks(tmp_path: Path, write_study_run: Callable[..., Path]) -> None:
    for name, family, skill in (("resnet18", "ResNet", 1.2), ("mnasnet_100", "MNASNet", 0.4)):
        for seed in range(2):
            write_study_run(tmp_path, name, family=family, skill=skill, seed=seed)
    made_up = score_results(read_results(tmp_path), replicates=100)
    said, why = verdict(made_up, "Older designs read better than searched ones")
    assert said == "agrees"
    assert "for these 2 networks only" in why
