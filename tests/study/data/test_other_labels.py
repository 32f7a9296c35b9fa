"""Labels of another table, which correct those of training and validation films."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch")

from xraytransfer.errors import StudyError
from xraytransfer.files import write_json
from xraytransfer.study.data import cache as cache_module
from xraytransfer.study.data.datasets import read_dataset
from xraytransfer.study.data.other_labels import read_other_labels
from xraytransfer.study.data.run_data import load_data

MAPPING = {
    "name": "readers",
    "table": "readers.csv",
    "image": "film",
    "attribution": "Read by two readers.",
    "labels": {"edema": "Oedema", "no_finding": "Normal"},
}


@pytest.fixture
def readers(made_up_films: Path, tmp_path: Path) -> Path:
    """Return a folder with a mapping file, and a table that calls every film without oedema; every third is normal."""
    images = read_dataset("nih", made_up_films).image
    rows = [f"{image},0,{'1' if index % 3 == 0 else ''}" for index, image in enumerate(images)]
    (tmp_path / "readers.csv").write_text("\n".join(["film,Oedema,Normal", *rows]) + "\n")
    (tmp_path / "readers.json").write_text(json.dumps(MAPPING))
    return tmp_path


def configuration(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    return config


@pytest.fixture
def place(toy_run_placer: Callable[..., Path], readers: Path) -> Callable[..., Path]:
    def make(**options: Any) -> Path:
        given = {"corrections": readers / "readers.json", "corrections_folder": readers}
        return toy_run_placer({"resolution": 32}, **{**given, **options})

    return make


def test_training_and_validation_films_are_corrected_and_test_films_are_not(
    place: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = load_data(configuration(place(corrections=None, corrections_folder=None)))
    monkeypatch.setattr(cache_module, "_read_chunk", None)  # a film that is read again fails
    config = configuration(place())
    data = load_data(config)
    column = config["outputs"].index
    for split in ("train", "validation"):
        rows = data.rows[split]
        assert not data.label[rows, column("edema")].any()
        assert data.label[rows[rows % 3 == 0], column("no_finding")].all()
        blank = rows[rows % 3 != 0]
        np.testing.assert_array_equal(data.label[blank, column("no_finding")], plain.label[blank, column("no_finding")])
        np.testing.assert_array_equal(data.label[rows, column("atelectasis")], plain.label[rows, column("atelectasis")])
    np.testing.assert_array_equal(data.label[data.rows["test"]], plain.label[data.rows["test"]])

    corrected, both = config["data"]["corrected"], np.concatenate([data.rows["train"], data.rows["validation"]])
    assert corrected["films_corrected"] == len(both)
    assert corrected["labels_changed"]["edema"] == plain.label[both, column("edema")].sum()
    assert corrected["attribution"] == "Read by two readers."


def test_corrections_are_part_of_the_run_but_not_where_they_lie(
    place: Callable[..., Path], readers: Path, tmp_path: Path
) -> None:
    folder = place()
    results = folder.parents[1]
    with pytest.raises(StudyError, match=r"was started with other settings: data\.corrected was .*, is None"):
        place(results=results, corrections=None, corrections_folder=None)
    moved = tmp_path / "moved"
    moved.mkdir()
    for name in ("readers.csv", "readers.json"):
        shutil.move(readers / name, moved / name)
    assert place(results=results, corrections=moved / "readers.json", corrections_folder=moved) == folder
    assert configuration(folder)["data"]["corrected"]["folder"] == str(moved)
    table = moved / "readers.csv"
    table.write_text(table.read_text().replace(",0,", ",1,", 1))
    with pytest.raises(StudyError, match="the corrected labels are not what they were when the run was planned"):
        load_data(configuration(folder))


def test_labels_that_changed_since_the_plan_are_noticed(place: Callable[..., Path], tmp_path: Path) -> None:
    folder = place(corrections=None, corrections_folder=None)
    config, moved = configuration(folder), tmp_path / "moved"
    shutil.copytree(config["data"]["folder"], moved)
    changed = {**config, "data": {**config["data"], "folder": str(moved)}}
    load_data(changed)
    table = next(moved.glob("Data_Entry*.csv"))
    table.write_text(table.read_text().replace("No Finding", "Hernia", 1))
    with pytest.raises(StudyError, match="the labels are not what they were when the run was planned"):
        load_data(changed)
    older = {key: value for key, value in changed["data"].items() if key != "labels_sha256"}
    load_data({**changed, "data": older})
    write_json(folder / "config.json", {**config, "data": {**config["data"], "labels_sha256": "other"}})
    with pytest.raises(StudyError, match=r"was started with other settings: data\.labels_sha256 was other"):
        place(results=folder.parents[1], corrections=None, corrections_folder=None)
    write_json(folder / "config.json", {**config, "data": {key: config["data"][key] for key in older}})
    assert place(results=folder.parents[1], corrections=None, corrections_folder=None) == folder


def test_corrections_that_correct_nothing_are_refused(place: Callable[..., Path], readers: Path) -> None:
    with pytest.raises(StudyError, match="name their mapping file with --correct"):
        place(corrections=None)
    (readers / "readers.csv").write_text("film,Oedema,Normal\nanother.png,1,0\n")
    with pytest.raises(StudyError, match=r"readers\.json: none of the \d+ films of nih has labels there"):
        place()
    (readers / "readers.json").write_text(json.dumps({**MAPPING, "labels": {"fracture": "Normal"}}))
    with pytest.raises(StudyError, match="none of the observations of nih has labels there"):
        place()


def test_the_source_names_rows_and_attribution(readers: Path) -> None:
    labels = read_other_labels(readers, readers / "readers.json", {"Normal": frozenset({"1"})})
    assert len(labels.images) == 100
    assert labels.source["rows"] == {"Normal": ["1"]}
    assert labels.source["attribution"] == "Read by two readers."
    assert labels.sha256() != read_other_labels(readers, readers / "readers.json", {}).sha256()
