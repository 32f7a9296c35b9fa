"""Choosing members: which checkpoints, averaged or not, and which runs do not go together."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from xraytransfer.errors import ExportError, StudyError
from xraytransfer.export.members import choose_members, weights_sha256
from xraytransfer.observations import OBSERVATIONS
from xraytransfer.study.training.checkpoints import save_checkpoint, write_index
from xraytransfer.study.training.run_folder import load_run

NAMES = [row.identifier for row in OBSERVATIONS]


def copy_run(source, folder, **changes):
    """Copy a run folder with a changed config.json."""
    shutil.copytree(source, folder)
    config = json.loads((folder / "config.json").read_text())
    for key, value in changes.items():
        config[key] = {**config[key], **value} if isinstance(value, dict) else value
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def with_head(source, folder, outputs):
    """Copy a run as if it had been trained for other observations: the head's rows put in another order."""
    copy_run(source, folder, outputs=outputs)
    run = load_run(folder)
    state = choose_members([source], "best").networks[0].state_dict()
    rows = [NAMES.index(name) if name in NAMES else 0 for name in outputs]
    network = run.empty_network()
    network.load_state_dict({**state, "head.weight": state["head.weight"][rows], "head.bias": state["head.bias"][rows]})
    write_index(folder / "checkpoints", [save_checkpoint(folder / "checkpoints", 1, 0.5, network)])
    return folder


@pytest.mark.parametrize(
    ("checkpoints", "steps"),
    [("all", [10, 20, 30]), ("best", [10]), ("2", [10, 20]), ("30,10", [10, 30]), ("20, 30", [20, 30]), ("20,", [20])],
)
def test_checkpoints_best_first(toy_runs, checkpoints, steps):
    rows = [member.description for member in choose_members(toy_runs[:1], checkpoints).members]
    assert [row["checkpoint_steps"] for row in rows] == [[step] for step in steps]
    assert [row["validation_auroc"] for row in rows] == [{10: 0.6, 20: 0.59, 30: 0.58}[step] for step in steps]
    assert len({row["sha256"] for row in rows}) == len(steps)


def test_soup_is_the_mean_of_weights_of_each_run(toy_runs):
    ensemble = choose_members(toy_runs, "2", "soup")
    run = load_run(toy_runs[0])
    heads = [run.load_network(checkpoint).head.weight for checkpoint in run.checkpoints[:2]]
    torch.testing.assert_close(ensemble.networks[0].get_submodule("head").weight, torch.stack(heads).mean(0))
    assert [row.description["validation_auroc"] for row in ensemble.members] == [None, None]


def test_observations_in_another_order_and_more_of_them(toy_runs, tmp_path):
    x = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 255
    expected = choose_members(toy_runs[:1], "best").networks[0](x)
    folder = with_head(toy_runs[0], tmp_path / "run", [*NAMES[::-1], "hernia"])
    logits, maps = choose_members([folder]).networks[0].forward_with_map(x)
    np.testing.assert_allclose(logits.detach(), expected.detach(), atol=1e-5)
    assert maps.shape[1] == 6


def test_a_run_without_all_six_is_refused(toy_runs, tmp_path):
    folder = with_head(toy_runs[0], tmp_path / "run", NAMES[:3])
    with pytest.raises(ExportError, match="was not trained for edema, no_finding, pleural_effusion"):
        choose_members([folder])


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"intensity": "chexpert"}, "differ in intensity"),
        ({"label_policy": "u_ones"}, "differ in label_policy"),
        ({"split": {"sha256": "0" * 64}}, "divided patients differently"),
        ({"data": {"name": "another"}}, "divided patients differently"),
        ({"data": {"corrected": {"sha256": "0" * 64}}}, "were taught other labels"),
    ],
)
def test_runs_that_do_not_go_together(toy_runs, tmp_path, changes, why):
    other = copy_run(toy_runs[0], tmp_path / "run", **changes)
    with pytest.raises(ExportError, match=why):
        choose_members([toy_runs[0], other])


def test_runs_of_two_resolutions_share_the_film_of_the_higher(toy_runs, tmp_path):
    coarse = copy_run(toy_runs[0], tmp_path / "run", resolution=[32, 32], half="A", data={"cache_key": "coarse"})
    ensemble = choose_members([coarse, toy_runs[1]], "best")
    assert ensemble.resolution == (64, 64)
    assert ensemble.resolutions == [(32, 32), (64, 64)]
    assert ensemble.config["data"]["cache_key"] == load_run(toy_runs[1]).config["data"]["cache_key"]
    assert ensemble.config["architecture"] == load_run(coarse).config["architecture"]
    assert [member.description.get("half") for member in ensemble.members] == ["A", None]


def test_a_run_of_cropped_films_is_refused_because_a_model_file_stretches(toy_runs, tmp_path):
    preset = {**json.loads((toy_runs[0] / "config.json").read_text())["preset"], "placement": "crop"}
    cropped = copy_run(toy_runs[0], tmp_path / "run", preset=preset)
    for folders in ([cropped], [toy_runs[1], cropped]):
        with pytest.raises(ExportError, match=r"was trained on films .* cropped .* placement=stretch"):
            choose_members(folders)


@pytest.mark.parametrize(
    ("checkpoints", "why"),
    [
        ("4", r"4 checkpoints wanted, 3 are kept, of steps 10, 20, 30 \(one step alone is written 4,\)"),
        ("0", "expected all"),
        ("²", "expected all"),
        ("10,40,50", "no checkpoint of step 40, 50; kept are 10, 20, 30"),
        ("10,best", "expected steps as 560,840; kept are 10, 20, 30"),
        (",", "expected steps as 560,840"),
        ("10,10", "names a step twice"),
    ],
)
def test_checkpoints_that_are_not_there(toy_runs, checkpoints, why):
    with pytest.raises(ExportError, match=why):
        choose_members(toy_runs[:1], checkpoints)


def test_steps_name_checkpoints_of_one_run(toy_runs):
    with pytest.raises(ExportError, match="steps name checkpoints of one run, 2 were given"):
        choose_members(toy_runs, "10,20")
    soup = choose_members(toy_runs[:1], "30,10", "soup").members[0].description
    assert soup["checkpoint_steps"] == [10, 30]


def test_bad_folders(toy_runs, tmp_path):
    with pytest.raises(ExportError, match="at least one run"):
        choose_members([])
    with pytest.raises(ExportError, match="given twice"):
        choose_members([toy_runs[0], toy_runs[0].parent / "." / toy_runs[0].name])
    with pytest.raises(ExportError, match="unknown fusion"):
        choose_members(toy_runs, fuse="grouped")
    with pytest.raises(StudyError, match="no run"):
        choose_members([tmp_path])
    empty = copy_run(toy_runs[0], tmp_path / "run")
    (empty / "checkpoints" / "index.json").write_text("[]")
    with pytest.raises(ExportError, match="keeps no checkpoints"):
        choose_members([empty])


def test_weights_checksum_names_numbers_and_shapes(toy_runs):
    one, two, *_ = choose_members(toy_runs[:1]).networks
    assert weights_sha256(one) == weights_sha256(one) != weights_sha256(two)
