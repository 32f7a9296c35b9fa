from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sklearn.metrics import roc_auc_score  # noqa: E402

from xraytransfer.errors import StudyError  # noqa: E402
from xraytransfer.radiograph import read_radiograph  # noqa: E402
from xraytransfer.resize import resize  # noqa: E402
from xraytransfer.study.analysis.results_folder import read_results  # noqa: E402
from xraytransfer.study.data.run_data import load_data  # noqa: E402
from xraytransfer.study.training import predict as predict_module  # noqa: E402
from xraytransfer.study.training import step as step_module  # noqa: E402
from xraytransfer.study.training import train as train_module  # noqa: E402
from xraytransfer.study.training.checkpoints import read_index  # noqa: E402
from xraytransfer.study.training.interrupts import Interrupted  # noqa: E402
from xraytransfer.study.training.presets import PRESETS  # noqa: E402
from xraytransfer.study.training.run import run_one  # noqa: E402
from xraytransfer.study.training.run_folder import load_run  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

# 10 batches of 16 an epoch, 20 steps; an evaluation every 3 steps and at the end
CHANGES = {"resolution": 32, "evaluate_every": 48, "ema": 0.8, "dropout": 0.2, "rotation": 5.0, "soften": 0.5}


@pytest.fixture(scope="module")
def place(toy_run_placer: Callable[..., Path]) -> Callable[..., Path]:
    """Return a function that makes a run folder, all of them on one cache."""

    def make(**options: Any) -> Path:
        return toy_run_placer({**CHANGES, **options.pop("changes", {})}, **options)

    return make


@pytest.fixture(scope="module")
def whole(place: Callable[..., Path]) -> Path:
    """Return a run that nothing disturbed."""
    folder = place()
    run_one(folder)
    return folder


def outcome(folder: Path) -> dict[str, object]:
    """Return everything that must be equal bit for bit."""
    files = sorted(folder.glob("checkpoints/*")) + sorted(folder.glob("last/*")) + sorted(folder.glob("predictions/*"))
    with (folder / "metrics.csv").open(newline="") as file:
        metrics = [{k: v for k, v in row.items() if k != "images_per_second"} for row in csv.DictReader(file)]
    return {"metrics": metrics, **{str(path.relative_to(folder)): path.read_bytes() for path in files}}


