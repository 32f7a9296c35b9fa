"""Reading a results folder: what is compared, what is left out, and why."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from xraytransfer.errors import StudyError
from xraytransfer.study.analysis.curve import read_curve
from xraytransfer.study.analysis.results_folder import read_results
from xraytransfer.study.training.presets import PRESETS

Write = Callable[..., Path]


def test_reads_runs_and_averages_members(tmp_path: Path, write_study_run: Write) -> None:
    write_study_run(tmp_path, "alpha1")
    write_study_run(tmp_path, "alpha2", seed=3)
    results = read_results(tmp_path)
    assert [run.name for run in results.runs] == ["alpha1-pretrained-t0-s0", "alpha2-pretrained-t0-s3"]
    assert results.left_out == ()
    run = results.runs[1]
    assert (run.cell, run.config["seed"], run.checkpoints) == (("alpha2", "pretrained", 0), 3, 3)
    with np.load(run.folder / "predictions" / "test.npz", allow_pickle=False) as file:
        members = file["probability"]
    np.testing.assert_allclose(run.test.ensemble, members.mean(axis=1), atol=1e-6)
    np.testing.assert_array_equal(run.test.best_checkpoint, members[:, 0])  # the best checkpoint comes first
    assert results.config("data", "name") == "nih"
    assert results.config("no", "such") is None


def test_unfinished_failed_and_damaged_runs_are_named(tmp_path: Path, write_study_run: Write) -> None:
    write_study_run(tmp_path, "alpha1")
    (write_study_run(tmp_path, "alpha2") / "done.json").unlink()
    failed = write_study_run(tmp_path, "alpha3")
    (failed / "done.json").unlink()
    (failed / "failed.json").write_text(json.dumps({"reason": "out of memory"}))
    (write_study_run(tmp_path, "alpha4") / "predictions" / "test.npz").write_bytes(b"no zip")
    left_out = dict(read_results(tmp_path).left_out)
    assert left_out["alpha2-pretrained-t0-s0"] == "not finished"
    assert left_out["alpha3-pretrained-t0-s0"] == "failed: out of memory"
    assert "cannot be read" in left_out["alpha4-pretrained-t0-s0"]
    assert str(tmp_path) not in "".join(left_out.values())


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        ("done.json", "[]", "holds no JSON object"),
        ("config.json", "[]", "holds no JSON object"),
        ("done.json", '{"parameters": null}', "parameters is None, expected a number"),
    ],
)
def test_files_that_hold_something_else_are_named(
    tmp_path: Path, write_study_run: Write, name: str, text: str, reason: str
) -> None:
    write_study_run(tmp_path, "alpha1")
    (write_study_run(tmp_path, "alpha2") / name).write_text(text)
    ((_, said),) = read_results(tmp_path).left_out
    assert name in said
    assert reason in said


def test_a_copied_run_is_no_further_seed(tmp_path: Path, write_study_run: Write) -> None:
    run = write_study_run(tmp_path, "alpha1")
    write_study_run(tmp_path, "alpha1", seed=1)
    shutil.copytree(run, run.with_name(f"{run.name}-copy"))
    results = read_results(tmp_path)
    assert [one.config["seed"] for one in results.runs] == [0, 1]
    assert results.left_out == ((f"{run.name}-copy", f"has the settings and the seed of {run.name}; is it a copy?"),)


def test_a_damaged_curve_is_named(tmp_path: Path, write_study_run: Write) -> None:
    run = write_study_run(tmp_path, "alpha1")
    (run / "metrics.csv").write_text("step,examples,validation_auroc\n1,16,0.5\n2,3")
    assert np.isnan(read_curve(read_results(tmp_path).runs[0])["validation_auroc"][1])
    (run / "metrics.csv").write_text("step,examples,validation_auroc\n1,x,0.5\n")
    with pytest.raises(StudyError, match=r"metrics\.csv: is damaged"):
        read_curve(read_results(tmp_path).runs[0])


def test_runs_with_other_settings_are_not_compared(tmp_path: Path, write_study_run: Write) -> None:
    write_study_run(tmp_path, "alpha1")
    write_study_run(tmp_path, "alpha2")
    write_study_run(tmp_path, "alpha3", resolution=[128, 128])
    write_study_run(tmp_path, "alpha4", preset={"name": "tiny", "epochs": 9})
    write_study_run(tmp_path, "alpha5", films=200)
    left_out = dict(read_results(tmp_path).left_out)
    assert left_out["alpha3-pretrained-t0-s0"].endswith("resolution")
    assert left_out["alpha4-pretrained-t0-s0"].endswith("preset.epochs")
    assert "split" in left_out["alpha5-pretrained-t0-s0"]


def test_runs_planned_with_other_training_labels_are_not_compared(tmp_path: Path, write_study_run: Write) -> None:
    for seed, labels in enumerate(("1", "1", "2", None)):
        path = write_study_run(tmp_path, seed=seed)
        config = json.loads((path / "config.json").read_text("utf-8"))
        config["data"] |= {} if labels is None else {"labels_sha256": labels}
        (path / "config.json").write_text(json.dumps(config), "utf-8")
    results = read_results(tmp_path)
    assert [run.config["seed"] for run in results.runs] == [0, 1, 3]
    reason = "other films, labels or settings than the 3 runs compared: labels or films"
    assert results.left_out == (("alpha1-pretrained-t0-s2", reason),)


def test_a_folder_elsewhere_is_the_same_data(tmp_path: Path, write_study_run: Write) -> None:
    write_study_run(tmp_path, "alpha1")
    write_study_run(tmp_path, "alpha2", data={"name": "nih", "folder": "moved", "refused": {}})
    assert len(read_results(tmp_path).runs) == 2


def test_nothing_to_report(tmp_path: Path, write_study_run: Write) -> None:
    with pytest.raises(StudyError, match="no finished run"):
        read_results(tmp_path)
    (write_study_run(tmp_path) / "done.json").unlink()
    with pytest.raises(StudyError, match="1 unfinished"):
        read_results(tmp_path)


def test_settings_that_came_later_count_as_off(tmp_path: Path, write_study_run: Write) -> None:
    old = PRESETS["tiny"].to_dict()
    new = {**old, "equalise": 0.0, "levels": 0.0}
    del old["equalise"], old["levels"]
    write_study_run(tmp_path, "alpha1", preset=old)
    write_study_run(tmp_path, "alpha2", preset=new)
    write_study_run(tmp_path, "alpha3", preset={**new, "levels": 0.1})
    results = read_results(tmp_path)
    assert [run.config["architecture"] for run in results.runs] == ["alpha1", "alpha2"]
    assert dict(results.left_out)["alpha3-pretrained-t0-s0"].endswith("preset.levels")


def test_nan_probabilities_are_refused(tmp_path: Path, write_study_run: Write) -> None:
    folder = write_study_run(tmp_path)
    path = folder / "predictions" / "test.npz"
    with np.load(path, allow_pickle=False) as file:
        arrays = dict(file)
    arrays["probability"][0] = np.nan
    np.savez(path, **arrays)
    with pytest.raises(StudyError, match="no finished run"):
        read_results(tmp_path)


def test_curve(tmp_path: Path, write_study_run: Write) -> None:
    folder = write_study_run(tmp_path)
    (run,) = read_results(tmp_path).runs
    assert read_curve(run)["examples"].tolist() == [16, 32, 48, 64, 80]
    (folder / "metrics.csv").unlink()
    assert read_curve(run) == {}


def test_seeds_of_another_network_of_the_same_name_are_not_compared(tmp_path: Path, write_study_run: Write) -> None:
    write_study_run(tmp_path, "alpha1")
    row = {"name": "alpha1", "family": "Alpha", "imagenet_top1": 70.0}
    write_study_run(tmp_path, "alpha1", seed=1, row={**row, "timm": "alpha1", "note": "a remark"})
    write_study_run(tmp_path, "alpha1", seed=2, timm="other.tag", row={**row, "timm": "other.tag"})
    results = read_results(tmp_path)
    assert [run.config["seed"] for run in results.runs] == [0, 1]
    ((name, reason),) = results.left_out
    assert name == "alpha1-pretrained-t0-s2"
    assert reason == "is of another network than alpha1-pretrained-t0-s0, although it has the same name: timm"


def test_seeds_that_began_with_other_weights_are_not_compared(tmp_path: Path, write_study_run: Write) -> None:
    write_study_run(tmp_path, "alpha1", weights={"path": "w"})  # an older version knew no checksum
    write_study_run(tmp_path, "alpha1", seed=1, weights={"path": "w", "sha256": "one"})
    write_study_run(tmp_path, "alpha1", seed=2, weights={"path": "w", "sha256": "two"})
    write_study_run(tmp_path, "alpha1", seed=3, weights={"path": "v", "sha256": "one"})
    results = read_results(tmp_path)
    assert [run.config["seed"] for run in results.runs] == [0, 1, 3]
    ((name, reason),) = results.left_out
    assert name == "alpha1-pretrained-t0-s2"
    assert "alpha1-pretrained-t0-s1" in reason
    assert reason.endswith("pretrained weights")
