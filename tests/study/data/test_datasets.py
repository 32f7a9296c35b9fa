from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from xraytransfer.errors import StudyError
from xraytransfer.study.data.datasets import CHEXPERT_OBSERVATIONS, read_dataset
from xraytransfer.study.data.film_table import parse_age

HEADER = "Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(CHEXPERT_OBSERVATIONS)


def chexpert(folder: Path, release: str = "CheXpert-v1.0-small") -> Path:
    """Write CheXpert's three tables: five training films, one validation film, one test film."""
    blank = [""] * 14
    rows = [
        ("train/patient00001/study1/view1_frontal.jpg", "Female", "68", "Frontal", "AP", {10: "1.0", 5: "-1.0"}),
        ("train/patient00001/study1/view2_lateral.jpg", "Female", "68", "Lateral", "", {10: "1.0"}),
        ("train/patient00002/study2/view1_frontal.jpg", "Male", "0", "Frontal", "PA", {0: "1.0", 2: "0.0"}),
    ]

    def line(row: tuple[str, str, str, str, str, dict[int, str]]) -> str:
        labels = [row[5].get(index, value) for index, value in enumerate(blank)]
        return ",".join([f"{release}/{row[0]}", *row[1:5], *labels])

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "train.csv").write_text("\n".join([HEADER, *map(line, rows)]) + "\n")
    valid = ("valid/patient64541/study1/view1_frontal.jpg", "Male", "50", "Frontal", "AP", {8: "1.0"})
    (folder / "valid.csv").write_text(HEADER + "\n" + line(valid) + "\n")
    return folder


def test_chexpert(tmp_path: Path):
    folder = chexpert(tmp_path / "CheXpert-v1.0-small")
    zeros = ",".join(["0"] * 13)
    test = "Path," + ",".join(CHEXPERT_OBSERVATIONS)
    (folder / "groundtruth.csv").write_text(
        f"{test}\nCheXpert-v1.0/test/patient64741/study1/view1_frontal.jpg,1,{zeros}\n"
    )
    table = read_dataset("chexpert", folder)
    assert list(table.official_split) == ["train", "train", "validation", "test"]
    assert list(table.patient) == ["patient00001", "patient00002", "patient64541", "patient64741"]
    assert table.examination[0] == "patient00001/study1"
    assert table.path[0] == folder / "train/patient00001/study1/view1_frontal.jpg"
    assert list(table.view) == ["AP", "PA", "AP", ""]
    assert list(table.sex) == ["F", "M", "M", ""]
    label = table.select(["pleural_effusion", "edema", "no_finding", "cardiomegaly"])
    np.testing.assert_array_equal(label[0], [1, -1, np.nan, np.nan])
    np.testing.assert_array_equal(label[1], [np.nan, np.nan, 1, 0])
    assert len(table.outputs("paper")) == 14
    assert table.outputs("paper")[:6] == table.outputs("product")
    assert any("1 images left out: not frontal" in note for note in table.notes)
    assert list(read_dataset("chexpert", folder, views="lateral").view) == ["LATERAL"]
    assert len(read_dataset("chexpert", folder, views="all")) == 5


@pytest.mark.parametrize("release", ["CheXpert-v1.0", "CheXpert-v1.0-small"])
def test_chexperts_two_releases_and_absent_tables(tmp_path: Path, release: str):
    folder = chexpert(tmp_path / release, release)
    (folder / "valid.csv").unlink()
    table = read_dataset("chexpert", folder)
    assert table.image[0] == "train/patient00001/study1/view1_frontal.jpg"
    assert "valid.csv is not there" in table.notes


def test_nihs_official_layout(tmp_path: Path):
    (tmp_path / "Data_Entry_2017_v2020.csv").write_text(
        "Image Index,Finding Labels,Follow-up #,Patient ID,Patient Age,Patient Gender,View Position\n"
        "00000001_000.png,Cardiomegaly|Effusion,0,1,058Y,M,PA\n"
        "00000002_000.png,No Finding,0,2,81,F,AP\n"
    )
    (tmp_path / "images_001" / "images").mkdir(parents=True)
    (tmp_path / "images_001" / "images" / "00000001_000.png").touch()
    (tmp_path / "train_val_list.txt").write_text("00000001_000.png\n")
    (tmp_path / "test_list.txt").write_text("00000002_000.png\n")
    table = read_dataset("nih", tmp_path)
    assert table.path[0] == tmp_path / "images_001" / "images" / "00000001_000.png"
    assert list(table.official_split) == ["train", "test"]
    assert list(table.age) == [58, 81]
    np.testing.assert_array_equal(
        table.select(["cardiomegaly", "pleural_effusion", "no_finding"]), [[1, 1, 0], [0, 0, 1]]
    )
    assert len(table.outputs("paper")) == 15