def test_a_run_leaves_what_the_contract_says(whole: Path):
    config = json.loads((whole / "config.json").read_text())
    assert whole.name == "toy_efficientnet-random-t0-s0"
    six = ["atelectasis", "cardiomegaly", "consolidation", "edema", "no_finding", "pleural_effusion"]
    assert config["outputs"] == six
    run = load_run(whole)
    assert len(run.checkpoints) == 3
    assert [c.validation_auroc for c in run.checkpoints] == sorted(
        (c.validation_auroc for c in run.checkpoints), reverse=True
    )
    with (whole / "metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    steps = config["split"]["train"]["images"] // 16 * 2
    assert [int(row["step"]) for row in rows] == sorted({*range(3, steps, 3), steps})
    best = max(rows, key=lambda row: float(row["validation_auroc"]))
    assert run.checkpoints[0].step == int(best["step"])
    for split in ("validation", "test"):
        predictions = run.predictions(split)
        assert predictions.probability.shape == (config["split"][split]["images"], 3, 6)
        assert list(predictions.checkpoint_steps) == [c.step for c in run.checkpoints]
        assert run.done[f"{split}_auroc"]["edema"] == pytest.approx(
            roc_auc_score(predictions.label[:, 3], predictions.ensemble()[:, 3]), abs=1e-6
        )
    assert not set(run.predictions("validation").patient) & set(run.predictions("test").patient)
    assert not (whole / "predictions" / "parts").exists()


def test_a_checkpoint_predicts_again_what_was_stored(whole: Path):
    run = load_run(whole)
    data = load_data(run.config)
    for member, checkpoint in enumerate(run.checkpoints):
        probability = predict_module.predict_rows(
            run.load_network(checkpoint), data.pixels, data.rows["test"], torch.device("cpu"), lambda: None
        )
        # another memory layout, so other rounding
        np.testing.assert_allclose(probability, run.predictions("test").probability[:, member], atol=1e-6)
    mixed = run.load_soup()
    assert not mixed.training
    for split in ("validation", "test"):
        probability = predict_module.predict_rows(
            mixed, data.pixels, data.rows[split], torch.device("cpu"), lambda: None
        )
        stored = run.predictions(split)
        assert stored.soup is not None
        np.testing.assert_allclose(probability, stored.soup, atol=1e-6)
        assert np.abs(stored.soup - stored.ensemble()).max() > 1e-5, "the soup is another network than the ensemble"
        assert run.done[f"soup_{split}_auroc"]["edema"] == pytest.approx(
            roc_auc_score(stored.label[:, 3], stored.soup[:, 3]), abs=1e-6
        )


def test_it_learns(whole: Path):
    assert load_run(whole).done["best_validation_auroc"] > 0.55


def test_the_same_run_twice_is_the_same(whole: Path, place: Callable[..., Path]):
    folder = place()
    run_one(folder)
    assert outcome(folder) == outcome(whole)


@pytest.mark.parametrize("kills", [(1,), (4,), (2, 5, 7)], ids=str)
def test_killed_anywhere_it_ends_with_the_same_bits(
    whole: Path,
    place: Callable[..., Path],
    run_killed: Callable[..., None],
    kills: tuple[int, ...],
):
    folder = place()
    for kill in kills:
        run_killed(folder, step_module, "masked_loss", kill)
    run_one(folder)
    assert outcome(folder) == outcome(whole)


@pytest.mark.parametrize(
    ("module", "where"),
    [
        (train_module, "save_resume"),
        (train_module, "write_index"),
        (train_module, "save_array"),
        (predict_module, "save_array"),
        (predict_module, "soup"),
        (predict_module, "write_predictions"),
    ],
    ids=lambda value: value if isinstance(value, str) else value.__name__.rsplit(".", 1)[-1],
)
def test_killed_while_it_writes(
    whole: Path,
    place: Callable[..., Path],
    run_killed: Callable[..., None],
    module: ModuleType,
    where: str,
):
    folder = place()
    run_killed(folder, module, where, 2)
    run_one(folder)
    assert outcome(folder) == outcome(whole)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL")
def test_a_process_ended_by_sigkill_goes_on(whole: Path, place: Callable[..., Path]):
    folder = place()
    command = [sys.executable, "-m", "xraytransfer", "study", "train", str(folder), "--device", "cpu"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL) as process:
        while not (folder / "last" / "state.json").is_file() and process.poll() is None:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    run_one(folder)
    assert outcome(folder) == outcome(whole)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_asked_to_stop_it_saves_the_very_step(
    whole: Path, place: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, number: int
):
    folder = place()
    average = train_module.update_average

    def signalling(*arguments: Any) -> None:
        average(*arguments)
        if arguments[-1] == 5:
            os.kill(os.getpid(), number)

    monkeypatch.setattr(train_module, "update_average", signalling)
    with pytest.raises(Interrupted):
        run_one(folder)
    assert json.loads((folder / "last" / "state.json").read_text())["step"] == 5
    assert not (folder / "failed.json").exists()
    monkeypatch.setattr(train_module, "update_average", average)
    run_one(folder)
    assert outcome(folder) == outcome(whole)


@pytest.mark.parametrize("precision", ["float16", "bfloat16"])
def test_lower_precision_resumes_exactly_too(
    place: Callable[..., Path], run_killed: Callable[..., None], precision: str
):
    changes = {"precision": precision, "epochs": 1}
    whole, folder = place(changes=changes), place(changes=changes)
    run_one(whole)
    assert json.loads((whole / "done.json").read_text())["precision"] == precision
    run_killed(folder, step_module, "masked_loss", 5)
    run_one(folder)
    assert outcome(folder) == outcome(whole)


def test_a_run_that_went_on_in_another_precision_says_so(place: Callable[..., Path], run_killed: Callable[..., None]):
    folder = place(changes={"precision": "bfloat16", "epochs": 1})
    run_killed(folder, step_module, "masked_loss", 5)
    config = json.loads((folder / "config.json").read_text())
    config["preset"]["precision"] = "float32"
    (folder / "config.json").write_text(json.dumps(config))
    run_one(folder)
    assert json.loads((folder / "done.json").read_text())["precision"] == "bfloat16, float32"
    assert "the precision was bfloat16, and is float32 from here on" in (folder / "log.txt").read_text()


def test_trimming_begins_with_the_second_epoch_and_resumes_exactly(
    place: Callable[..., Path], run_killed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
):
    changes = {"trimming": 0.2}
    whole, folder = place(changes=changes), place(changes=changes)
    shares = []
    loss = step_module.masked_loss
    monkeypatch.setattr(step_module, "masked_loss", lambda *a: shares.append(a[3]) or loss(*a))
    run_one(whole)
    assert len(shares) >= 10
    assert shares == [0.0] * (len(shares) // 2) + [0.2] * (len(shares) // 2)
    monkeypatch.undo()
    torch.set_num_threads(1)
    run_killed(folder, step_module, "masked_loss", len(shares) // 2 + 3)
    run_one(folder)
    assert outcome(folder) == outcome(whole)


def test_other_settings_are_refused_with_the_difference(whole: Path, place: Callable[..., Path]):
    results = whole.parents[1]
    with pytest.raises(StudyError, match=r"preset\.epochs was 2, is 3; preset\.shift was 0\.05, is 0\.1"):
        place(results=results, changes={"epochs": 3, "shift": 0.1})
    assert place(results=results) == whole
    before = outcome(whole)
    run_one(whole)
    assert outcome(whole) == before, "a run that is done is left alone"


def test_test_patients_that_are_kept_are_left_alone(place: Callable[..., Path], whole: Path):
    folder = place(keep_test=True)
    assert json.loads((folder / "config.json").read_text())["test"] == "untouched"
    done = run_one(folder)
    assert sorted(path.name for path in (folder / "predictions").iterdir()) == ["validation.npz"]
    assert "test_auroc" not in done
    assert "soup_test_auroc" not in done
    # all else is as in a run that predicts them
    assert {key: done[key] for key in ("validation_auroc", "soup_validation_auroc", "steps")} == {
        key: load_run(whole).done[key] for key in ("validation_auroc", "soup_validation_auroc", "steps")
    }
    for name in ("checkpoints/index.json", "predictions/validation.npz"):
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    with pytest.raises(StudyError, match=r"no finished run to report on \(1 unfinished, failed or left out\)"):
        read_results(folder.parents[1])
    assert dict(left_out_runs(folder.parents[1], whole))[folder.name].startswith("kept the test patients untouched")
    with pytest.raises(StudyError, match="test was untouched, is None"):
        place(results=folder.parents[1])


def left_out_runs(results: Path, whole: Path) -> tuple[tuple[str, str], ...]:
    """Return what the report lists as left out, beside a run that it can read."""
    shutil.copytree(whole, results / "runs" / "another")
    return read_results(results).left_out


def test_a_run_from_before_a_setting_existed_goes_on(
    whole: Path, place: Callable[..., Path], run_killed: Callable[..., None]
):
    folder = place()
    config = json.loads((folder / "config.json").read_text())
    for name in ("equalise", "levels"):
        del config["preset"][name]
    (folder / "config.json").write_text(json.dumps(config))
    run_killed(folder, step_module, "masked_loss", 5)
    assert place(results=folder.parents[1]) == folder, "placing it again finds no difference"
    run_one(folder)
    assert outcome(folder) == outcome(whole)
    with pytest.raises(StudyError, match=r"preset\.equalise was 0\.0, is 0\.3"):
        place(results=folder.parents[1], changes={"equalise": 0.3})


def test_a_second_process_is_refused(place: Callable[..., Path]):
    folder = place()
    with train_module_lock(folder), pytest.raises(StudyError, match="another process works in this folder"):
        run_one(folder)


def train_module_lock(folder: Path) -> Any:
    from xraytransfer.folder_lock import FolderLock

    return FolderLock(folder)


def test_a_loss_that_is_not_finite_fails_with_its_reason(place: Callable[..., Path], monkeypatch: pytest.MonkeyPatch):
    folder = place()
    loss = step_module.masked_loss
    monkeypatch.setattr(step_module, "masked_loss", lambda *a: loss(*a) * float("inf"))
    with pytest.raises(StudyError, match="the loss is not finite at step 3"):
        run_one(folder)
    assert "not finite" in json.loads((folder / "failed.json").read_text())["reason"]
    assert not (folder / "done.json").exists()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (torch.OutOfMemoryError("CUDA out of memory"), "out of memory; a smaller batch"),
        (OSError(28, "No space left on device"), "the disk is full"),
        (RuntimeError("kernel image"), "kernel image"),
    ],
)
def test_other_failures_are_named(
    place: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, error: Exception, reason: str
):
    folder = place()

    def fail(*arguments: Any) -> Any:
        raise error

    monkeypatch.setattr(step_module, "masked_loss", fail)
    with pytest.raises(StudyError, match=reason):
        run_one(folder)
    assert reason in json.loads((folder / "failed.json").read_text())["reason"]
    monkeypatch.undo()
    torch.set_num_threads(1)
    run_one(folder)
    assert not (folder / "failed.json").exists()


def test_a_damaged_state_or_checkpoint_is_refused(whole: Path, tmp_path: Path):
    folder = tmp_path / "run"
    shutil.copytree(whole, folder)
    file = folder / "checkpoints" / read_index(folder / "checkpoints")[0].file
    file.write_bytes(file.read_bytes()[:-1])
    run = load_run(folder)
    with pytest.raises(StudyError, match="damaged, its checksum"):
        run.load_network(run.checkpoints[0])
    (folder / "done.json").unlink()
    with pytest.raises(StudyError, match="the run is not done"):
        load_run(folder)
    state = next((folder / "last").glob("*.safetensors"))
    state.write_bytes(state.read_bytes()[:-1])
    with pytest.raises(StudyError, match="cannot be resumed"):
        run_one(folder)


def test_data_that_changed_under_a_run_are_refused(place: Callable[..., Path], made_up_films: Path, tmp_path: Path):
    films = tmp_path / "films"
    shutil.copytree(made_up_films, films)
    folder = place(folder=films)
    table = (films / "Data_Entry.csv").read_text().splitlines()
    (films / "Data_Entry.csv").write_text("\n".join(table[:-10]) + "\n")
    with pytest.raises(StudyError):
        run_one(folder)


def test_no_positives_in_validation_is_reported(place: Callable[..., Path], made_up_films: Path, tmp_path: Path):
    films = tmp_path / "films"
    shutil.copytree(made_up_films, films)
    lines = (films / "Data_Entry.csv").read_text().splitlines()
    changed = [lines[0]] + [",".join([p[0], "Hernia", *p[2:]]) for p in (line.split(",") for line in lines[1:])]
    (films / "Data_Entry.csv").write_text("\n".join(changed) + "\n")
    with pytest.raises(StudyError, match="no observation has positives and negatives among the validation films"):
        run_one(place(folder=films))


def test_one_undefined_observation_is_null_and_not_zero(
    place: Callable[..., Path], made_up_films: Path, tmp_path: Path
):
    films = tmp_path / "films"
    shutil.copytree(made_up_films, films)
    text = (films / "Data_Entry.csv").read_text()
    (films / "Data_Entry.csv").write_text(text.replace("Edema|", "").replace("|Edema", "").replace("Edema", "Hernia"))
    folder = place(folder=films, changes={"epochs": 1, "evaluate_every": 1000})
    done = run_one(folder)
    assert done["test_auroc"]["edema"] is None
    assert done["test_auroc"]["macro"] > 0
    with (folder / "metrics.csv").open(newline="") as file:
        assert [row["auroc_edema"] for row in csv.DictReader(file)] == [""]


def test_the_papers_head_trains_all_and_evaluates_six(place: Callable[..., Path]):
    folder = place(head="paper", changes={"epochs": 1, "evaluate_every": 1000, "ema": 0.0}, truncations=(1,))
    done = run_one(folder)
    assert set(done["test_auroc"]) == {
        "macro", "atelectasis", "cardiomegaly", "consolidation", "edema", "no_finding", "pleural_effusion",
    }  # fmt: skip
    assert load_run(folder).predictions("test").probability.shape[-1] == 15


def test_the_loss_ignores_what_is_masked():
    logits = torch.tensor([[0.3, -2.0], [1.0, 5.0]], requires_grad=True)
    target = torch.tensor([[1.0, float("nan")], [0.0, float("nan")]])
    loss = step_module.masked_loss(logits, target, None)
    expected = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], target[:, 0])
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert (logits.grad[:, 1] == 0).all()
    assert step_module.masked_loss(logits, torch.full((2, 2), float("nan")), None) == 0


