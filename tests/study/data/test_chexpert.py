"""CheXpert's layouts and tables as they are released and copied."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from xraytransfer.errors import StudyError
from xraytransfer.study.data.datasets import CHEXPERT_OBSERVATIONS, read_dataset

HEADER = "Path,Sex,Age,Frontal/Lateral,AP/PA," + ",".join(CHEXPERT_OBSERVATIONS)
FILMS = {"train": ["patient00001", "patient21514", "patient43018"], "valid": ["patient64541"]}


def write_tables(folder: Path, prefix: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part, patients in FILMS.items():
        rows = [f"{prefix}{part}/{name}/study1/view1_frontal.jpg,Male,50,Frontal,AP{',' * 13}1.0," for name in patients]
        (folder / f"{part}.csv").write_text("\n".join([HEADER, *rows]) + "\n")


def write_film(folder: Path, name: str = "view1_frontal.jpg") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).touch()
    return folder / name


@pytest.mark.parametrize(
    "prefix",
    [
        "",
        "CheXpert/",
        "CheXpert-v1.0-small/",
        "chexpertchestxrays-u20210408/CheXpert-v1.0/",
        "CheXpert-v1.0/CheXpert-v1.0/",
        "../input/chexpert/CheXpert-v1.0-small/",
        "/data/CheXpert-v1.0/",
        "C:\\films\\CheXpert-v1.0\\",
    ],
)
def test_what_stands_before_train_and_valid_does_not_matter(tmp_path: Path, prefix: str):
    write_tables(tmp_path, prefix)
    table = read_dataset("chexpert", tmp_path)
    assert table.image[0] == "train/patient00001/study1/view1_frontal.jpg"
    assert table.path[0] == tmp_path / table.image[0]
    assert list(table.official_split) == ["train"] * 3 + ["validation"]


@pytest.mark.parametrize("inside", [False, True])
def test_the_release_in_batches(tmp_path: Path, inside: bool):
    first = tmp_path / "CheXpert-v1.0 batch 1 (validate & csv)"
    write_tables(first, "CheXpert-v1.0/")
    films = [
        write_film(tmp_path / f"CheXpert-v1.0 batch {number} (train {number - 1})" / patient / "study1")
        for number, patient in enumerate(FILMS["train"], start=2)
    ]
    films.append(write_film(first / "valid" / FILMS["valid"][0] / "study1"))
    table = read_dataset("chexpert", first if inside else tmp_path)
    assert table.path == films


def test_test_labels_as_released_have_one_row_for_an_examination(tmp_path: Path):
    write_tables(tmp_path, "CheXpert-v1.0/")
    header = "Study," + ",".join(CHEXPERT_OBSERVATIONS)
    rows = [f"CheXpert-v1.0/test/patient6474{n}/study1,{n - 1}" + ",0" * 13 for n in (1, 2)]
    (tmp_path / "groundtruth.csv").write_text("\n".join([header, *rows]) + "\n")
    for name in ("view1_frontal.jpg", "view2_lateral.jpg", "view3_frontal.jpg"):
        write_film(tmp_path / "test" / "patient64741" / "study1", name)
    table = read_dataset("chexpert", tmp_path, views="all")
    test = table.subset(table.official_split == "test")
    assert list(test.patient) == ["patient64741"] * 3 + ["patient64742"]
    assert list(test.view) == ["", "LATERAL", "", ""]
    assert list(test.examination[:3]) == ["patient64741/study1"] * 3
    np.testing.assert_array_equal(test.select(["no_finding"])[:, 0], [0, 0, 0, 1])
    # an examination without pictures is a missing film, not a film less
    assert not test.path[3].exists()
    assert test.image[3] == "test/patient64742/study1/view1_frontal.jpg"


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("train.csv", "path_to_image,report\na,b\n", r"train\.csv: lacks the columns \['Path', .* CheXpert v1\.0"),
        ("valid.csv", "Study,No Finding\na,1\n", r"valid\.csv: lacks the columns \['Path'"),
        ("groundtruth.csv", "Exam,No Finding\na,1\n", r"groundtruth\.csv: lacks the columns \['Path'"),
        ("train.csv", f"{HEADER}\n{'a.jpg,Male,50,Frontal,AP' + ',' * 14}\n", "expected train/patientNNNNN"),
    ],
)
def test_a_table_of_another_release_is_refused(tmp_path: Path, name: str, text: str, message: str):
    write_tables(tmp_path, "")
    (tmp_path / name).write_text(text)
    with pytest.raises(StudyError, match=message):
        read_dataset("chexpert", tmp_path)


def test_a_film_in_two_tables_is_refused(tmp_path: Path):
    write_tables(tmp_path, "")
    (tmp_path / "valid.csv").write_text((tmp_path / "train.csv").read_text())
    with pytest.raises(StudyError, match="3 images are listed twice, first train/patient00001"):
        read_dataset("chexpert", tmp_path)
