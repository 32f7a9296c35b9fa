"""Films of further sources: their layout, their uses, and limits that no source alone decides for itself."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("torch")

from xraytransfer.errors import StudyError
from xraytransfer.quality_gate import KINDS
from xraytransfer.study.quality_gate import evaluation
from xraytransfer.study.quality_gate.evaluation import BEYOND_LIMIT, MINIMUM_PROBABILITY, Answers, fit_limits
from xraytransfer.study.quality_gate.settings import QualityGateSettings
from xraytransfer.study.quality_gate.sources import FRONTAL, LATERAL, Source, films_of, half_of_patients, read_sources


def write_film(folder, place: str) -> None:
    path = folder / place
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (80, 60), dtype=np.uint8)).save(path)


def answers(distance: float, films: int = 400, origin: str = "real") -> Answers:
    """Return answers for good films whose distances rise to `distance`."""
    kinds = np.zeros((films, len(KINDS)), np.float32)
    kinds[:, 0] = 0.95
    return Answers(origin, kinds, np.linspace(0.5, distance, films).astype(np.float32), np.zeros(films, np.float32))


def test_films_are_read_by_use_view_source_and_patient(tmp_path):
    for place in (
        "train/projected-lateral/ct/1/a.png",
        "limits/frontal/clinic/7/a.png",
        "limits/frontal/clinic/8/b.png",
    ):
        write_film(tmp_path, place)
    sources = read_sources(tmp_path)
    assert [(one.use, one.view, one.name, one.patients) for one in sources] == [
        ("train", "projected-lateral", "ct", ("1",)),
        ("limits", "frontal", "clinic", ("7", "8")),
    ]
    assert [(one.origin, one.frontal) for one in sources] == [("projected", False), ("real", True)]
    assert sources[0].films[0].shape == (128, 128)
    assert sources[1].at(48).shape == (2, 48, 48)
    assert len(films_of(sources, "train", LATERAL)) == 1
    assert films_of(sources, "train", FRONTAL) == []
    assert read_sources(None) == []


@pytest.mark.parametrize(
    ("places", "message"),
    [
        ((), "expected films as USE/VIEW/SOURCE/PATIENT"),
        (("frontal/clinic/7/a.png",), "expected films as USE/VIEW/SOURCE/PATIENT"),
        (("judge/frontal/clinic/a.png",), "expected one folder for each patient"),
        (("train/frontal/clinic/7/a.png", "judge/frontal/clinic/7/b.png"), "a patient of clinic is under two uses"),
    ],
)
def test_other_layouts_are_refused(tmp_path, places, message):
    for place in places:
        write_film(tmp_path, place)
    with pytest.raises(StudyError, match=message):
        read_sources(tmp_path)


def test_a_film_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "judge/frontal/clinic/7").mkdir(parents=True)
    (tmp_path / "judge/frontal/clinic/7/a.png").write_text("no picture")
    with pytest.raises(StudyError, match=r"a film of .*clinic cannot be read"):
        read_sources(tmp_path)


def test_the_source_that_lies_farthest_sets_the_limit():
    home, clinic = answers(1.2), answers(1.8)
    assert fit_limits([home, clinic]).maximum_distance == pytest.approx(1.8, abs=0.02)
    assert fit_limits([home]).maximum_distance == pytest.approx(1.2, abs=0.02)
    refused = [sum(not result.accepted for result in one.results(fit_limits([home, clinic]))) for one in (home, clinic)]
    assert refused[0] == 0
    assert 0 < refused[1] <= BEYOND_LIMIT["real"] * 400


def test_no_source_lowers_the_limit_of_the_probability():
    doubtful = answers(1.2)
    doubtful.kinds[:, 0] = 0.1
    limits = fit_limits([answers(1.2), doubtful])
    assert limits.minimum_probability == MINIMUM_PROBABILITY == 0.5
    assert not any(result.accepted for result in doubtful.results(limits))


def test_films_changed_by_us_set_the_distance_too():
    assert fit_limits([answers(1.2), answers(1.8, origin="drawn")]).maximum_distance == pytest.approx(1.8, abs=0.02)


def test_a_source_that_sets_limits_is_judged_by_the_other_half_of_its_patients():
    patients = tuple(str(patient) for patient in range(40) for _ in range(10))
    source = Source("clinic", "limits", "frontal", patients, [np.zeros((128, 128), np.uint8)] * 400)
    half = half_of_patients(source)
    assert half.sum() == 200
    assert all(len({half[i] for i, name in enumerate(patients) if name == one}) == 1 for one in set(patients))
    far = answers(1.2)
    far.distance[half] = 5.0  # only this half lies far: its own distances must not excuse it
    row = evaluation._judge_halves(source, far, [answers(1.2)], QualityGateSettings())
    assert (row["films"], row["patients"]) == (400, 40)
    assert row["accepted"] <= 202
