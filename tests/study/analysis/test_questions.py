"""The four questions on results whose answers are known, and on results that cannot answer."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from xraytransfer.study.analysis.cells import Scores, score_results
from xraytransfer.study.analysis.cost import Cost
from xraytransfer.study.analysis.published import read_published
from xraytransfer.study.analysis.question_accuracy import answer_accuracy
from xraytransfer.study.analysis.question_boost import answer_boost, boost_by_observation
from xraytransfer.study.analysis.question_size import answer_size
from xraytransfer.study.analysis.question_truncation import answer_truncation
from xraytransfer.study.analysis.results_folder import read_results
from xraytransfer.study.analysis.table import Table

Write = Callable[..., Path]


def rows(table: Table, **wanted: object) -> list[dict[str, object]]:
    return [dict(row) for row in table.rows if all(row.get(key) == value for key, value in wanted.items())]


@pytest.fixture(scope="module")
def scores(tmp_path_factory: pytest.TempPathFactory, write_study_run: Write) -> Scores:
    """Two families of three sizes: Beta is better than Alpha, pretrained better, the second cut hurts."""
    folder = tmp_path_factory.mktemp("results")
    for family, skill in (("Alpha", 0.55), ("Beta", 0.95)):
        for size in (1, 2, 3):
            for initialisation in ("pretrained", "random"):
                write_study_run(
                    folder,
                    f"{family.lower()}{size}",
                    family=family,
                    initialisation=initialisation,
                    parameters=size * 1_000_000,
                    top1=70.0 + size + (family == "Beta") * 5,
                    skill=skill - 0.25 * (initialisation == "random") + 0.05 * size,
                )
    for truncation, skill in ((1, 1.0), (2, 0.5)):
        write_study_run(
            folder, "beta1", family="Beta", truncation=truncation, parameters=400_000 // truncation, skill=skill
        )
    return score_results(read_results(folder), replicates=300)


def test_accuracy(scores: Scores) -> None:
    answer = answer_accuracy(scores)
    (row,) = rows(answer.tables[0], whose="these runs", initialisation="pretrained")
    assert row["n"] == 6
    assert row["value"] > 0.8  # type: ignore[operator]
    assert row["families"] == 2
    # accuracy is the family's: six models of two families are worth about two, however well ordered
    assert row["effective"] < 3  # type: ignore[operator]
    assert "cannot be answered" in answer.verdicts[0]
    text = " ".join(answer.verdicts)
    for published in ("0.06", "0.08", "0.082", "0.059", "disagree"):
        assert published in text
    assert len(rows(answer.tables[1])) == 12


def test_boost(scores: Scores) -> None:
    answer = answer_boost(scores)
    assert "over these 6 architectures, and no others; pretrained is better in 6" in answer.verdicts[0]
    (mean,) = rows(answer.tables[0], architecture="mean")
    assert mean["lower"] > 0  # type: ignore[operator]
    assert "0.016" in answer.verdicts[-1]
    assert "\N{MINUS SIGN}0.72" in answer.verdicts[-1]
    each, delong = boost_by_observation(scores)
    assert len(each.rows) == 6
    assert len(rows(delong, architecture="beta3")) == 6
    assert "| No finding |" in each.markdown()


def test_size(scores: Scores) -> None:
    answer = answer_size(scores)
    (row,) = rows(answer.tables[0], initialisation="random", family="Beta")
    assert (row["smallest"], row["largest"], row["sizes"]) == ("beta1", "beta3", 3)
    (slope,) = rows(answer.tables[1], initialisation="random")
    assert (slope["models"], slope["families"], slope["freedom"]) == (6, 2, 3)
    (split,) = rows(answer.tables[2], initialisation="pretrained")
    assert split["family_sd"] > split["size_sd"]  # type: ignore[operator]
    assert split["runs"] == 6
    assert np.isnan([split["lower"], split["upper"]]).all()  # type: ignore[list-item]
    assert any("one seed each" in verdict for verdict in answer.verdicts)
    assert not any("rho" in verdict for verdict in answer.verdicts)  # over all models, size and family are one


def test_truncation(scores: Scores) -> None:
    costs = {("beta1", 1): Cost("beta1", 1, 64, 2.5, 4, 4)}
    answer = answer_truncation(scores, costs)
    (best,) = rows(answer.tables[1])
    assert best["largest_harmless"] == 1
    assert best["times_smaller"] == pytest.approx(2.5)
    first, second = rows(answer.tables[0], truncation=1)[0], rows(answer.tables[0], truncation=2)[0]
    assert (first["significantly_worse"], second["significantly_worse"]) == ("no", "yes")
    assert (first["latency_ms"], first["map"]) == (2.5, "4x4")
    assert "at worst" in answer.verdicts[0]
    assert "largest cut shown to lose less than 0.01 AUROC" in answer.verdicts[1]
    assert best["within_margin"] <= best["largest_harmless"]  # type: ignore[operator]
    (wide,) = rows(answer_truncation(scores, costs, margin=0.9).tables[1])
    assert wide["within_margin"] == 2
    assert "3.25" in answer.verdicts[-1]


def test_one_run_answers_nothing_and_says_so(tmp_path: Path, write_study_run: Write) -> None:
    write_study_run(tmp_path)
    scores = score_results(read_results(tmp_path), replicates=20)
    for answer in (answer_accuracy(scores), answer_boost(scores), answer_size(scores), answer_truncation(scores, {})):
        assert "annot be" in answer.verdicts[0]


def test_four_models_are_too_few_for_a_correlation(tmp_path: Path, write_study_run: Write) -> None:
    for size in range(1, 5):
        write_study_run(tmp_path, f"alpha{size}", family=str(size), parameters=size, top1=70.0 + size, skill=0.3 * size)
    answer = answer_accuracy(score_results(read_results(tmp_path), replicates=20))
    assert "not even the strongest relationship is seen" in answer.verdicts[0]


def test_no_relationship_comes_with_the_power_to_see_one(tmp_path: Path, write_study_run: Write) -> None:
    for size, skill in enumerate((0.6, 0.9, 0.5, 0.8, 0.7, 0.55, 0.85), start=1):
        write_study_run(
            tmp_path, f"alpha{size}", family=str(size), parameters=size * 1000, top1=70.0 + size, skill=skill
        )
    answer = answer_accuracy(score_results(read_results(tmp_path), replicates=20))
    assert "no relationship" in answer.verdicts[0]
    assert "power of 80 %" in answer.verdicts[0]
    assert "does not show that there is none" in answer.verdicts[0]


def test_every_published_number_has_a_source() -> None:
    topics = ("accuracy", "boost", "size", "truncation", "nih", "nih-mean", "chexpert")
    found = [one for topic in topics for one in read_published(topic)]
    assert all(one.who and one.source for one in found)
    # both reports of rho, and their disagreement
    assert sorted(one.value for one in read_published("accuracy")) == [0.059, 0.06, 0.08, 0.082]
    assert any("disagree" in one.note for one in read_published("accuracy"))
    assert read_published("elsewhere") == []


def test_a_cut_that_was_not_tried_is_not_said_to_hurt(tmp_path: Path, write_study_run: Write) -> None:
    write_study_run(tmp_path, skill=1.0, parameters=1000)
    write_study_run(tmp_path, skill=0.1, parameters=500, truncation=2)
    answer = answer_truncation(score_results(read_results(tmp_path), replicates=100), {})
    assert "alpha1: none, removing 2 stages already hurts" in answer.verdicts[0]
