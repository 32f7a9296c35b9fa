"""The choice of members: greedy, within a budget, by patients that do not judge it."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from click.testing import CliRunner
from safetensors import safe_open

from xraytransfer.errors import ExportError
from xraytransfer.export import selection
from xraytransfer.export.candidates import finished_runs, read_candidates
from xraytransfer.export.card.card import markdown_card
from xraytransfer.export.cli import export
from xraytransfer.export.members import gather_members
from xraytransfer.export.options import ExportOptions
from xraytransfer.export.selection import choose_set, crossed_gain, select_members
from xraytransfer.export.selection_report import Candidate
from xraytransfer.model_file import describe
from xraytransfer.study.data.external_predictions import write_external
from xraytransfer.study.data.predictions import read_predictions, write_predictions
from xraytransfer.study.finished_runs.thinning import thin_run
from xraytransfer.study.stats.auroc import macro_auroc
from xraytransfer.study.training.run_folder import load_run


@pytest.fixture
def study(toy_runs, tmp_path):
    """Return a results folder with copies of the toy runs; the first has a soup."""
    for folder in toy_runs:
        shutil.copytree(folder, tmp_path / "study" / "runs" / folder.name)
    path = tmp_path / "study" / "runs" / toy_runs[0].name / "predictions" / "validation.npz"
    stored = read_predictions(path)
    write_predictions(path, replace(stored, soup=stored.ensemble()))
    return tmp_path / "study"


@pytest.fixture(scope="module")
def made(toy_runs):
    """Return validation films, and candidates that know the labels with independent noise: the first best."""
    films, runs = load_run(toy_runs[0]).predictions("validation"), [load_run(folder) for folder in toy_runs]
    rng = np.random.default_rng(3)
    label = (rng.random(films.label.shape) < 0.4).astype(np.float32)
    candidates = []
    for index, (noise, megabytes, milliseconds) in enumerate([(0.7, 30, 9.0), (0.8, 5, 1.0), (0.9, 10, 2.0)]):
        run = replace(runs[0], folder=runs[0].folder.with_name(f"run-{index}"))
        probability = (label + noise * rng.standard_normal(label.shape)).astype(np.float32)
        candidates.append(Candidate(run, "soup", probability, megabytes, milliseconds))
    return replace(films, label=label), candidates


def test_greedy_grows_by_what_helps_most(made):
    films, candidates = made
    chosen = choose_set(candidates, films.label, ExportOptions(best=3))
    values = [
        macro_auroc(films.label, np.mean([one.probability for one in chosen[: count + 1]], axis=0))
        for count in range(len(chosen))
    ]
    assert len(chosen) == 3
    assert values == sorted(values)
    assert chosen[0] is max(candidates, key=lambda one: macro_auroc(films.label, one.probability))


def test_greedy_stops_where_nothing_helps(made):
    films, candidates = made
    coin = replace(candidates[1], probability=np.random.default_rng(0).random(films.label.shape).astype(np.float32) * 9)
    assert choose_set([candidates[0], coin], films.label, ExportOptions(best=2)) == [candidates[0]]


@pytest.mark.parametrize(
    ("budget", "names"),
    [({"max_mb": 16.0}, {"run-1", "run-2"}), ({"max_mb": 9.0}, {"run-1"}), ({"max_ms": 10.0}, {"run-0", "run-1"})],
)
def test_the_budget_holds_for_the_sum(made, budget, names):
    films, candidates = made
    chosen = choose_set(candidates, films.label, ExportOptions(best=3, **budget))
    assert {one.run.name for one in chosen} == names


def test_a_run_gives_one_member(made):
    films, candidates = made
    twin = replace(candidates[0], kind="best checkpoint", probability=candidates[1].probability)
    assert len(choose_set([candidates[0], twin], films.label, ExportOptions(best=2))) == 1


def test_crossed_gain_is_positive_where_members_complement_each_other(made):
    films, candidates = made
    gain = crossed_gain(candidates, films, ExportOptions(best=3))
    assert gain is not None
    assert 0 < gain.lower < gain.value < gain.upper


def test_crossed_gain_of_one_member_is_none_at_all(made):
    films, candidates = made
    gain = crossed_gain(candidates, films, ExportOptions(best=1))
    assert gain is not None
    assert (gain.value, gain.lower, gain.upper) == (0, 0, 0)


def test_crossed_gain_is_not_invented_for_coins(made):
    """The set that is best of forty coins by chance gains nothing on the patients that did not choose it."""
    films, candidates = made
    rng = np.random.default_rng(1)
    coins = [
        replace(
            candidates[0],
            run=replace(candidates[0].run, folder=candidates[0].run.folder.with_name(f"coin-{index}")),
            probability=rng.random(films.label.shape).astype(np.float32),
        )
        for index in range(40)
    ]
    options = ExportOptions(best=5)
    chosen = choose_set(coins, films.label, options)
    apparent = macro_auroc(films.label, np.mean([one.probability for one in chosen], axis=0))
    gain = crossed_gain(coins, films, options)
    assert apparent > 0.55
    assert gain is not None
    assert gain.lower < 0 < gain.upper


def test_crossed_gain_is_absent_without_patients(made):
    films, candidates = made
    one_class = replace(films, label=np.zeros_like(films.label))
    assert crossed_gain(candidates, one_class, ExportOptions(best=2)) is None


def test_the_test_patients_take_no_part(study):
    before = select_members(finished_runs(study), ExportOptions(best=2))
    for path in study.glob("runs/*/predictions/test.npz"):
        path.unlink()
    assert select_members(finished_runs(study), ExportOptions(best=2)) == before


def test_candidates_are_best_checkpoints_and_soups(study, toy_runs):
    _, candidates, left_out = read_candidates(finished_runs(study), ExportOptions(best=1))
    first, second = (folder.name for folder in toy_runs)
    names = {f"{first}: best checkpoint", f"{first}: soup", f"{second}: best checkpoint"}
    assert {one.name for one in candidates} == names
    assert len(candidates) == 3
    assert left_out == []
    assert all(one.milliseconds is None and one.megabytes > 1 for one in candidates)


def test_milliseconds_are_measured_on_this_processor_and_named(study, monkeypatch):
    monkeypatch.setattr(selection, "processor_name", lambda: "Abacus 3")
    said = []
    _, document = select_members(finished_runs(study), ExportOptions(best=1, max_ms=1e6), said.append)
    assert document["processor"] == "Abacus 3"
    assert document["members"][0]["milliseconds"] > 0
    assert any("Abacus 3" in line for line in said)


def test_parts_of_a_soup_and_of_a_checkpoint_go_together(study):
    parts, _ = select_members(finished_runs(study), ExportOptions(best=2))
    assert len(gather_members(parts).members) == len(parts)


def test_unfinished_and_thinned_runs_are_named(study):
    first, second = sorted((study / "runs").iterdir())
    (first / "done.json").unlink()
    said = []
    select_members(finished_runs(study), ExportOptions(best=1), said.append)
    assert said[0].startswith(f"left out: {first.name}: the run is not done")
    assert not any(line.strip().startswith(f"{first.name}:") for line in said)
    (second / "done.json").unlink()
    with pytest.raises(ExportError, match="none of 2 runs is finished"):
        finished_runs(study)


def write_test(folder, name, *, good, **record):
    """Store an external test of a run in which the checkpoint of one index knows the labels of other films."""
    stored = load_run(folder).predictions("validation").subset(np.arange(40))
    probability = np.random.default_rng(0).random(stored.probability.shape).astype(np.float32)
    probability[:, good] = (probability[:, good] + 4 * stored.label) / 5
    write_external(folder, name, replace(stored, probability=probability, soup=None), {"kind": "external"} | record)


def test_other_films_choose_the_checkpoint_and_validation_is_printed_beside(study):
    first, second = sorted((study / "runs").iterdir())
    write_test(first, "readers", good=1)
    said = []
    parts, document = select_members(finished_runs(study), ExportOptions(best=1, chosen_by="readers"), said.append)
    step = load_run(first).checkpoints[1].step
    assert [(part.folder, part.checkpoints, part.fuse) for part in parts] == [(first.resolve(), f"{step},", "none")]
    assert document["data"] == "external test readers"
    assert document["members"][0]["auroc"] > 0.95
    stored = load_run(first).predictions("validation")
    assert (
        said[0] == f"left out: {second.name}: has no external test readers (found: none); run `xraytransfer study "
        "test` first"
    )
    validation = macro_auroc(stored.label, stored.probability[:, 1])
    assert any(line.endswith(f"{validation:12.4f}") for line in said)
    assert gather_members(parts).members[0].description["checkpoint_steps"] == [step]


def test_patients_of_the_test_do_not_choose(study):
    first, _ = sorted((study / "runs").iterdir())
    run = load_run(first)
    others, own = run.predictions("validation").subset(np.arange(40)), run.predictions("test").subset(np.arange(10))
    both = {name: np.concatenate([getattr(others, name), array]) for name, array in own._arrays_by_film().items()}
    record = {"kind": "external", "patients_compared": True}
    write_external(first, "readers", replace(others, **both), record)
    said = []
    _, document = select_members(finished_runs(study), ExportOptions(best=1, chosen_by="readers"), said.append)
    assert document["films"] == 40
    patients = len(set(own.patient))
    assert any(
        line.startswith(f"left out: readers: 10 films of {patients} patient")
        and line.endswith("who judges cannot choose")
        for line in said
    )
    write_external(first, "readers", own, record)
    with pytest.raises(ExportError, match="all films of readers show its own test patients"):
        select_members(finished_runs(study), ExportOptions(best=1, chosen_by="readers"))


def test_test_films_with_other_labels_do_not_choose(study):
    for folder in (study / "runs").iterdir():
        write_test(folder, "corrected", good=0, kind="relabelled", source="test")
    with pytest.raises(ExportError, match="what judges cannot choose"):
        select_members(finished_runs(study), ExportOptions(best=1, chosen_by="corrected"))


def test_strangers_with_other_labels_choose_as_their_first_test_would(study):
    first, _ = sorted((study / "runs").iterdir())
    write_test(first, "readers", good=0, patients_compared=True)
    write_test(first, "second-opinion", good=1, kind="relabelled", source="readers")
    options = ExportOptions(best=1, chosen_by="second-opinion")
    parts, document = select_members(finished_runs(study), options)
    assert document["data"] == "external test second-opinion"
    assert [part.checkpoints for part in parts] == [f"{load_run(first).checkpoints[1].step},"]
    write_test(first, "readers", good=0, kind="relabelled", source="second-opinion")
    with pytest.raises(ExportError, match="second-opinion, readers are made from each other"):
        select_members(finished_runs(study), options)


def test_a_copied_run_is_no_further_candidate(study):
    first, _ = sorted((study / "runs").iterdir())
    shutil.copytree(first, first.with_name("z-copy"))
    said = []
    _, document = select_members(finished_runs(study), ExportOptions(best=2), said.append)
    assert said[0] == f"left out: z-copy: has the checkpoints of {first.name}, and would count double"
    assert document["candidates"] == 3


def test_a_run_thinned_to_predictions_is_no_candidate(study):
    first, _ = sorted((study / "runs").iterdir())
    thin_run(first, "predictions")
    said = []
    select_members(finished_runs(study), ExportOptions(best=1), said.append)
    assert said[0] == f"left out: {first.name}: thinned to predictions: no weights are left to export; train it again"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"best": 3}, "--best 3: 2 runs can be members"),
        ({"best": 1, "max_mb": 0.5}, r"--max-mb 0.5: none of 3 candidates fits: the smallest, .* takes about 1\.\d MB"),
        ({"best": 1, "max_ms": 1e-6}, r"--max-ms 1e-06: none of 3 candidates fits: .* the fastest, .* ms on "),
    ],
)
def test_refusals(study, options, message):
    with pytest.raises(ExportError, match=message):
        select_members(finished_runs(study), ExportOptions(**options))


def test_a_folder_without_runs(tmp_path):
    with pytest.raises(ExportError, match="no run"):
        finished_runs(tmp_path)


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("intensity", "minmax", "differently windowed"),
        ("data", {"name": "another"}, "divided patients differently"),
    ],
)
def test_runs_of_two_kinds_are_refused(study, key, value, why):
    _, second = sorted((study / "runs").iterdir())
    config = json.loads((second / "config.json").read_text())
    config[key] = {**config[key], **value} if isinstance(value, dict) else value
    (second / "config.json").write_text(json.dumps(config))
    with pytest.raises(ExportError, match=f"{why}.*name the runs that belong together"):
        select_members(finished_runs(study), ExportOptions(best=1))


def test_other_labels_are_refused(study):
    path = sorted((study / "runs").iterdir())[1] / "predictions" / "validation.npz"
    stored = read_predictions(path)
    write_predictions(path, replace(stored, label=1 - stored.label))
    with pytest.raises(ExportError, match="other films or other labels"):
        select_members(finished_runs(study), ExportOptions(best=1))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--study", "{study}"], "needs --best K"),
        ([], "name run folders, or give --study"),
        (["--study", "{study}", "{study}", "--best", "1"], "not both"),
        (["--study", "{study}", "--best", "1", "--fuse", "soup"], "chooses checkpoints and soups itself"),
        (["{study}", "--max-mb", "3"], "give --best too"),
        (["{study}", "--chosen-by", "readers"], "which films --best K chooses by: give --best too"),
        (["--study", "{study}", "--best", "0"], "x>=1"),
    ],
)
def test_options_that_do_not_go_together(study, tmp_path, arguments, message):
    words = [word.format(study=study) for word in arguments]
    result = CliRunner().invoke(export, [*words, "-o", str(tmp_path / "model.onnx")])
    assert result.exit_code == 2
    assert message in result.output


@pytest.mark.usefixtures("remembered_traces")
def test_one_command_from_a_study_to_a_file_whose_card_says_how(study, tmp_path):
    out = tmp_path / "model.onnx"
    weights = tmp_path / "weights"
    words = ["--study", str(study), "--best", "2", "--max-mb", "30", "--device", "cpu", "-o", str(out)]
    words += ["--weights-out", str(weights)]
    result = CliRunner().invoke(export, words, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    assert "Gain of a chosen set over the best candidate" in result.output
    document = describe(out).document
    chosen = document["selection"]["members"]
    assert [row["run"] for row in chosen] == [row["run"] for row in document["members"]]
    assert out.stat().st_size < sum(row["megabytes"] for row in chosen) * 1e6
    for index, row in enumerate(document["members"]):
        with safe_open(weights / f"member{index}.safetensors", "pt") as file:
            assert json.loads(file.metadata()["member"])["sha256"] == row["sha256"]
            assert "head.weight" in file.keys()  # noqa: SIM118 - no mapping
    card = markdown_card(document)
    assert "## How the members were chosen" in card
    assert "within 30 MB" in card
