"""Finished runs on other films, by other labels, and without their weights."""

from __future__ import annotations

import csv
import json
import multiprocessing
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click import Abort
from click.testing import CliRunner, Result
from PIL import Image

torch = pytest.importorskip("torch")

from xraytransfer.errors import ExportError, StudyError  # noqa: E402
from xraytransfer.export.members import choose_members, weights_sha256  # noqa: E402
from xraytransfer.folder_lock import FolderLock  # noqa: E402
from xraytransfer.study.cli import study  # noqa: E402
from xraytransfer.study.data.external_predictions import external_folder, read_external  # noqa: E402
from xraytransfer.study.data.patient_names import normalised_patient  # noqa: E402
from xraytransfer.study.data.predictions import read_predictions, write_predictions  # noqa: E402
from xraytransfer.study.finished_runs import external_test, thinning  # noqa: E402
from xraytransfer.study.runs.status import run_status, table  # noqa: E402
from xraytransfer.study.training.interrupts import Interrupted  # noqa: E402
from xraytransfer.study.training.kept_weights import WeightsGoneError  # noqa: E402
from xraytransfer.study.training.run import run_one  # noqa: E402
from xraytransfer.study.training.run_folder import load_run  # noqa: E402

SIX = ("atelectasis", "cardiomegaly", "consolidation", "edema", "no_finding", "pleural_effusion")
FOUR = SIX[:4]


@pytest.fixture(scope="module")
def trained(toy_run_placer: Callable[..., Path]) -> Path:
    """Return a finished run; copy it before changing it."""
    torch.set_num_threads(1)
    folder = toy_run_placer({"resolution": 32, "evaluate_every": 48})
    run_one(folder)
    return folder


@pytest.fixture
def run(trained: Path, tmp_path: Path) -> Path:
    """Return a copy of the finished run in a results folder of its own."""
    return Path(shutil.copytree(trained, tmp_path / "results" / "runs" / trained.name))


