"""Distillation: runs that learn from finished runs."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from xraytransfer.errors import StudyError  # noqa: E402
from xraytransfer.study.data.run_data import RunData, load_data  # noqa: E402
from xraytransfer.study.training import predict as predict_module  # noqa: E402
from xraytransfer.study.training import train as train_module  # noqa: E402
from xraytransfer.study.training.distillation import TEACHER_FOLDER, teacher_probability  # noqa: E402
from xraytransfer.study.training.interrupts import Interrupted  # noqa: E402
from xraytransfer.study.training.run import run_one  # noqa: E402
from xraytransfer.study.training.run_folder import load_run  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def place(toy_run_placer: Callable[..., Path]) -> Callable[..., Path]:
    """Return a function that makes a run folder, all of them on one cache."""

    def make(**options: Any) -> Path:
        return toy_run_placer({**{"resolution": 32, "evaluate_every": 48}, **options.pop("changes", {})}, **options)

    return make


@pytest.fixture(scope="module")
def teacher(place: Callable[..., Path]) -> Path:
    """Return a finished run of another resolution than its pupils."""
    folder = place(changes={"resolution": 48})
    run_one(folder)
    return folder


def ask(folder: Path, config: dict[str, Any], data: RunData, log: list[str]) -> np.ndarray:
    return teacher_probability(folder, config, data, device=torch.device("cpu"), stop=lambda: None, log=log.append)


def test_what_teachers_say_is_the_mean_of_their_soups_on_the_training_films(
    place: Callable[..., Path], teacher: Path
) -> None:
    second = place(changes={"resolution": 32}, seeds=(1,))
    run_one(second)
    pupil = place(teachers=(teacher, second), teacher_share=0.7)
    config = json.loads((pupil / "config.json").read_text())
    data = load_data(config)
    asked: list[str] = []
    probability = ask(pupil, config, data, asked)
    expected = []
    for run in (load_run(teacher), load_run(second)):
        own = load_data(run.config)
        pixels = torch.from_numpy(np.array(own.pixels[own.rows["train"]]))[:, None].float()
        with torch.no_grad():
            expected.append(run.load_soup()(pixels).sigmoid().numpy())
    assert probability.shape == (len(data.rows["train"]), 6)
    np.testing.assert_allclose(probability, np.mean(expected, axis=0), atol=1e-5)
    assert len(asked) == 2
    np.testing.assert_array_equal(probability, ask(pupil, config, data, asked))
    assert len(asked) == 2, "what was predicted is kept"


def test_each_half_teaches_the_films_that_it_never_saw(place: Callable[..., Path], teacher: Path) -> None:
    halves = [place(changes={"resolution": side}, half=half) for side, half in ((48, "A"), (32, "B"))]
    for folder in halves:
        run_one(folder)
    with pytest.raises(StudyError, match=r"teachers of halves A: .* each half, A and B, has its teachers"):
        place(teachers=halves[:1])
    with pytest.raises(StudyError, match=r"teachers of halves A, B, all: "):
        place(teachers=(*halves, teacher))
    pupil = place(teachers=halves)
    config = json.loads((pupil / "config.json").read_text())
    data, (first, second) = load_data(config), (load_run(folder) for folder in halves)
    probability = ask(pupil, config, data, [])
    of_a, of_b = (load_data(run.config).rows["train"] for run in (first, second))
    assert sorted([*of_a, *of_b]) == data.rows["train"].tolist()
    assert not set(data.table.patient[of_a]) & set(data.table.patient[of_b])
    for run, unseen in ((first, of_b), (second, of_a)):
        own = load_data(run.config)
        pixels = torch.from_numpy(np.array(own.pixels[unseen]))[:, None].float()
        with torch.no_grad():
            expected = run.load_soup()(pixels).sigmoid().numpy()
        np.testing.assert_allclose(probability[np.isin(data.rows["train"], unseen)], expected, atol=1e-5)


def test_a_pupil_comes_closer_to_its_teacher_than_a_run_without(place: Callable[..., Path], teacher: Path) -> None:
    changes = {"epochs": 6, "evaluate_every": 10_000}
    alone, pupil = place(changes=changes), place(changes=changes, teachers=(teacher,), teacher_share=1.0)
    for folder in (alone, pupil):
        run_one(folder)
    probability = load_run(teacher).predictions("validation").ensemble()
    distance = {
        folder: float(np.abs(load_run(folder).predictions("validation").ensemble() - probability).mean())
        for folder in (alone, pupil)
    }
    assert distance[pupil] < 0.7 * distance[alone]


def files(folder: Path) -> dict[str, bytes]:
    paths = [*folder.glob("checkpoints/*"), *folder.glob("predictions/*.npz")]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_pupil_that_was_killed_ends_with_the_same_bits_without_asking_again(
    place: Callable[..., Path], teacher: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    mortal = tmp_path / teacher.name
    shutil.copytree(teacher, mortal)
    whole, killed = place(teachers=(teacher,)), place(teachers=(mortal,))
    run_one(whole)
    real, calls = train_module.learning_rate, 0

    def die(*arguments: Any) -> float:
        nonlocal calls
        calls += 1
        if calls == 9:
            raise Interrupted
        return float(real(*arguments))

    monkeypatch.setattr(train_module, "learning_rate", die)
    with pytest.raises(Interrupted):
        run_one(killed)
    monkeypatch.setattr(train_module, "learning_rate", real)
    shutil.rmtree(mortal)
    run_one(killed)
    assert files(killed) == files(whole)


def test_a_pupil_that_was_stopped_while_its_teacher_answered_goes_on(
    place: Callable[..., Path], teacher: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, stopped = place(teachers=(teacher,)), place(teachers=(teacher,))
    run_one(whole)
    real = predict_module.predict_rows

    def die(*arguments: Any) -> Any:
        raise Interrupted

    monkeypatch.setattr(predict_module, "predict_rows", die)
    with pytest.raises(Interrupted):
        run_one(stopped)
    monkeypatch.setattr(predict_module, "predict_rows", real)
    assert not list((stopped / TEACHER_FOLDER).glob("*")) if (stopped / TEACHER_FOLDER).is_dir() else True
    run_one(stopped)
    assert files(stopped) == files(whole)


def test_two_teachers_of_one_name_are_two(place: Callable[..., Path], teacher: Path, tmp_path: Path) -> None:
    namesake = tmp_path / "elsewhere" / teacher.name
    shutil.copytree(teacher, namesake)
    index = namesake / "checkpoints" / "index.json"
    rows = json.loads(index.read_text())
    index.write_text(json.dumps(rows[:1]))  # its best checkpoint alone: another network under the same name
    pupil = place(teachers=(teacher, namesake))
    config = json.loads((pupil / "config.json").read_text())
    data, log = load_data(config), []
    both = ask(pupil, config, data, log)
    alone = [ask(place(teachers=(one,)), json.loads((place(teachers=(one,)) / "config.json").read_text()), data, log)
             for one in (teacher, namesake)]  # fmt: skip
    assert np.abs(alone[0] - alone[1]).max() > 0
    np.testing.assert_allclose(both, np.mean(alone, axis=0), atol=1e-6)


def test_a_teacher_that_was_moved_is_found_again(place: Callable[..., Path], teacher: Path, tmp_path: Path) -> None:
    before, after = tmp_path / "before" / teacher.name, tmp_path / "after" / teacher.name
    shutil.copytree(teacher, before)
    pupil = place(teachers=(before,))
    after.parent.mkdir()
    before.rename(after)
    with pytest.raises(StudyError, match="no run"):
        run_one(pupil)
    assert place(results=pupil.parents[1], teachers=(after,)) == pupil
    run_one(pupil)
    assert (pupil / "done.json").is_file()


def test_teachers_that_cannot_teach_are_refused(place: Callable[..., Path], teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(StudyError, match="divided patients otherwise"):
        place(teachers=(teacher,), salt="another")
    with pytest.raises(StudyError, match=r"above 0 and at most 1, found 0"):
        place(teachers=(teacher,), teacher_share=0.0)
    with pytest.raises(StudyError, match="given twice as a teacher"):
        place(teachers=(teacher, teacher))
    with pytest.raises(StudyError, match="mean different things by the same observation"):
        place(teachers=(teacher,), label_policy="u_ones")
    with pytest.raises(StudyError, match="share without teachers"):
        place(teacher_share=0.5)
    with pytest.raises(StudyError, match="the run is not done"):
        place(teachers=(place(),))
    with pytest.raises(StudyError, match="a teacher that was not trained on"):
        place(teachers=(teacher,), head="paper")
    pupil = place(teachers=(teacher,))
    with pytest.raises(StudyError, match=r"teacher was .*, is None"):
        place(results=pupil.parents[1])


def test_a_teacher_that_changed_since_and_a_damaged_file_are_refused(
    place: Callable[..., Path], teacher: Path, tmp_path: Path
) -> None:
    moved = tmp_path / teacher.name
    shutil.copytree(teacher, moved)
    pupil = place(teachers=(moved,))
    index = moved / "checkpoints" / "index.json"
    rows = json.loads(index.read_text())
    index.write_text(json.dumps(rows[1:]))
    with pytest.raises(StudyError, match="not those that the run was planned with"):
        run_one(pupil)
    index.write_text(json.dumps(rows))
    run_one(pupil)
    (pupil / "done.json").unlink()
    path = pupil / TEACHER_FOLDER / "0.npz"
    whole = path.read_bytes()
    for content in (b"", b"no such thing", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(StudyError, match=r"0\.npz: damaged .*delete it"):
            run_one(pupil)
    with np.load(io.BytesIO(whole)) as file:
        probability, checkpoints = file["probability"], file["checkpoints"]
    for wrong in ((probability[:1], checkpoints), (probability + 1, checkpoints), (probability, checkpoints[:-1])):
        np.savez(path, probability=wrong[0], checkpoints=wrong[1])
        with pytest.raises(StudyError, match=r"0\.npz: does not hold what the run's teacher says"):
            run_one(pupil)