def test_the_nih_sample(shared_data: Path):
    folder = shared_data / "nih-sample"
    if not folder.is_dir():
        pytest.skip("the NIH sample is not beside this checkout")
    table = read_dataset("nih", folder)
    assert len(table) == 12776
    assert len(np.unique(table.patient)) == 3554
    positives = table.select(table.outputs("product")).sum(axis=0)
    assert list(positives) == [1177, 354, 499, 218, 7305, 1221]
    assert (table.view == "PA").sum() == 8589
    assert {64, 128, 1024} <= set(table.source_width.tolist())


def mapped(folder: Path, **changes: object) -> Path:
    (folder / "films.csv").write_text("file,pid,ed,pe,when\na.png,7,yes,,train\nb.png,8,unsure,no,test\n")
    plan = {
        "name": "mine",
        "table": "films.csv",
        "image": "file",
        "patient": "pid",
        "split": "when",
        "labels": {"edema": "ed", "pleural_effusion": "pe"},
        "values": {"yes": 1, "no": 0, "unsure": -1},
        **changes,
    }
    (folder / "map.json").write_text(json.dumps(plan))
    return folder / "map.json"


def test_any_csv_through_a_mapping(tmp_path: Path):
    table = read_dataset("csv", tmp_path, mapping=mapped(tmp_path))
    assert table.name == "mine"
    assert table.outputs("product") == ["edema", "pleural_effusion"]
    np.testing.assert_array_equal(table.label, np.array([[1, np.nan], [-1, 0]], np.float32))
    assert list(table.examination) == ["a.png", "b.png"]
    assert list(table.official_split) == ["train", "test"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image": "picture"}, r"lacks the columns \['picture'\]"),
        ({"labels": {"edema": "nowhere"}}, "lacks the columns"),
        ({"labels": ["edema"]}, "must be a JSON object"),
        ({"values": {}}, "label 'yes' is none of 1, 0, -1 and blank"),
        ({"table": "none.csv"}, "cannot be read as CSV"),
    ],
)
def test_a_wrong_mapping_is_refused(tmp_path: Path, changes: dict[str, object], message: str):
    with pytest.raises(StudyError, match=message):
        read_dataset("csv", tmp_path, mapping=mapped(tmp_path, **changes))


def test_other_wrong_input_is_refused(tmp_path: Path):
    with pytest.raises(StudyError, match="needs a mapping file"):
        read_dataset("csv", tmp_path)
    with pytest.raises(StudyError, match=r"no train\.csv"):
        read_dataset("chexpert", tmp_path)
    with pytest.raises(StudyError, match="no Data_Entry"):
        read_dataset("nih", tmp_path)
    with pytest.raises(StudyError, match="none of chexpert, nih, csv"):
        read_dataset("padchest", tmp_path)
    with pytest.raises(StudyError, match="no such folder"):
        read_dataset("nih", tmp_path / "nowhere")
    with pytest.raises(StudyError, match="views 'oblique'"):
        read_dataset("nih", tmp_path, views="oblique")
    header = "Image Index,Finding Labels,Patient ID\n"
    (tmp_path / "Data_Entry.csv").write_text(header + "a.png,Measles,1\n")
    with pytest.raises(StudyError, match=r"line 2: unknown labels \['Measles'\]"):
        read_dataset("nih", tmp_path)
    (tmp_path / "Data_Entry.csv").write_text(header + "a.png,Edema,1\na.png,Edema,1\n")
    with pytest.raises(StudyError, match=r"1 images are listed twice, first a\.png"):
        read_dataset("nih", tmp_path)
    (tmp_path / "Data_Entry.csv").write_text(header)
    with pytest.raises(StudyError, match="has no rows"):
        read_dataset("nih", tmp_path)
    (tmp_path / "Data_Entry.csv").write_text("Image,Finding Labels,Patient ID\n")
    with pytest.raises(StudyError, match=r"lacks the columns \['Image Index'\]"):
        read_dataset("nih", tmp_path)
    (tmp_path / "Data_Entry.csv").write_text(header.replace(",", ";") + "a.png;Edema;1\n")
    with pytest.raises(StudyError, match="separated by semicolons; commas expected, save it as CSV with commas"):
        read_dataset("nih", tmp_path)
    folder = chexpert(tmp_path / "c")
    text = (folder / "train.csv").read_text()
    (folder / "train.csv").write_text(text.replace("-1.0", "maybe"))
    with pytest.raises(StudyError, match=r"train\.csv line 2, Edema: label 'maybe'"):
        read_dataset("chexpert", folder)
    (folder / "train.csv").write_text(text.replace("train/patient00001/study1/view1", "../../etc/view1"))
    with pytest.raises(StudyError, match="expected train/patientNNNNN"):
        read_dataset("chexpert", folder)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ("a.png,7,yes,,train\nb.png,8,uns", "line 3: has 3 cells, the header has 5; is the file whole"),
        ("a.png,Doe, John,yes,,train", "line 2: has 6 cells, the header has 5"),
        ("a.png, ,yes,,train", "line 2: no patient"),
        (",7,yes,,train", "line 2: no name of an image"),
    ],
)
def test_rows_that_are_not_whole_are_refused(tmp_path: Path, rows: str, message: str):
    mapping = mapped(tmp_path)
    (tmp_path / "films.csv").write_text(f"file,pid,ed,pe,when\n{rows}")
    with pytest.raises(StudyError, match=message):
        read_dataset("csv", tmp_path, mapping=mapping)


