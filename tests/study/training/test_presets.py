from __future__ import annotations

import pytest

from xraytransfer.errors import StudyError
from xraytransfer.study.training.presets import PRESETS, Preset, change_preset, parse_changes


def test_the_papers_settings():
    paper = PRESETS["paper"]
    assert (paper.resolution, paper.optimizer, paper.learning_rate, paper.batch) == (320, "adam", 1e-4, 16)
    assert (paper.epochs, paper.evaluate_every, paper.keep) == (3, 8192, 10)
    assert (paper.placement, paper.random_normalisation, paper.judged_by) == ("crop", "chexpert", "examination")
    assert paper.precision == "float32"
    assert not any((paper.smoothing, paper.bootstrap, paper.trimming))
    assert not any((paper.rotation, paper.scale, paper.shift, paper.brightness, paper.contrast, paper.gamma))
    assert not any((paper.equalise, paper.levels, paper.noise))
    assert not any((paper.soften, paper.erase, paper.ema, paper.dropout, paper.weight_decay, paper.warmup))
    assert (paper.schedule, paper.positive_weight, paper.prior_bias) == ("constant", "none", False)


def test_changes_have_the_settings_type():
    changes = parse_changes(["epochs=5", "learning_rate=3e-4", "prior_bias=true", "schedule=cosine"])
    assert changes == {"epochs": 5, "learning_rate": 3e-4, "prior_bias": True, "schedule": "cosine"}
    assert change_preset("paper", changes).epochs == 5
    assert Preset(**change_preset("modern", {}).to_dict()) == PRESETS["modern"]


@pytest.mark.parametrize("item", ["epochs", "epoch=5", "name=x", "epochs=five", "prior_bias=perhaps"])
def test_wrong_changes_are_refused(item: str):
    with pytest.raises(StudyError, match=f"--set '{item}'"):
        parse_changes([item])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"optimizer": "sgd"}, "none of adam, adamw"),
        ({"placement": "squeeze"}, "none of stretch, crop"),
        ({"batch": 0}, "batch must be greater than 0"),
        ({"learning_rate": float("nan")}, "learning_rate must be greater than 0"),
        ({"ema": 1.0}, "ema must be at least 0 and less than 1, found 1.0"),
        ({"smoothing": -0.1}, "smoothing must be at least 0"),
        ({"bootstrap": 1.0}, "bootstrap must be at least 0 and less than 1"),
        ({"trimming": 0.6}, "trimming must be from 0 to 0.5, found 0.6"),
        ({"trimming": -0.1}, "trimming must be from 0 to 0.5, found -0.1"),
        ({"trimming": float("nan")}, "trimming must be from 0 to 0.5, found nan"),
        ({"trimming": 0.1, "epochs": 1}, "epochs must be at least 2, found 1"),
        ({"levels": 0.5}, "levels must be from 0 to 0.45"),
        ({"equalise": 1.5}, "equalise must be from 0 to 1"),
        ({"rotation": -5.0}, "rotation must be from 0 to 180"),
        ({"gamma": float("nan")}, "gamma must be from 0 to 3"),
    ],
)
def test_senseless_values_are_refused(changes: dict[str, object], message: str):
    with pytest.raises(StudyError, match=message):
        change_preset("modern", changes)
    with pytest.raises(StudyError, match="preset 'best' is none of"):
        change_preset("best", {})
