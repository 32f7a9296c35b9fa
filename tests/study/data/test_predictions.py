from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from xraytransfer.errors import StudyError
from xraytransfer.study.data.predictions import Predictions, combine, read_predictions, write_predictions

NAN = np.nan


@pytest.fixture
def made() -> Predictions:
    """Return four films of three examinations, two members, two observations."""
    rng = np.random.default_rng(0)
    return Predictions(
        image=np.array(["a", "b", "c", "d"]),
        patient=np.array(["1", "1", "2", "2"]),
        examination=np.array(["1/x", "1/x", "2/x", "2/y"]),
        view=np.array(["PA", "AP", "", "PA"]),
        sex=np.array(["F", "F", "M", "M"]),
        age=np.array([50, 50, NAN, 61], np.float32),
        observations=np.array(["edema", "no_finding"]),
        label=np.array([[0, NAN], [1, NAN], [0, 1], [1, 0]], np.float32),
        probability=rng.random((4, 2, 2)).astype(np.float32),
        checkpoint_steps=np.array([30, 10]),
    )


def test_what_is_written_is_read(tmp_path: Path, made: Predictions):
    write_predictions(tmp_path / "new" / "test.npz", made)
    again = read_predictions(tmp_path / "new" / "test.npz")
    for name in Predictions.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(again, name), getattr(made, name))
    assert list((tmp_path / "new").iterdir()) == [tmp_path / "new" / "test.npz"], "no temporary file is left"


def test_a_soup_goes_along_and_may_be_absent(tmp_path: Path, made: Predictions):
    mixed = replace(made, soup=np.arange(8, dtype=np.float32).reshape(4, 2) / 10)
    write_predictions(tmp_path / "test.npz", mixed)
    again = read_predictions(tmp_path / "test.npz")
    assert again.soup is not None
    np.testing.assert_array_equal(again.soup, mixed.soup)
    np.testing.assert_array_equal(again.subset(np.array([2, 0])).soup, mixed.soup[[2, 0]])
    np.testing.assert_array_equal(again.by_examination().soup, mixed.soup[1:])  # the larger of the first two films
    assert combine([again, again]).soup is None
    assert made.by_examination().soup is None
    # a file that was written before soups were stored
    write_predictions(tmp_path / "old.npz", made)
    with np.load(tmp_path / "old.npz") as file:
        assert "soup" not in file
    assert read_predictions(tmp_path / "old.npz").soup is None
    write_predictions(tmp_path / "test.npz", replace(mixed, soup=mixed.soup[:3]))
    with pytest.raises(StudyError, match=r"soup \(3, 2\) where \(4, 2\) was expected"):
        read_predictions(tmp_path / "test.npz")


def test_the_ensemble_is_the_mean_and_does_not_know_an_order(made: Predictions):
    np.testing.assert_allclose(made.ensemble(), made.probability.mean(axis=1), rtol=1e-6)
    turned = replace(made, probability=made.probability[:, ::-1])
    np.testing.assert_array_equal(turned.ensemble(), made.ensemble())
    assert made.ensemble().dtype == np.float32


def test_an_examination_is_the_maximum_over_its_films(made: Predictions):
    examinations = made.by_examination()
    assert list(examinations.examination) == ["1/x", "2/x", "2/y"]
    np.testing.assert_array_equal(examinations.label, np.array([[1, NAN], [0, 1], [1, 0]], np.float32))
    np.testing.assert_array_equal(examinations.probability[0], made.probability[:2].max(axis=0))
    np.testing.assert_array_equal(examinations.probability[2], made.probability[3])
    assert list(examinations.patient) == ["1", "2", "2"]


def test_examinations_that_each_patient_numbers_from_one(made: Predictions):
    numbered = replace(made, examination=np.array(["1", "1", "1", "2"]))
    examinations = numbered.by_examination()
    assert list(zip(examinations.patient, examinations.examination, strict=True)) == [
        ("1", "1"),
        ("2", "1"),
        ("2", "2"),
    ]
    np.testing.assert_array_equal(examinations.probability, made.by_examination().probability)
    assert made.several_films
    assert not numbered.subset(np.array([0, 2, 3])).several_films


def test_an_ensemble_across_runs_has_one_member_per_run(made: Predictions):
    other = replace(made, probability=made.probability[:, :1], checkpoint_steps=np.array([5]))
    both = combine([made, other])
    assert both.probability.shape == (4, 2, 2)
    np.testing.assert_array_equal(both.probability[:, 0], made.ensemble())
    assert list(both.checkpoint_steps) == [-1, -1]
    with pytest.raises(StudyError, match="same films"):
        combine([made, made.subset(np.array([0, 1]))])
    with pytest.raises(StudyError, match="at least one run"):
        combine([])


def test_a_damaged_file_is_refused(tmp_path: Path, made: Predictions):
    path = tmp_path / "test.npz"
    write_predictions(path, made)
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(StudyError, match="cannot be read as predictions"):
        read_predictions(path)
    with pytest.raises(StudyError, match="cannot be read as predictions"):
        read_predictions(tmp_path / "none.npz")
    write_predictions(path, replace(made, probability=made.probability[:3]))
    with pytest.raises(StudyError, match="was expected"):
        read_predictions(path)
    np.savez(path, image=np.array([{"an": "object"}], dtype=object))
    with pytest.raises(StudyError, match="cannot be read as predictions"):
        read_predictions(path)


@pytest.mark.parametrize("savez", [np.savez, np.savez_compressed])
def test_no_changed_byte_escapes_as_another_error(tmp_path: Path, made: Predictions, savez: Callable[..., None]):
    """A flipped bit is met by zlib or by numpy's parser of headers before the archive's checksum can tell."""
    path = tmp_path / "test.npz"
    savez(path, **{name: value for name, value in vars(made).items() if name != "soup"})
    whole = bytearray(path.read_bytes())
    for place, bit in np.random.default_rng(0).integers((0, 0), (len(whole), 8), (600, 2)):
        damaged = whole.copy()
        damaged[place] ^= 1 << bit
        path.write_bytes(damaged)
        try:
            again = read_predictions(path)
        except StudyError:
            continue
        np.testing.assert_array_equal(again.probability, made.probability)