def test_blank_cells_behind_the_last_column_and_columns_of_one_name(tmp_path: Path):
    mapping = mapped(tmp_path)
    (tmp_path / "films.csv").write_text("file,pid,ed,pe,when,more,more\na.png,7,yes,,train,,,, \n")
    assert len(read_dataset("csv", tmp_path, mapping=mapping)) == 1
    (tmp_path / "films.csv").write_text("file,pid,ed,pe,when,ed\na.png,7,yes,,train,no\n")
    with pytest.raises(StudyError, match="has two columns 'ed'"):
        read_dataset("csv", tmp_path, mapping=mapping)


def test_a_patient_who_is_written_in_several_ways_is_one(tmp_path: Path):
    mapping = mapped(tmp_path)
    patients = ["7", " 7", "007", "P1", "p1", "p01", "8"]
    rows = [f"{index}.png,{patient},yes,," for index, patient in enumerate(patients)]
    (tmp_path / "films.csv").write_text("\n".join(["file,pid,ed,pe,when", *rows]))
    table = read_dataset("csv", tmp_path, mapping=mapping)
    assert list(table.patient) == ["007", "007", "007", "P1", "P1", "p01", "8"]
    assert "6 identifiers of patients are of 4 patients" in table.notes[0]


def test_what_nihs_table_does_not_say(tmp_path: Path):
    (tmp_path / "Data_Entry.csv").write_text("Image Index,Finding Labels,Patient ID,Source Width\na.png,Edema,1,wide\n")
    with pytest.raises(StudyError, match="line 2: Source Width is 'wide'"):
        read_dataset("nih", tmp_path)
    (tmp_path / "Data_Entry.csv").write_text("Image Index,Finding Labels,Patient ID\na.png,Edema,\n")
    with pytest.raises(StudyError, match="line 2: no patient"):
        read_dataset("nih", tmp_path)


@pytest.mark.parametrize(
    ("text", "years"), [("58", 58), ("058Y", 58), ("006M", 0.5), ("414", None), ("", None), (None, None), ("old", None)]
)
def test_ages(text: str | None, years: float | None):
    assert parse_age(text) == pytest.approx(float("nan") if years is None else years, nan_ok=True)


def test_views_and_splits_in_other_words(tmp_path: Path):
    words = ["PA", "AP SUPINE", "LL", "LATERAL", "LPO", ""]
    rows = [f"{n}.png,{n},1,{word},{['train', 'validate'][n % 2]}" for n, word in enumerate(words)]
    (tmp_path / "mimic.csv").write_text("\n".join(["file,pid,ed,view,when", *rows]) + "\n")
    mapping = mapped(tmp_path, table="mimic.csv", labels={"edema": "ed"}, view="view")
    table = read_dataset("csv", tmp_path, mapping=mapping)
    assert list(table.view) == ["PA", "AP", ""]
    assert list(table.official_split) == ["train", "validation", "validation"]
    assert list(read_dataset("csv", tmp_path, mapping=mapping, views="lateral").patient) == ["2", "3"]
    assert len(read_dataset("csv", tmp_path, mapping=mapping, views="all")) == 6


def test_an_unknown_view_is_refused_until_it_is_translated(tmp_path: Path):
    (tmp_path / "own.csv").write_text("file,pid,ed,view,when\na.png,1,1,de face,fold 1\n")
    changes = {"table": "own.csv", "labels": {"edema": "ed"}, "view": "view"}
    with pytest.raises(StudyError, match=r"own\.csv line 2: view 'de face' is unknown.*view_words"):
        read_dataset("csv", tmp_path, mapping=mapped(tmp_path, **changes))
    changes |= {"view_words": {"de face": "PA"}, "split_words": {"fold 1": "test"}}
    table = read_dataset("csv", tmp_path, mapping=mapped(tmp_path, **changes))
    assert (table.view[0], table.official_split[0]) == ("PA", "test")
