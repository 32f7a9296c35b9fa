"""Mapping files and conditions on rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xraytransfer.errors import StudyError
from xraytransfer.study.data.datasets import read_dataset
from xraytransfer.study.data.mapping_file import read_mapping
from xraytransfer.study.data.row_filter import parse_row_filter, row_matches

PLAN: dict[str, Any] = {"name": "mine", "table": "t.csv", "image": "file", "patient": "who", "labels": {"edema": "E"}}


def mapping(folder: Path, **changes: Any) -> Path:
    path = folder / "map.json"
    path.write_text(json.dumps({**PLAN, **changes}))
    return path


def test_a_folder_of_pictures_rows_and_values_of_one_label(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file,who,E,grade,use\na.png,1,yes,3,x\nb.png,2,no,,x\nc.png,3,1,3,y\n")
    labels = {"edema": "E", "consolidation": {"column": "grade", "values": {"3": 0}}}
    plan = mapping(tmp_path, images="films", rows={"use": ["x", "z"]}, labels=labels, values={"yes": 1, "no": 0})
    table = read_dataset("csv", tmp_path, mapping=plan)
    assert table.path == [tmp_path / "films" / "a.png", tmp_path / "films" / "b.png"]
    np.testing.assert_array_equal(table.label, [[1, 0], [0, np.nan]])
    assert len(read_dataset("csv", tmp_path, mapping=plan, rows={"who": frozenset("2")})) == 1
    with pytest.raises(StudyError, match="no frontal image is left"):
        read_dataset("csv", tmp_path, mapping=plan, rows={"use": frozenset("y")})
    with pytest.raises(StudyError, match="lacks the columns"):
        read_dataset("csv", tmp_path, mapping=plan, rows={"nothing": frozenset("y")})


def test_rows_of_nihs_table(tmp_path: Path) -> None:
    header = "Image Index,Finding Labels,Patient ID,Follow-up\n"
    (tmp_path / "Data_Entry.csv").write_text(f"{header}1.png,Edema,1,0\n2.png,No Finding,2,1\n")
    assert read_dataset("nih", tmp_path, rows={"Follow-up": frozenset("1")}).image.tolist() == ["2.png"]


def test_the_name_space_of_patients_is_the_name_unless_said(tmp_path: Path) -> None:
    assert read_mapping(mapping(tmp_path)).patients == "mine"
    assert read_mapping(mapping(tmp_path, patients="nih")).patients == "nih"


@pytest.mark.parametrize("name", ["", "../up", "a/b", "a\\b", ".hidden", "n" * 101])
def test_names_that_would_lead_elsewhere(tmp_path: Path, name: str) -> None:
    with pytest.raises(StudyError, match="becomes part of names of folders"):
        read_dataset("csv", tmp_path, mapping=mapping(tmp_path, name=name))


@pytest.mark.parametrize("changes", [{"labels": {"edema": 3}}, {"values": []}, {"rows": "use"}, {"labels": []}])
def test_parts_of_another_form(tmp_path: Path, changes: dict[str, Any]) -> None:
    with pytest.raises(StudyError, match="must be"):
        read_mapping(mapping(tmp_path, **changes))


@pytest.mark.parametrize("name", ["Pleural Effusion", "Edema", "no-finding"])
def test_an_observation_that_is_written_in_another_way(tmp_path: Path, name: str) -> None:
    """It would be read as one that is none of the six, and neither trained nor evaluated."""
    with pytest.raises(StudyError, match="the identifier of this observation is"):
        read_mapping(mapping(tmp_path, labels={"edema": "E", name: "E"}))
    assert "Rib fracture" in read_mapping(mapping(tmp_path, labels={"edema": "E", "Rib fracture": "E"})).labels


def test_conditions() -> None:
    rows = parse_row_filter(["use=a", "use=b", "note="])
    assert rows == {"use": {"a", "b"}, "note": {""}}
    assert row_matches({"use": " b", "note": ""}, rows)
    assert not row_matches({"use": "b", "note": "x"}, rows)
    assert row_matches({"use": "c"}, {})
    for bad in ("use", "=a"):
        with pytest.raises(StudyError, match="COLUMN=VALUE"):
            parse_row_filter([bad])
