from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("torch")

import click
from click.testing import CliRunner

from xraytransfer.errors import StudyError
from xraytransfer.study.cli import study
from xraytransfer.study.data.split import FRACTIONS, SALT
from xraytransfer.study.runs.grid import Grid
from xraytransfer.study.runs.grid_help import EXAMPLES, HEADINGS
from xraytransfer.study.runs.grid_runs import check_networks, grid_runs, place_runs
from xraytransfer.study.runs.plan import make_plan
from xraytransfer.study.training.interrupts import EXIT_REQUEUE
from xraytransfer.study.training.run import run_one
from xraytransfer.study.training.run_folder import differences, list_runs


@pytest.fixture
def grid(tmp_path: Path, made_up_films: Path) -> Grid:
    for name in ("toy_resnet", "toy_efficientnet"):
        (tmp_path / f"{name}.safetensors").touch()
    return Grid(
        results=tmp_path / "results",
        data="nih",
        folder=made_up_films,
        architectures=("toy_resnet", "toy_efficientnet", "toy_resnet"),
        initialisations=("pretrained", "random"),
        truncations=(0, 2),
        seeds=(0, 1),
        preset="tiny",
        resolution=32,
        weights=tmp_path,
    )


def test_a_grid_is_the_product_seed_by_seed(grid: Grid):
    names = [run.name for run in grid_runs(grid)]
    assert len(names) == len(set(names)) == 16
    assert names[0] == "toy_resnet-pretrained-t0-s0"
    assert all(name.endswith("s0") for name in names[:8])
    assert len(grid_runs(replace(grid, architectures=("study",), truncations=(0,), seeds=(0,)))) == 32
    with pytest.raises(StudyError, match="no architecture is called 'vgg'"):
        grid_runs(replace(grid, architectures=("vgg",)))


def test_the_split_of_a_grid_is_the_usual_one():
    assert (Grid.fractions, Grid.salt) == (FRACTIONS, SALT)


def test_a_users_rows_join(grid: Grid, tmp_path: Path):
    file = tmp_path / "mine.csv"
    file.write_text("name,timm,family,body\nmine,test_resnet.r160_in1k,Mine,resnet\n")
    mine = replace(grid, architectures=("mine",), architecture_file=file, initialisations=("random",), seeds=(0,))
    folders = place_runs(mine)
    assert [folder.name for folder in folders] == ["mine-random-t0-s0", "mine-random-t2-s0"]
    assert json.loads((folders[0] / "config.json").read_text())["row"]["family"] == "Mine"


def test_placing_writes_each_configuration_once(grid: Grid):
    folders = place_runs(grid)
    assert list_runs(grid.results) == sorted(folders)
    config = json.loads((folders[0] / "config.json").read_text())
    assert config["resolution"] == [32, 32]
    assert config["weights"]["path"] == str(grid.weights)
    assert config["split"]["train"]["images"] > 100
    before = [(folder / "config.json").read_bytes() for folder in folders]
    place_runs(replace(grid, weights=None))
    assert [(folder / "config.json").read_bytes() for folder in folders] == before
    with pytest.raises(StudyError, match=r"label_policy was u_zeros, is u_ones"):
        place_runs(replace(grid, label_policy="u_ones"))
    with pytest.raises(StudyError, match=r"split\.salt was xraytransfer, is pepper"):
        place_runs(replace(grid, salt="pepper"))
    with pytest.raises(StudyError, match="names none of"):
        place_runs(replace(grid, label_policy="u_maybe", results=grid.results / "other", cache=grid.cache_root()))


def test_a_run_keeps_the_weights_that_it_was_planned_with(grid: Grid, tmp_path: Path):
    one = replace(grid, seeds=(0,), truncations=(0,), architectures=("toy_resnet",), initialisations=("pretrained",))
    (folder,) = place_runs(one)
    planned = json.loads((folder / "config.json").read_text())["weights"]
    file = grid.weights / "toy_resnet.safetensors"
    assert planned == {"path": str(grid.weights), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}

    other = tmp_path / "other"
    other.mkdir()
    (other / file.name).write_bytes(b"other weights")
    with pytest.raises(StudyError, match=r"weights\.sha256 was [0-9a-f]+, is [0-9a-f]+"):
        place_runs(replace(one, weights=other))
    file.write_bytes(b"other weights")
    with pytest.raises(StudyError, match=r"other weights than the run was planned with .* put the planned file back"):
        run_one(folder, device="cpu")


