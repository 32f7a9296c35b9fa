from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xraytransfer.errors import StudyError
from xraytransfer.study.data.film_table import FilmTable, build_table
from xraytransfer.study.data.split import SPLITS, patient_halves, split_films


def films(patients: list[int], official: str = "", width: int = 0) -> FilmTable:
    rows = [
        {
            "image": f"{index}.png",
            "path": Path(f"{index}.png"),
            "patient": str(patient),
            "label": [0.0],
            "official_split": official,
            "source_width": width,
        }
        for index, patient in enumerate(patients)
    ]
    return build_table("made", ["edema"], rows)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 100), min_size=1, max_size=60))
def test_no_patient_is_ever_in_two_splits(patients: list[int]):
    table = films([*patients, *range(100)])
    split = split_films(table)
    for name in SPLITS:
        others = table.patient[split.of != name]
        assert not set(table.patient[split.rows(name)]) & set(others)


def test_a_patient_stays_when_films_are_added():
    small, large = films(list(range(500))), films(list(range(1500)))
    assert (split_films(small).of == split_films(large).of[:500]).all()
    shares = [(split_films(films(list(range(5000)))).of == name).mean() for name in SPLITS]
    np.testing.assert_allclose(shares, [0.70, 0.15, 0.15], atol=0.02)
    assert (split_films(small, salt="other").of != split_films(small).of).any()


def test_halves_divide_patients_within_every_split():
    table = films([*range(4000), *range(4000)])
    half, split = patient_halves(table.patient, "salt"), split_films(table, salt="salt")
    assert (half[:4000] == half[4000:]).all()
    for name in SPLITS:
        assert (half[split.rows(name)] == "A").mean() == pytest.approx(0.5, abs=0.06)
    assert set(half) == {"A", "B"}
    assert (half != patient_halves(table.patient, "other")).any()


def test_the_record_says_what_was_done():
    table = films([1, 1, *range(2, 200)])
    record = split_films(table).record
    assert sum(record[name]["images"] for name in SPLITS) == 200
    assert sum(record[name]["patients"] for name in SPLITS) == 199
    assert record["sha256"] == split_films(table).record["sha256"]
    assert record["sha256"] != split_films(table, salt="other").record["sha256"]


def test_official_splits():
    table = films(list(range(300)), "train")
    table.official_split[250:] = "test"
    split = split_films(table, method="official")
    assert (split.of[250:] == "test").all()
    assert set(split.of[:250]) == {"train", "validation"}
    table.official_split[200:250] = "validation"
    split = split_films(table, method="official")
    assert (split.of == table.official_split).all()
    only_train_and_validation = replace(
        table, official_split=np.where(table.official_split == "test", "", table.official_split)
    )
    split = split_films(only_train_and_validation, method="official")
    assert set(split.of[:200]) == {"train", "test"}
    assert (split.of[250:] == "").all()


def test_narrow_sources_are_trained_on_but_not_judged():
    table = films(list(range(300)), width=64)
    table.source_width[::2] = 128
    split = split_films(table, evaluation_minimum_width=128)
    judged = (split.of == "validation") | (split.of == "test")
    assert (table.source_width[judged] == 128).all()
    assert (table.source_width[split.of == "train"] == 64).any()
    assert (split.of == "").any()


def test_what_cannot_be_split_is_refused():
    table = films([*range(100), 5], "train")
    table.official_split[100] = "test"
    table.official_split[99] = "validation"
    with pytest.raises(StudyError, match=r"1 patient in both train and test, such as that of .* and "):
        split_films(table, method="official")
    with pytest.raises(StudyError, match="no official split"):
        split_films(films([1, 2, 3]), method="official")
    with pytest.raises(StudyError, match=r"unknown names of splits \['dev'\]"):
        split_films(films([1, 2, 3], "dev"), method="official")
    with pytest.raises(StudyError, match="neither patient-hash nor official"):
        split_films(table, method="random")
    with pytest.raises(StudyError, match="sum to 1"):
        split_films(table, fractions=(0.5, 0.5, 0.5))
    with pytest.raises(StudyError, match="no film falls into"):
        split_films(films([1]))
