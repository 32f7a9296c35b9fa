"""The scripts behind the shipped model: on made-up films, those that compare write the tables they promise."""

from __future__ import annotations

import csv
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sklearn.metrics import roc_auc_score  # noqa: E402

from xraytransfer.study.data.external_predictions import read_external  # noqa: E402
from xraytransfer.study.data.predictions import Predictions  # noqa: E402
from xraytransfer.study.runs.grid import Grid  # noqa: E402
from xraytransfer.study.training.run import run_one  # noqa: E402
from xraytransfer.study.training.run_folder import load_run  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

SCRIPTS = Path(__file__).parents[2] / "scripts"
TINY = {"epochs": 1, "evaluate_every": 48}


def script(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return a script as a module."""
    loader = SourceFileLoader(name, str(SCRIPTS / name))
    spec = spec_from_loader(name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)  # dataclasses look their module up
    loader.exec_module(module)
    return module


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def public(made_up_films: Path, tmp_path: Path) -> Path:
    """Return a folder with nih-sample and nih-expert, of made-up films: strangers that may choose, and normals."""
    shutil.copytree(made_up_films, tmp_path / "public" / "nih-sample")
    expert = tmp_path / "public" / "nih-expert"
    (expert / "images").mkdir(parents=True)
    rng = np.random.default_rng(0)
    columns = ("Atelectasis", "Cardiomegaly", "Consolidation", "Edema", "No Finding", "Pleural Effusion")
    head = ("Image Index", "Patient ID", "View Position", "Patient Sex", "Patient Age", "Patient In nih-sample", "Use")
    table = [",".join([*head, *columns])]
    for index in range(60):
        image, label = f"{90_000 + index:08d}_000.png", rng.integers(0, 2, 6)
        shutil.copy(made_up_films / "images" / f"{index // 2:08d}_{index % 2:03d}.png", expert / "images" / image)
        table.append(f"{image},{90_000 + index},PA,F,50,0,{('choose', 'judge')[index % 2]},{','.join(map(str, label))}")
    (expert / "Expert_Labels.csv").write_text("\n".join(table) + "\n")
    normal = [f"{index // 2:08d}_{index % 2:03d}.png,1" for index in range(0, 300, 7)]
    (expert / "extra_labels.csv").write_text("\n".join(["Image Index,RSNA Normal", *normal]) + "\n")
    return tmp_path / "public"


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Return the script of trials with miniatures in the place of its trials."""
    module = script("model_trials", monkeypatch)
    toy = {"architecture": "toy_efficientnet", "truncation": 0, "resolution": 32}
    monkeypatch.setattr(module, "BASE", TINY)
    names = (
        module.Trial("reference", "as it is", **toy),
        module.Trial("half-A", "one half", half="A", **toy),
        module.Trial("half-B", "the other, labels as NIH gives them", half="B", corrected=False, **toy),
        module.Trial("crossed", "taught", teachers=module.HALVES, **toy),
    )
    monkeypatch.setattr(module, "TRIALS", names)
    # the made-up films are 96 pixels high: none may be left out of validation
    monkeypatch.setattr(
        module, "run_all", lambda folders, *_: not all(run_one(folder, threads=1) for folder in folders)
    )
    changed = {"evaluation_minimum_width": 0, "weights": None, "initialisations": ("random",), "preset": "tiny"}
    monkeypatch.setattr(module, "Grid", lambda **options: Grid(**{**options, **changed}))
    return module


def macro(films: Predictions) -> float:
    return float(np.mean([roc_auc_score(films.label[:, k], films.ensemble()[:, k]) for k in range(6)]))


def test_trials_are_judged_by_radiologists_by_nih_and_by_corrected_labels(
    trials: ModuleType, public: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = [str(public), str(tmp_path), str(tmp_path / "results"), "--table", str(tmp_path / "table")]
    monkeypatch.setattr(sys, "argv", ["model_trials", *arguments, "--device", "cpu", "--slots", "1"])
    trials.main()
    table = {row["trial"]: row for row in rows(tmp_path / "table" / "trials.csv")}
    assert list(table) == ["reference", "half-A", "half-B", "crossed"]
    assert table["reference"]["against"] == ""
    assert table["crossed"]["against"] == "reference"
    for name, row in table.items():
        folder = trials.run_folder(name, tmp_path / "results")
        assert not (folder / "predictions" / "test.npz").exists(), "test patients stay untouched"
        films = read_external(folder, trials.CHOOSE).predictions
        assert (len(films.image), row["films"]) == (30, "30"), "films that judge are not looked at"
        assert float(row["radiologists"]) == pytest.approx(macro(films), abs=1e-4)
        assert float(row["radiologists_lower"]) <= float(row["radiologists"]) <= float(row["radiologists_upper"])
        stored = load_run(folder).predictions("validation")
        learned = row["nih"] if name == "half-B" else row["corrected"]
        assert float(learned) == pytest.approx(macro(stored), abs=1e-4)
        assert row["nih"] != row["corrected"]
    gap = float(table["crossed"]["radiologists"]) - float(table["reference"]["radiologists"])
    assert float(table["crossed"]["difference"]) == pytest.approx(gap, abs=2e-4)
    assert "| crossed | taught |" in (tmp_path / "table" / "trials.md").read_text()
    with pytest.raises(SystemExit, match="the trial nobody is not done"):
        trials.run_folder("nobody", tmp_path / "results")

    module = script("model_sensitivity", monkeypatch)
    folder = trials.run_folder("reference", tmp_path / "results")
    arguments = [str(public / "nih-expert"), str(folder), "--table", str(tmp_path / "table")]
    monkeypatch.setattr(sys, "argv", ["model_sensitivity", *arguments])
    module.main()
    (row,) = rows(tmp_path / "table" / "sensitivity.csv")
    assert row["run"] == f"reference/{folder.name}"
    assert 0 < float(row["one-lower"]) < float(row["turned-2"]) < 1


def test_verdicts_are_what_the_interval_allows(trials: ModuleType) -> None:
    assert [trials.verdict(*gap) for gap in ((0.01, 0.02), (-0.02, -0.01), (-0.01, 0.01))] == [
        "better", "worse", "within noise",
    ]  # fmt: skip


STUB = """#!/usr/bin/env bash
echo "$*" >> "$LOG"
for word in $FAIL; do [[ " $* " == *" $word "* ]] && exit 1; done
if [[ "$1 $2" == "study run" ]]; then
  while [[ $1 != --results ]]; do shift; done
  mkdir -p "$2/runs/a-run"
fi
exit 0
"""


@pytest.fixture
def made(tmp_path: Path) -> Callable[..., tuple[int, str, list[str]]]:
    """Return a function that runs make_default_model with a stand-in for xraytransfer: exit code, stderr, its calls."""
    stub = tmp_path / "bin" / "xraytransfer"
    stub.parent.mkdir()
    stub.write_text(STUB)
    stub.chmod(0o755)
    for name in ("films/nih-sample", "films/nih-expert", "weights", "others"):
        (tmp_path / name).mkdir(parents=True)

    def run(out: str, fail: str = "", rehearsal: str = "") -> tuple[int, str, list[str]]:
        log = tmp_path / "log"
        log.write_text("")
        environment = {"PATH": f"{stub.parent}:/usr/bin:/bin", "LOG": str(log), "FAIL": fail}
        environment |= {"REHEARSAL": rehearsal}
        command = [str(SCRIPTS / "make_default_model"), "films", "weights", "others", "results", *filter(None, [out])]
        done = subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
        )
        return done.returncode, done.stderr, log.read_text().splitlines()

    return run


needs_bash = pytest.mark.skipif(sys.platform == "win32", reason="a bash script")


@needs_bash
def test_the_model_is_made_of_what_was_trained_in_the_callers_folder(
    made: Callable[..., tuple[int, str, list[str]]], tmp_path: Path
) -> None:
    code, errors, calls = made("model.onnx")
    assert (code, errors) == (0, "")
    runs = [call for call in calls if call.startswith("study run ")]
    assert all("--keep-test" in call and "--correct docs/study-nih-sample/rsna-normal.json" in call for call in runs)
    seeds = [word for call in runs for word, before in zip(call.split()[1:], call.split(), strict=False)
             if before == "--seed"]  # fmt: skip
    assert len(set(seeds)) == len(seeds), "two runs of one name"
    large, small = calls[-2:]
    for side in ("64", "96", "128"):
        folder = tmp_path / "results" / side
        assert any(
            call.startswith("study run ") and f"--results {folder} --resolution {side}" in call for call in calls
        )
        tests = [call for call in calls if call.startswith(f"study test {folder} ")]
        assert tests
        assert all("--rows Use=choose --name radiologists-choose" in call for call in tests)
        assert f"{folder}/runs/a-run/" in large
    for call, path in ((large, "model.onnx"), (small, "model-small.onnx")):
        assert call.startswith("export ")
        assert "--chosen-by radiologists-choose" in call
        assert call.endswith(f"-o {tmp_path / path}")
    assert not any("judge" in word for call in calls[:-3] for word in call.split()), "films that judge"


@needs_bash
@pytest.mark.parametrize("fail", ["tf_efficientnet_lite0", "quality-gate", "Use=choose"])
def test_where_a_step_fails_nothing_is_exported(made: Callable[..., tuple[int, str, list[str]]], fail: str) -> None:
    code, _, calls = made("model.onnx", fail=fail)
    assert code == 1
    assert fail in calls[-1]
    assert not any(call.startswith("export") for call in calls)


@needs_bash
@pytest.mark.parametrize("out", ["model.txt", "absent/model.onnx"])
def test_a_place_where_the_model_cannot_be_written_is_refused_at_once(
    made: Callable[..., tuple[int, str, list[str]]], out: str
) -> None:
    code, errors, calls = made(out)
    assert (code, calls) == (2, [])
    assert "must end in .onnx, in a folder that exists" in errors


@needs_bash
def test_a_rehearsal_is_forced_and_short_and_never_replaces_the_files_of_the_package(
    made: Callable[..., tuple[int, str, list[str]]],
) -> None:
    code, errors, calls = made("", rehearsal="1")
    assert (code, calls) == (2, [])
    assert "REHEARSAL: name OUT" in errors
    _, _, rehearsed = made("model.onnx", rehearsal="1")
    _, _, real = made("model.onnx")
    assert any("--steps 10 " in call for call in rehearsed)
    assert all("--force" in call for call in rehearsed[-2:])
    assert any("--steps 1600 " in call for call in real)
    assert not any("--force" in call for call in real)
