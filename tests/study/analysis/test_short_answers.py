"""The answers in short say what the sections say, and no more."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from xraytransfer.study.analysis.cells import Scores, score_results
from xraytransfer.study.analysis.claims import claims_table
from xraytransfer.study.analysis.question_accuracy import answer_accuracy
from xraytransfer.study.analysis.question_boost import answer_boost
from xraytransfer.study.analysis.question_size import answer_size
from xraytransfer.study.analysis.question_truncation import answer_truncation
from xraytransfer.study.analysis.results_folder import read_results
from xraytransfer.study.analysis.short_answers import short_answers
from xraytransfer.study.analysis.table import interval_text


def answers(scores: Scores) -> list[str]:
    four = [answer_accuracy(scores), answer_boost(scores), answer_size(scores), answer_truncation(scores, {})]
    return short_answers(scores, four)


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory, write_study_run: Callable[..., Path]) -> Scores:
    """Six families of one network each, ordered by accuracy; the first is cut, and every cut hurts."""
    folder = tmp_path_factory.mktemp("results")
    for number in range(6):
        for initialisation, skill in (("pretrained", 0.5), ("random", 0.2)):
            write_study_run(
                folder, f"net{number}", family=f"Family{number}", initialisation=initialisation,
                parameters=10**6 * (number + 1), top1=70.0 + number, skill=skill + 0.2 * number,
            )  # fmt: skip
    write_study_run(folder, "net0", family="Family0", truncation=1, parameters=1000, skill=-0.5)
    return score_results(read_results(folder), replicates=200)


def test_each_question_has_one_paragraph(scores: Scores) -> None:
    accuracy, boost, size, cut = answers(scores)
    assert accuracy.startswith("**Do better ImageNet models read chest films better?** Pretrained: yes, AUROC rises")
    assert "Mean boost" in boost
    assert "For architectures of other families" in boost
    assert "an effect of size within families cannot be told; whether family or size matters more cannot be" in size
    assert cut.endswith("Pretrained: the smallest cut tried already hurts, in 1 architecture of 1.")


def test_the_boost_has_one_interval_for_other_families(scores: Scores) -> None:
    (claim,) = [row for row in claims_table(scores).rows if row["claim"] == "Pretraining raises AUROC"]
    bounds = claim["here"].partition(" (")[2].rstrip(")")
    assert bounds in answers(scores)[1]
    assert bounds == interval_text(*map(float, bounds.replace("\N{MINUS SIGN}", "-").split(" to ")), signed=True)


def test_what_cannot_be_told_is_said(tmp_path: Path, write_study_run: Callable[..., Path]) -> None:
    write_study_run(tmp_path, "alpha1")
    accuracy, boost, size, cut = answers(score_results(read_results(tmp_path), replicates=20))
    assert "cannot be answered" in accuracy
    assert "Cannot be answered" in boost
    assert "cannot be told" in size
    assert "Cannot be answered" in cut