def test_the_weights_of_one_architecture_may_be_named_as_a_file(grid: Grid):
    one = replace(grid, seeds=(0,), truncations=(0,), architectures=("toy_resnet",), initialisations=("pretrained",))
    file = grid.weights / "toy_resnet.safetensors"
    (folder,) = place_runs(replace(one, weights=file))
    planned = json.loads((folder / "config.json").read_text())["weights"]
    assert planned == {"path": str(file), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
    file.write_bytes(b"other weights")
    with pytest.raises(StudyError, match="other weights than the run was planned with"):
        run_one(folder, device="cpu")


def test_a_plan_of_an_older_version_knows_no_checksum(grid: Grid):
    one = replace(grid, seeds=(0,), truncations=(0,), architectures=("toy_resnet",), initialisations=("pretrained",))
    (folder,) = place_runs(one)
    config = json.loads((folder / "config.json").read_text())
    del config["weights"]["sha256"]
    (folder / "config.json").write_text(json.dumps(config))
    place_runs(one)
    assert "sha256" not in json.loads((folder / "config.json").read_text())["weights"]


def test_runs_that_are_not_done_are_told_where_things_are_now(grid: Grid):
    first, second = place_runs(replace(grid, seeds=(0, 1), truncations=(0,), architectures=("toy_resnet",)))[:2]
    (first / "done.json").write_text("{}")
    before = [json.loads((folder / "config.json").read_text()) for folder in (first, second)]
    elsewhere = grid.results / "elsewhere"
    place_runs(replace(grid, seeds=(0, 1), truncations=(0,), architectures=("toy_resnet",), cache=elsewhere))
    after = [json.loads((folder / "config.json").read_text()) for folder in (first, second)]
    assert after[0] == before[0]
    assert after[1]["data"].pop("cache") == str(elsewhere)
    del before[1]["data"]["cache"]
    assert after[1] == before[1]


def test_differences_reach_into_parts():
    old = {"row": {"note": "x", "timm": "y"}, "a": 1, "data": {"folder": "x", "images": 3}, "writer": "1", "gone": 2}
    new = {"row": {"note": "z", "timm": "y"}, "a": 1, "data": {"folder": "y", "images": 4}, "writer": "2", "come": 5}
    assert differences(old, new) == ["data.images was 3, is 4", "gone was 2, is None", "come was None, is 5"]


def test_a_plan_reckons_disk_and_time_without_starting(grid: Grid):
    plan = make_plan(grid, device="cpu", slots=2, threads=1, seconds=0.01)
    assert len(plan.runs) == 16
    assert not grid.results.exists()
    whole, cut = plan.runs[0], next(run for run in plan.runs if "t2" in run.name)
    assert whole.parameters > cut.parameters
    assert whole.disk > 4 * whole.parameters
    assert whole.seconds is not None
    assert whole.seconds > 0
    assert sum(plan.films.values()) == 300
    assert plan.cache == 300 * (32 * 32 + 5)
    text = plan.table()
    assert f"16 runs; films (patients): train {plan.films['train']} ({plan.patients['train']})" in text
    assert all(0 < plan.patients[name] < plan.films[name] for name in plan.films)
    assert "with 2 runs at a time" in text
    assert make_plan(grid, device="cpu", slots=1, threads=1, seconds=0).runs[0].seconds is None


def arguments(films: Path, results: Path, *more: str) -> list[str]:
    common = [
        "--data",
        "nih",
        "--folder",
        str(films),
        "--results",
        str(results),
        "--preset",
        "tiny",
        "--resolution",
        "32",
    ]
    return [*common, "--architecture", "toy_efficientnet", "--initialisation", "random", *more]


def test_the_plan_names_observations_without_labels(tmp_path: Path) -> None:
    lines = ["file,who,edema,effusion", *(f"{n}.png,{n},{n % 2},{n % 3 // 2}" for n in range(60))]
    (tmp_path / "films.csv").write_text("\n".join(lines) + "\n")
    plan = {"name": "mine", "table": "films.csv", "image": "file", "patient": "who"}
    (tmp_path / "mapping.json").write_text(json.dumps({**plan, "labels": {"edema": "edema", "effusion": "effusion"}}))
    asked = [*arguments(tmp_path, tmp_path / "results"), "--data", "csv", "--mapping", str(tmp_path / "mapping.json")]
    answer = CliRunner().invoke(study, ["plan", *asked, "--device", "cpu", "--probe", "0"], catch_exceptions=False)
    assert (
        "mine has no labels for atelectasis, cardiomegaly, consolidation, no_finding, pleural_effusion" in answer.output
    )
    assert "other labels are effusion" in answer.output


def test_the_commands_plan_cache_and_status(tmp_path: Path, made_up_films: Path):
    runner, results = CliRunner(), tmp_path / "results"
    asked = arguments(made_up_films, results, "--seed", "0", "--seed", "1")
    answer = runner.invoke(
        study, ["plan", *asked, "--device", "cpu", "--slots", "2", "--probe", "0"], catch_exceptions=False
    )
    assert answer.exit_code == 0
    assert "2 runs; films (patients): train " in answer.output
    assert "has no labels" not in answer.output
    answer = runner.invoke(study, ["cache", *asked, "--workers", "1"], catch_exceptions=False)
    assert "300 of 300 films in the cache" in answer.output
    with pytest.raises(StudyError, match="holds no run"):
        runner.invoke(study, ["status", "--results", str(results)], catch_exceptions=False)
    assert json.loads(runner.invoke(study, ["status", "--results", str(results), "--json"]).output) == []


@pytest.mark.slow
def test_the_command_run_trains_in_processes_of_its_own(tmp_path: Path, made_up_films: Path):
    results = tmp_path / "results"
    changes = ["--set", "epochs=1", "--set", "evaluate_every=1000", "--device", "cpu", "--workers", "1"]
    asked = arguments(made_up_films, results, *changes, "--architecture", "resnet18", "--truncation", "4")
    answer = CliRunner().invoke(study, ["run", *asked, "--slots", "2"], catch_exceptions=False)
    assert answer.exit_code == 0, answer.output
    assert "2 runs, 0 done; 2 at a time" in answer.output
    status = CliRunner().invoke(study, ["status", "--results", str(results)], catch_exceptions=False)
    assert "2 done, 0 running, 0 failed of 2 runs" in status.output
    assert answer.output.count("done, validation AUROC") == 2


@pytest.mark.parametrize(
    ("wrong", "match"),
    [
        (["--architecture", "nope"], "no architecture is called 'nope'"),
        (["--set", "epochs=five"], "'five' is no int"),
        (["--preset", "nope"], "preset 'nope' is none of"),
        (["--fractions", "0.5", "0.5", "0.5"], "three numbers that sum to 1"),
        (["--label-policy", "u_twos"], "names none of u_zeros"),
        (["--teacher-share", "0.5"], "without teachers"),
    ],
)
def test_options_that_mean_nothing_are_wrong_usage(tmp_path: Path, made_up_films: Path, wrong: list[str], match: str):
    for command in ("plan", "cache", "run"):
        answer = CliRunner().invoke(study, [command, *arguments(made_up_films, tmp_path / "results", *wrong)])
        assert (answer.exit_code, match in answer.output) == (2, True), answer.output
    assert not (tmp_path / "results").exists()


@pytest.mark.parametrize("command", ["plan", "cache", "run", "train", "status", "quality-gate"])
def test_every_option_has_help(command: str):
    options = [p for p in study.commands[command].params if isinstance(p, click.Option)]
    assert options
    assert all(option.help for option in options)


@pytest.mark.parametrize("command", ["plan", "cache", "prepare", "run"])
def test_help_puts_every_option_under_a_heading_and_ends_with_a_call_that_can_be_parsed(command: str):
    answer = CliRunner().invoke(study, [command, "--help"])
    headings = [line for line in answer.output.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == [
        *(f"{one}:" for one in HEADINGS if one != "Machine" or command in ("plan", "run")),
        "Options:",
        "Example:",
    ]
    for option in study.commands[command].params:
        assert option.opts[0] in answer.output
    words = EXAMPLES[command].split()
    assert words[:3] == ["xraytransfer", "study", command]
    with pytest.raises(click.BadParameter, match=r"CheXpert-v1\.0-small"):  # all is right but the folder
        study.commands[command].make_context(command, words[3:])


@pytest.mark.parametrize("command", ["plan", "prepare", "run"])
def test_a_wrong_folder_is_reported_before_weights_are_looked_for(command: str, tmp_path: Path, monkeypatch):
    monkeypatch.setattr("xraytransfer.study.runs.plan.check_networks", pytest.fail)
    monkeypatch.setattr("xraytransfer.study.runs.grid_runs.check_networks", pytest.fail)
    options = ["--folder", str(tmp_path), "--results", str(tmp_path / "r"), "--architecture", "resnet18"]
    answer = CliRunner().invoke(study, [command, "--data", "chexpert", *options])
    assert isinstance(answer.exception, StudyError)
    assert "no train.csv" in str(answer.exception)
    answer = CliRunner().invoke(study, [command, "--data", "csv", *options])
    assert (answer.exit_code, "--data csv needs the mapping file" in answer.output) == (2, True)


def test_a_folder_without_a_run_is_not_trained(tmp_path: Path):
    answer = CliRunner().invoke(study, ["train", str(tmp_path)])
    assert "no run (no config.json)" in str(answer.exception)
    assert not list(tmp_path.iterdir())


def test_a_row_whose_body_does_not_fit_is_refused_before_the_films_are_read(grid: Grid, tmp_path: Path):
    file = tmp_path / "mine.csv"
    rows = [
        "odd,convnext_atto.d2_in1k,ConvNeXt,resnet",
        "good,test_resnet.r160_in1k,Mine,resnet",
        "worse,x,Y,transformer",
    ]
    file.write_text("\n".join(["name,timm,family,body", *rows, "unknown,no_such_model,Mine,resnet"]) + "\n")
    mine = replace(grid, architecture_file=file, initialisations=("random",), seeds=(0,), truncations=(0,))
    for name, message in (
        ("odd", "architecture odd: timm's model has no part 'conv1', so body 'resnet' does not fit it; it has stem, "),
        ("worse", "body 'transformer' is none of"),
        ("unknown", "unknown: timm has no model 'no_such_model'"),
    ):
        with pytest.raises(StudyError, match=message):
            place_runs(replace(mine, architectures=(name,)))
    assert not grid.results.exists()
    assert [folder.name for folder in place_runs(replace(mine, architectures=("good",)))] == ["good-random-t0-s0"]


def test_absent_weights_are_noticed_before_the_films_are_read(grid: Grid, tmp_path: Path):
    (tmp_path / "toy_resnet.safetensors").unlink()
    with pytest.raises(StudyError, match="no weights for toy_resnet"):
        place_runs(grid)
    assert not grid.results.exists()


def test_weights_that_the_hub_lacks_are_noticed_too(grid: Grid, tmp_path: Path):
    rows = tmp_path / "rows.csv"
    rows.write_text("name,timm,family,body\nmine,test_resnet.no_such_tag,Mine,resnet\n")
    hub = replace(grid, weights=None, architecture_file=rows, architectures=("mine",))
    for look in (place_runs, lambda one: make_plan(one, device="cpu", slots=1, threads=1, seconds=0)):
        with pytest.raises(StudyError, match="hub has no weights for mine"):
            look(hub)
    assert not grid.results.exists()
    for run in grid_runs(hub):  # a run that is done needs no weights
        folder = grid.results / "runs" / run.name
        folder.mkdir(parents=True)
        (folder / "done.json").write_text("{}")
    check_networks(hub)


def test_prepare_prints_run_folders_and_trains_nothing(tmp_path: Path, made_up_films: Path):
    results = tmp_path / "results"
    asked = arguments(made_up_films, results, "--seed", "0", "--seed", "1", "--workers", "1")
    answer = CliRunner().invoke(study, ["prepare", *asked], catch_exceptions=False)
    assert [Path(line) for line in answer.stdout.splitlines()] == [
        results / "runs" / f"toy_efficientnet-random-t0-s{seed}" for seed in (0, 1)
    ]
    assert [sorted(path.name for path in folder.iterdir()) for folder in list_runs(results)] == [["config.json"]] * 2


def test_a_cache_needs_no_architecture(tmp_path: Path, made_up_films: Path):
    asked = ["--data", "nih", "--folder", str(made_up_films), "--results", str(tmp_path), "--resolution", "32"]
    answer = CliRunner().invoke(study, ["cache", *asked, "--workers", "1"], catch_exceptions=False)
    assert answer.exit_code == 0
    assert CliRunner().invoke(study, ["run", *asked]).exit_code == 2


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="Windows has no SIGUSR1")
def test_a_preempted_run_saves_and_asks_to_be_started_again(toy_run_placer: Callable[..., Path]):
    folder = toy_run_placer({"epochs": 500, "evaluate_every": 320})
    command = [sys.executable, "-m", "xraytransfer", "study", "train", str(folder), "--device", "cpu"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert any("validation AUROC" in line for line in process.stdout)  # it has begun, and goes on
        process.send_signal(signal.SIGUSR1)
        said, error = process.communicate()
    assert process.returncode == EXIT_REQUEUE, error
    assert "stopped at step" in said
    assert (folder / "last" / "state.json").is_file()
    assert not (folder / "failed.json").exists()
