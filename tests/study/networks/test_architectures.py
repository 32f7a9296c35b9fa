from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from xraytransfer.errors import StudyError
from xraytransfer.study.networks.architectures import ARCHITECTURES, Architecture, find_architecture, read_architectures

timm = pytest.importorskip("timm")


def test_the_sixteen_of_the_paper_in_six_families():
    study = [row for row in ARCHITECTURES if row.group == "study"]
    assert len(study) == 16
    families = Counter(row.family for row in study)
    expected = {"ResNet": 4, "DenseNet": 3, "Inception": 2, "MNASNet": 1, "EfficientNet": 4, "MobileNet": 2}
    assert families == expected
    assert all(row.imagenet_top1 and 69 < row.imagenet_top1 < 83 and row.source for row in study)


@pytest.mark.parametrize("row", ARCHITECTURES, ids=lambda row: row.name)
def test_normalisation_is_what_timm_says_of_the_pinned_weights(row: Architecture):
    config = timm.get_pretrained_cfg(row.timm)
    assert config.mean == row.mean
    assert config.std == row.std
    assert "." in row.timm or row.sha256, "un-tagged names change their meaning; only a known file may have one"


def test_a_user_adds_a_row(tmp_path: Path):
    file = tmp_path / "mine.csv"
    file.write_text("name,timm,family,body,imagenet_top1\nmine,resnet26.bt_in1k,ResNet,resnet,75.3\n")
    rows = read_architectures(file)
    assert find_architecture("mine", rows).imagenet_top1 == 75.3
    assert rows[0].group == "user"
    assert find_architecture("resnet18", rows).timm == "resnet18.tv_in1k"


def test_a_row_survives_json():
    for row in ARCHITECTURES:
        assert Architecture.from_dict(row.to_dict()) == row


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,timm,family\na,b,c\n", "lacks body"),
        ("name,timm,family,body\na,b,c,vgg\n", "none of resnet"),
        ("name,timm,family,body,colour\na,b,c,resnet,red\n", "unknown columns"),
        ("name,timm,family,body,imagenet_top1\na,b,c,resnet,high\n", "could not convert"),
        ("name,timm,family,body,mean\na,b,c,resnet,0.5 0.5\n", "three numbers"),
        ("name,timm,family,body\na,b,c,resnet\na,b,c,resnet\n", "named twice: a"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path: Path, text: str, message: str):
    file = tmp_path / "mine.csv"
    file.write_text(text)
    with pytest.raises(StudyError, match=message):
        read_architectures(file)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(StudyError, match=r"'resnet19'; known: .*resnet18"):
        find_architecture("resnet19")
    with pytest.raises(StudyError, match="cannot be read"):
        read_architectures("nowhere.csv")
    assert replace(ARCHITECTURES[0], name="x") not in ARCHITECTURES