def test_the_learning_rate_warms_up_and_falls():
    modern = PRESETS["modern"]
    rates = [train_module.learning_rate(modern, step, 1000) for step in range(1000)]
    assert rates[0] < rates[25] < rates[49]
    assert max(rates) == pytest.approx(modern.learning_rate, rel=0.03)
    assert rates[50:] == sorted(rates[50:], reverse=True)
    assert rates[-1] < modern.learning_rate / 1000
    assert {train_module.learning_rate(PRESETS["paper"], step, 10) for step in range(10)} == {1e-4}


def test_precision_on_a_cpu():
    cpu = torch.device("cpu")
    assert step_module.resolve_precision(PRESETS["modern"], "EfficientNet", cpu) == torch.float32
    assert step_module.resolve_precision(PRESETS["tiny"], "ResNet", cpu) == torch.float32


def test_the_preset_paper_is_the_paper(toy_run_placer: Callable[..., Path], made_up_films: Path, tmp_path: Path):
    changes = {"resolution": 32, "epochs": 1, "evaluate_every": 128, "keep": 2}
    options = {"preset": "paper", "initialisations": ("random",), "split": "patient-hash"}
    folder = toy_run_placer(changes, results=tmp_path, **options)
    config = json.loads((folder / "config.json").read_text())
    assert (config["label_policy"], config["data"]["views"]) == ("u_ignore", "all")
    assert "infiltration" in config["outputs"]  # all that NIH labels
    assert (config["row"]["mean"], config["row"]["std"]) == ([0.502] * 3, [0.085585] * 3)
    run_one(folder)
    run = load_run(folder)
    data = load_data(config)
    assert float(run.empty_network().mean) == pytest.approx(255 * 0.502)
    # films of 96 x 80 pixels: the middle 32 of the 38 rows that 32 columns leave
    film = read_radiograph(data.table.path[3]).pixels
    np.testing.assert_array_equal(data.pixels[3], resize(film, (38, 32))[3:35])
    results = read_results(tmp_path)
    stored = run.predictions("test")
    assert len(results.test.image) == len(np.unique(stored.examination))
    one = results.test.examination[0]
    columns = [stored.observations.tolist().index(name) for name in results.observations]
    expected = stored.ensemble()[stored.examination == one][:, columns].max(axis=0)
    np.testing.assert_array_equal(results.test.ensemble[0], expected)


def test_options_go_before_the_preset(toy_run_placer: Callable[..., Path]):
    folder = toy_run_placer({"resolution": 32}, preset="paper", label_policy="u_ones", views="frontal", head="product")
    config = json.loads((folder / "config.json").read_text())
    assert (config["label_policy"], config["data"]["views"], len(config["outputs"])) == ("u_ones", "frontal", 6)


def test_a_run_that_starts_anew_predicts_anew(
    place: Callable[..., Path], whole: Path, run_killed: Callable[[Path, ModuleType, str, int], None]
):
    folder = place()
    run_killed(folder, predict_module, "write_predictions", 2)
    for part in (folder / "predictions" / "parts").glob("*"):  # such as another processor would have left
        np.save(part, np.full_like(np.load(part), 0.5))
    shutil.rmtree(folder / "last")  # as the message on a damaged state advises
    run_one(folder)
    assert outcome(folder) == outcome(whole)