@pytest.fixture
def films(tmp_path: Path) -> Path:
    """Return a folder of 24 drawn films of twelve patients, with labels for four observations, and a mapping file."""
    folder = tmp_path / "hospital"
    (folder / "pictures").mkdir(parents=True)
    rng = np.random.default_rng(8)
    rows = []
    for index in range(24):
        Image.fromarray(rng.integers(0, 255, (60, 50), np.uint8)).save(folder / "pictures" / f"h{index}.png")
        labels = {name: str(int(rng.random() < 0.5)) for name in FOUR}
        labels["edema"] = ("", "unsure", "1", "0")[index % 4]
        rows.append({"file": f"h{index}.png", "person": 9000 + index // 2, "use": "ab"[index % 2], **labels})
    write_rows(folder / "films.csv", rows)
    mapping = {"name": "hospital", "table": "films.csv", "image": "file", "images": "pictures", "patient": "person"}
    mapping |= {"labels": {name: name for name in FOUR}, "values": {"unsure": -1}}
    (folder / "mapping.json").write_text(json.dumps(mapping))
    return folder


def write_rows(path: Path, rows: list[dict[str, Any]]) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)


def change_mapping(films: Path, **changes: Any) -> None:
    path = films / "mapping.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def command(*words: object) -> Result:
    return CliRunner().invoke(study, [str(word) for word in words], standalone_mode=False)


def test_on(films: Path, *words: object) -> Result:
    return command(
        "test", *words, "--data", "csv", "--folder", films, "--mapping", films / "mapping.json", "--workers", 1
    )


test_on.__test__ = False  # type: ignore[attr-defined]


def relabel(films: Path, *words: object) -> Result:
    return command("relabel", *words, "--folder", films, "--mapping", films / "mapping.json")


def test_a_run_is_tested_on_other_films(run: Path, films: Path) -> None:
    change_mapping(
        films, labels={**{name: name for name in FOUR}, "fracture": "use"}, values={"a": 1, "b": 0, "unsure": 1}
    )
    result = test_on(films, run)
    assert result.return_value == 0, result.output
    assert "on 24 films of 12 patients" in result.output
    assert "only names of images were compared" in result.output  # hospital numbers its own patients
    stored = read_external(run, "hospital")
    loaded = load_run(run)
    assert stored.record["labels_absent"] == ["no_finding", "pleural_effusion"]
    assert stored.record["folder"] == "hospital"
    assert str(films) not in json.dumps(stored.record)
    predictions = stored.predictions
    assert tuple(predictions.observations) == FOUR
    assert predictions.checkpoint_steps.tolist() == [kept.step for kept in loaded.checkpoints]
    assert predictions.label[:4, 3].tolist() == [0, 1, 1, 0]  # what is not mentioned is negative, as in training
    columns = [loaded.config["outputs"].index(name) for name in FOUR]
    for network, probability in (
        (loaded.load_network(loaded.checkpoints[0]), predictions.probability[:, 0]),
        (loaded.load_soup(), predictions.soup),
    ):
        np.testing.assert_allclose(ask(network, loaded.config, films)[:, columns], probability, atol=1e-5)
    assert not list(external_folder(run).glob("parts*"))


def ask(network: Any, config: dict[str, Any], films: Path) -> np.ndarray:
    """Return the probabilities of a network for the films, read by the code that prediction reads with."""
    from xraytransfer.radiograph import read_radiograph
    from xraytransfer.resize import resize

    size = tuple(config["resolution"])
    paths = [films / "pictures" / f"h{index}.png" for index in range(24)]
    pixels = [resize(read_radiograph(path, intensity=config["intensity"]).pixels, size) for path in paths]
    with torch.inference_mode():
        return torch.sigmoid(network(torch.from_numpy(np.stack(pixels))[:, None].float())).numpy()


def test_done_once_and_again_only_where_asked(run: Path, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert test_on(films, run, run.parents[1]).return_value == 0  # the run and its results folder: once
    path = external_folder(run) / "hospital.json"
    before = path.stat().st_mtime_ns
    with monkeypatch.context() as patch:
        patch.setattr(external_test, "predict_rows", None)
        result = test_on(films, run)
    assert "was done before" in result.output
    assert path.stat().st_mtime_ns == before
    result = test_on(films, run, "--rows", "use=a")
    assert result.return_value == 1
    assert "another test is called hospital (24 films of hospital)" in result.stderr
    assert test_on(films, run, "--rows", "use=a", "--again").return_value == 0
    assert read_external(run, "hospital").record["rows"] == {"use": ["a"]}
    assert read_external(run, "hospital").record["films"] == 12


@pytest.mark.parametrize(("patients", "column", "first"), [("nih", "00000{}", "h0.png"), ("own", "x{}", "")])
def test_only_strangers(run: Path, films: Path, patients: str, column: str, first: str) -> None:
    known = known_patients(run)
    with (films / "films.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows[:2]:
        row["person"] = column.format(known[0])  # NIH's number, with zeros before it
    write_rows(films / "films.csv", rows)
    change_mapping(films, patients=patients)
    result = test_on(films, run)
    if not first:
        assert result.return_value == 0
        return
    assert result.return_value == 1
    assert f"trained with 1 patient of these films (2 films, first {first}" in result.stderr
    assert not external_folder(run).exists()
    result = test_on(films, run, "--strangers-only")
    assert result.return_value == 0
    assert "1 patient that the run knows left out (2 films)" in result.output
    record = read_external(run, "hospital").record
    assert (record["films"], record["left_out"]["known_patients"], record["patients_compared"]) == (22, 1, True)


def known_patients(run: Path) -> list[str]:
    from xraytransfer.study.data.run_data import load_data

    data = load_data(load_run(run).config)
    return [str(name) for name in np.unique(data.table.patient[data.rows["train"]])]


def test_an_image_of_the_run_under_another_ending_is_known(run: Path, films: Path) -> None:
    number = int(known_patients(run)[0])
    Image.open(films / "pictures" / "h1.png").save(films / "pictures" / f"{number:08d}_000.jpg")
    text = (films / "films.csv").read_text().replace("h1.png", f"{number:08d}_000.jpg")
    (films / "films.csv").write_text(text)
    result = test_on(films, run)
    assert result.return_value == 1
    assert "trained with 1 patient of these films (2 films" in result.stderr


def test_the_runs_own_films(run: Path, made_up_films: Path) -> None:
    words = ("test", run, "--data", "nih", "--folder", made_up_films, "--name", "own", "--workers", 1)
    assert command(*words).return_value == 1
    assert command(*words, "--strangers-only").return_value == 0
    stored = read_external(run, "own").predictions
    test = load_run(run).predictions("test")
    assert stored.image.tolist() == test.image.tolist()  # strangers are the test patients
    np.testing.assert_array_equal(stored.label, test.label)
    np.testing.assert_allclose(stored.probability, test.probability, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "same"), [("00000211", "211"), (" 211 ", "211"), ("211.0", "0211"), ("0", "000"), ("P01", "p01")]
)
def test_normalised_patients(name: str, same: str) -> None:
    assert normalised_patient(name) == normalised_patient(same)
    assert normalised_patient("1") != normalised_patient("10")
    assert normalised_patient("p1") != normalised_patient("p01")
    assert normalised_patient("1.2.0") != normalised_patient("1.2")


def test_labels_without_any_of_the_six_are_refused(run: Path, films: Path) -> None:
    change_mapping(films, labels={"fracture": "edema"})
    result = test_on(films, run)
    assert result.return_value == 1
    assert "none of the six observations" in result.stderr


def test_a_run_that_is_refused_stops_no_other(run: Path, films: Path, tmp_path: Path) -> None:
    bare = Path(shutil.copytree(run, tmp_path / "bare"))
    shutil.rmtree(bare / "checkpoints")
    unfinished = Path(shutil.copytree(run, tmp_path / "unfinished"))
    (unfinished / "done.json").unlink()
    result = test_on(films, bare, unfinished, run)
    assert result.return_value == 1
    assert [line.split(":")[0] for line in result.stderr.splitlines()] == ["refused", "refused"]
    assert "the run is not done" in result.stderr
    assert read_external(run, "hospital").record["films"] == 24
    with pytest.raises(StudyError, match="neither a run"):
        raise test_on(films, tmp_path / "hospital").exception  # type: ignore[misc]


def test_an_own_data_set_that_moved(run: Path, films: Path, made_up_films: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    config["data"]["folder"] = "gone"
    (run / "config.json").write_text(json.dumps(config))
    result = test_on(films, run)
    assert result.return_value == 1
    assert "--own-folder" in result.stderr
    assert test_on(films, run, "--own-folder", made_up_films).return_value == 0


def test_a_results_folder_that_moved_takes_its_cache_along(run: Path, films: Path) -> None:
    config = json.loads((run / "config.json").read_text())
    gone = run.parents[2] / "gone" / "cache"
    config["data"]["cache"] = str(gone)
    (run / "config.json").write_text(json.dumps(config))
    beside = run.parents[1] / "cache"
    beside.mkdir()
    assert test_on(films, run).return_value == 0
    assert not gone.parent.exists()
    assert list(beside.glob("hospital*"))


@pytest.mark.parametrize("name", ["test", "auroc", "../up", ""])
def test_names_that_cannot_be(run: Path, films: Path, name: str) -> None:
    if name:
        assert test_on(films, run, "--name", name).return_value == 1
    assert relabel(films, run, "--name", name).return_value == 1


def test_rows_that_are_no_condition(run: Path, films: Path) -> None:
    result = test_on(films, run, "--rows", "use")
    assert "COLUMN=VALUE expected" in str(result.exception)
    assert "lacks the columns" in str(test_on(films, run, "--rows", "no=a").exception)


def test_a_test_that_was_cut_off_goes_on(run: Path, films: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = external_test.predict_rows, []

    def stopping(*arguments: Any) -> Any:
        if len(asked) == 1:
            raise Interrupted
        asked.append(1)
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(external_test, "predict_rows", stopping)
        assert isinstance(test_on(films, run).exception, Abort)
    assert not (external_folder(run) / "hospital.json").exists()
    assert len(list(external_folder(run).rglob("*.npy"))) == 1
    with monkeypatch.context() as patch:
        patch.setattr(external_test, "predict_rows", lambda *a: asked.append(2) or real(*a))
        assert test_on(films, run).return_value == 0
    members = len(load_run(run).checkpoints)
    assert asked == [1] + [2] * members  # the other checkpoints, and the soup
    assert read_external(run, "hospital").predictions.probability.shape == (24, members, 4)


def test_a_test_that_was_cut_off_does_not_go_on_with_other_films(
    run: Path, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, asked = external_test.predict_rows, []
    cache = tmp_path / "cache-of-films"

    def stopping(*arguments: Any) -> Any:
        if asked:
            raise Interrupted
        asked.append(1)
        return real(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(external_test, "predict_rows", stopping)
        assert isinstance(test_on(films, run, "--cache", cache).exception, Abort)
    names = sorted((films / "pictures").iterdir())
    bytes_of = [path.read_bytes() for path in names]
    for path, data in zip(names, reversed(bytes_of), strict=True):
        path.write_bytes(data)
    assert "is another film than the cache" in test_on(films, run, "--cache", cache).stderr
    assert test_on(films, run, "--cache", tmp_path / "new").return_value == 0
    went_on = read_external(run, "hospital").predictions.probability
    assert test_on(films, run, "--cache", tmp_path / "new", "--again").return_value == 0
    np.testing.assert_array_equal(read_external(run, "hospital").predictions.probability, went_on)


def test_predictions_without_their_record_do_not_count(run: Path, films: Path) -> None:
    assert test_on(films, run).return_value == 0
    folder = external_folder(run)
    (folder / "hospital.json").rename(folder / "kept")
    assert "macro AUROC" in test_on(films, run).output
    (folder / "hospital.npz").write_bytes(b"damaged")
    with pytest.raises(StudyError, match="--again"):
        read_external(run, "hospital")
    assert "--again" in test_on(films, run).stderr
    assert test_on(films, run, "--again").return_value == 0


def _test_in_process(run: Path, films: Path) -> None:
    raise SystemExit(test_on(films, run).return_value)


def test_two_at_once(run: Path, films: Path) -> None:
    context = multiprocessing.get_context("spawn")
    both = [context.Process(target=_test_in_process, args=(run, films)) for _ in range(2)]
    for one in both:
        one.start()
    for one in both:
        one.join()
    assert [one.exitcode for one in both] == [0, 0]
    assert read_external(run, "hospital").record["films"] == 24


def test_thinned_to_the_soup(run: Path, films: Path, tmp_path: Path) -> None:
    assert test_on(films, run, "--name", "before").return_value == 0
    whole = load_run(run)
    soup = weights_sha256(whole.load_soup())
    exported = weights_sha256(choose_members([run], fuse="soup").networks[0])
    result = command("thin", run, "--keep", "soup")
    assert result.return_value == 0, result.output
    assert not list(run.rglob("step-*")) + list((run / "last").glob("state*"))
    assert int(result.output.split()[1].replace(",", "")) > 1_000_000
    assert weights_sha256(load_run(run).load_soup()) == soup
    with pytest.raises(WeightsGoneError, match="thinned to soup"):
        load_run(run).load_network(whole.checkpoints[0])
    assert weights_sha256(choose_members([run], fuse="soup").networks[0]) == exported
    for options in ({}, {"fuse": "soup", "checkpoints": "best"}):
        with pytest.raises(ExportError, match="thinned to soup"):
            choose_members([run], **options)
    result = test_on(films, run, "--name", "after")
    assert "by the soup alone, the run was thinned" in result.output
    before, after = read_external(run, "before"), read_external(run, "after")
    np.testing.assert_array_equal(before.predictions.soup, after.predictions.soup)
    assert after.predictions.probability.shape == (24, 0, 4)
    assert (after.record["checkpoints"], after.record["soup"]) == (0, True)
    with pytest.raises(StudyError, match="no members"):
        after.predictions.ensemble()
    assert run_status(run).keeps == "soup"
    assert "thinned to soup" in table([run_status(run)])
    assert command("thin", run, "--keep", "soup").output.startswith(f"{run.name}: 0 bytes")
    assert "cannot be kept any more" in command("thin", run, "--keep", "all").stderr


def test_thinned_to_predictions(run: Path, films: Path) -> None:
    assert command("thin", run, "--keep", "soup").return_value == 0
    assert command("thin", run, "--keep", "predictions").return_value == 0
    assert not list(run.rglob("*.safetensors"))
    assert load_run(run).predictions("test").image.size
    result = test_on(films, run)
    assert result.return_value == 1
    assert "thinned to predictions" in result.stderr
    with pytest.raises(ExportError, match="thinned to predictions"):
        choose_members([run], fuse="soup")
    with pytest.raises(WeightsGoneError, match="no weights"):
        load_run(run).load_soup()


def test_keep_all_deletes_the_resume_state_only(run: Path) -> None:
    before = {path for path in run.rglob("*") if path.is_file() and path.parent.name != "last"}
    (run / "checkpoints" / ".soup.safetensors.1.tmp").write_bytes(b"left by a kill")
    assert command("thin", run, "--keep", "all").return_value == 0
    assert {path for path in run.rglob("*") if path.is_file()} == before
    assert not list((run / "last").glob("*"))
    assert load_run(run).kept_weights.keep == "all"


class KilledError(Exception):
    """Stands for the end of the process."""


@pytest.mark.parametrize("keep", ["soup", "predictions"])
@pytest.mark.parametrize("moment", ["store", "record", "first", "second"])
def test_thinning_killed_at_any_moment(run: Path, keep: str, moment: str, monkeypatch: pytest.MonkeyPatch) -> None:
    soup = weights_sha256(load_run(run).load_soup())
    deleted: list[Path] = []
    real = Path.unlink

    def unlink(path: Path, missing_ok: bool = False) -> None:
        if path.name.startswith("step-") or path.name.startswith("state"):
            if len(deleted) == ("first", "second").index(moment):
                raise KilledError
            deleted.append(path)
        real(path, missing_ok=missing_ok)

    def killed(*_: object) -> None:
        raise KilledError

    with monkeypatch.context() as patch:
        if moment == "store":
            patch.setattr("xraytransfer.study.training.checkpoints.save_tensors", killed)
        elif moment == "record":
            patch.setattr(thinning, "write_kept_weights", killed)
        else:
            patch.setattr(Path, "unlink", unlink)
        if not (moment == "store" and keep == "predictions"):
            with pytest.raises(KilledError):
                thinning.thin_run(run, keep)
    if keep == "soup":
        assert weights_sha256(load_run(run).load_soup()) == soup
    assert load_run(run).predictions("test").image.size
    thinning.thin_run(run, keep)
    left = sorted(path.name for path in run.rglob("*.safetensors"))
    assert left == (["soup.safetensors"] if keep == "soup" else [])
    if keep == "soup":
        assert weights_sha256(load_run(run).load_soup()) == soup


def test_thinning_is_refused_where_something_would_be_lost(run: Path, tmp_path: Path) -> None:
    with FolderLock(run):
        assert "another process works" in command("thin", run, "--keep", "predictions").stderr
    unfinished = Path(shutil.copytree(run, tmp_path / "unfinished"))
    (unfinished / "done.json").unlink()
    assert "not done" in command("thin", unfinished, "--keep", "predictions").stderr
    checkpoint = run / "checkpoints" / load_run(run).checkpoints[0].file
    whole = checkpoint.read_bytes()
    checkpoint.write_bytes(whole[:-1] + b"?")
    assert "damaged" in command("thin", run, "--keep", "soup").stderr
    checkpoint.write_bytes(whole)
    (run / "predictions" / "test.npz").write_bytes(b"damaged")
    for keep in ("soup", "predictions"):
        assert "cannot be read" in command("thin", run, "--keep", keep).stderr
    assert load_run(run).load_network(load_run(run).checkpoints[0])
    (run / "checkpoints" / "thinned.json").write_text('{"keep": "half", "steps": [], "sha256": ""}')
    with pytest.raises(StudyError, match="damaged"):
        load_run(run).load_soup()


def test_a_thinned_teacher(run: Path, toy_run_placer: Callable[..., Path]) -> None:
    command("thin", run, "--keep", "soup")
    pupil = toy_run_placer({"resolution": 32, "evaluate_every": 48}, teachers=(run,))
    run_one(pupil)  # asks the stored soup
    command("thin", run, "--keep", "predictions")
    with pytest.raises(WeightsGoneError, match="thinned to predictions"):
        toy_run_placer({"resolution": 32, "evaluate_every": 48}, teachers=(run,), seeds=(1,))


def other_labels(run: Path, folder: Path, **labels: Any) -> tuple[Path, list[str]]:
    """Write labels for the first ten test films, one of them empty, and for a film that is none."""
    names = [Path(str(name)).stem for name in load_run(run).predictions("test").image[:10]]
    folder.mkdir()
    rows = [{"film": f"{name}.jpg", "normal": "" if index == 0 else "1"} for index, name in enumerate(names)]
    write_rows(folder / "labels.csv", [*rows, {"film": "stranger.jpg", "normal": "1"}])
    labels = labels or {"no_finding": "normal", "edema": {"column": "normal", "values": {"1": 0}}}
    document = {"name": "panel", "table": "labels.csv", "image": "film", "labels": labels}
    (folder / "mapping.json").write_text(json.dumps(document))
    return folder, names


def test_the_same_films_by_other_labels(run: Path, tmp_path: Path) -> None:
    folder, names = other_labels(run, tmp_path / "panel")
    command("thin", run, "--keep", "predictions")  # no network is asked
    result = relabel(folder, run, "--name", "panel")
    assert result.return_value == 0, result.output
    test, stored = load_run(run).predictions("test"), read_external(run, "panel")
    assert stored.predictions.observations.tolist() == ["edema", "no_finding"]
    assert [Path(name).stem for name in stored.predictions.image] == names
    assert np.isnan(stored.predictions.label[0]).all()
    assert stored.predictions.label[1:].tolist() == [[0, 1]] * 9
    columns = [test.observations.tolist().index(name) for name in ("edema", "no_finding")]
    np.testing.assert_array_equal(stored.predictions.probability, test.probability[:10][:, :, columns])
    assert (stored.record["films_listed"], stored.record["films_relabelled"]) == (11, 10)
    assert "was done before" in relabel(folder, run, "--name", "panel").output


def test_labels_of_another_data_set_with_the_same_names_are_refused(run: Path, tmp_path: Path) -> None:
    folder, _ = other_labels(run, tmp_path / "panel")
    test, lines = load_run(run).predictions("test"), (folder / "labels.csv").read_text().splitlines()
    patients = ["patient", *test.patient[:10], "none"]
    (folder / "labels.csv").write_text("".join(f"{a},{b}\n" for a, b in zip(lines, patients, strict=True)))
    change_mapping(folder, patient="patient")
    assert relabel(folder, run, "--name", "same").return_value == 0
    patients[3] = "another"
    (folder / "labels.csv").write_text("".join(f"{a},{b}\n" for a, b in zip(lines, patients, strict=True)))
    refused = relabel(folder, run, "--name", "other")
    assert refused.return_value == 1
    assert "1 of 10 films with other labels have another patient there" in refused.stderr
    assert f"first {test.image[2]}" in refused.stderr


def test_two_rows_of_one_image_are_refused(run: Path, tmp_path: Path) -> None:
    folder, names = other_labels(run, tmp_path / "panel")
    with (folder / "labels.csv").open("a") as file:
        file.write(f"{names[1]}.dcm,0\n")
    assert "differ in the ending alone" in relabel(folder, run, "--name", "x").stderr


def test_a_test_with_other_patients_is_another_test(run: Path, films: Path) -> None:
    """Patients decide the intervals: a mapping file that named a wrong column was put right."""
    change_mapping(films, patient="file")
    assert test_on(films, run).return_value == 0
    change_mapping(films, patient="person")
    assert "names other patients" in test_on(films, run).stderr
    assert "on 24 films of 12 patients" in test_on(films, run, "--again").output


def test_corrected_labels(run: Path, tmp_path: Path) -> None:
    folder, _ = other_labels(run, tmp_path / "panel")
    assert relabel(folder, run, "--name", "panel", "--correct").return_value == 0
    test, stored = load_run(run).predictions("test"), read_external(run, "panel")
    corrected = stored.predictions
    assert corrected.observations.tolist() == test.observations.tolist()
    expected = test.label.copy()
    expected[1:10, test.observations == "no_finding"] = 1
    expected[1:10, test.observations == "edema"] = 0
    np.testing.assert_array_equal(corrected.label, expected)
    np.testing.assert_array_equal(corrected.probability, test.probability)
    assert sum(stored.record["labels_changed"].values()) == int((expected != test.label).sum())


def test_relabelling_that_cannot_be(run: Path, films: Path, tmp_path: Path) -> None:
    assert "would be replaced by its own films" in relabel(films, run, "--name", "x", "--source", "x").stderr
    assert "has no external test other" in relabel(films, run, "--name", "x", "--source", "other").stderr
    assert "none of its" in relabel(films, run, "--name", "x").stderr
    folder, _ = other_labels(run, tmp_path / "panel", fracture="normal")
    assert "none of the six" in relabel(folder, run, "--name", "x").stderr
    text = (folder / "labels.csv").read_text()
    (folder / "labels.csv").write_text(text + text.splitlines()[1] + "\n")
    assert "stands in two rows" in str(relabel(folder, run, "--name", "x").exception)
    change_mapping(folder, labels={"edema": 3})
    assert "labels.edema must be a column" in str(relabel(folder, run, "--name", "x").exception)


def test_an_external_test_by_other_labels(run: Path, films: Path) -> None:
    assert test_on(films, run).return_value == 0
    change_mapping(films, labels={"cardiomegaly": "atelectasis"})
    assert relabel(films, run, "--name", "swapped", "--source", "hospital").return_value == 0
    swapped, stored = read_external(run, "swapped").predictions, read_external(run, "hospital").predictions
    np.testing.assert_array_equal(swapped.label[:, 0], stored.label[:, 0])
    np.testing.assert_array_equal(swapped.soup[:, 0], stored.soup[:, 1])


def test_other_labels_of_a_test_that_was_repeated_since(run: Path, films: Path) -> None:
    assert test_on(films, run).return_value == 0
    assert relabel(films, run, "--name", "panel", "--source", "hospital").return_value == 0
    assert test_on(films, run, "--again").return_value == 0
    assert len(read_external(run, "panel").predictions.image) == 24  # the same films give the same predictions
    assert test_on(films, run, "--rows", "use=a", "--again").return_value == 0
    with pytest.raises(StudyError, match="made from an earlier test hospital, which was repeated since"):
        read_external(run, "panel")
    assert "--again" in relabel(films, run, "--name", "panel", "--source", "hospital").stderr
    assert relabel(films, run, "--name", "panel", "--source", "hospital", "--again").return_value == 0
    assert len(read_external(run, "panel").predictions.image) == 12


def test_a_run_of_the_first_version_is_read(run: Path, films: Path) -> None:
    """Version 0.1 knew fewer settings, and its first runs stored no soup."""
    config = json.loads((run / "config.json").read_text())
    for name in ("equalise", "levels"):
        del config["preset"][name]
    config["writer"] = "xraytransfer 0.1.0"
    (run / "config.json").write_text(json.dumps(config))
    path = run / "predictions" / "test.npz"
    old = read_predictions(path)
    write_predictions(path, type(old)(**{**vars(old), "soup": None}))
    assert test_on(films, run).return_value == 0
    assert read_external(run, "hospital").predictions.soup is not None
    assert command("thin", run, "--keep", "soup").return_value == 0
    report = command("report", "--results", run.parents[1], "--replicates", 20, "--no-measure")
    assert report.exception is None, report.exception
    with (run.parents[1] / "report" / "tables" / "runs.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["test_soup"] == ""
    assert float(row["hospital_soup"]) > 0
