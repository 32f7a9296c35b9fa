"""External tests: strangers alone are scored, the card says who judged, and the numbers can be computed again."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from xraytransfer.classifier import Classifier
from xraytransfer.cli.models import models
from xraytransfer.errors import ExportError, ModelFileError, StudyError
from xraytransfer.export.card.card import markdown_card
from xraytransfer.export.checks.external_check import verify_external
from xraytransfer.export.checks.metrics_check import verify_metrics
from xraytransfer.export.exporter import export_runs
from xraytransfer.export.external import check_judges, read_test_sets
from xraytransfer.export.options import ExportOptions
from xraytransfer.export.site_calibration import calibrate_site
from xraytransfer.model_file import describe
from xraytransfer.model_metadata import schema
from xraytransfer.study.data.external_predictions import write_external
from xraytransfer.study.data.external_test_set import IDENTIFIERS, read_external_test_set
from xraytransfer.study.stats.auroc import auroc
from xraytransfer.study.training.run_folder import load_run

pytestmark = pytest.mark.usefixtures("remembered_traces")

MAPPING = {
    "name": "panel",
    "table": "panel.csv",
    "image": "file",
    "images": "images",
    "patient": "pid",
    "patients": "nih",
    "sex": "sex",
    "labels": {name: name for name in IDENTIFIERS},
    "use": "Use",
    "judges": "three drawn numbers",
    "attribution": "Nobody 2027",
    "note": "Drawn by lot.",
    "other_labels": {"name": "reports", "labels": {"edema": "edema by report"}},
    "readers": {"table": "readers.csv", "image": "file", "reader": "who",
                "labels": {"edema": "edema", "cardiomegaly": "heart"}},
    "boxes": {"table": "boxes.csv", "image": "file", "finding": "what", "box": ["x", "y", "w", "h"], "side": 100,
              "findings": {"Effusion": "pleural_effusion"}},
}  # fmt: skip


@pytest.fixture(scope="module")
def panel(toy_runs, tmp_path_factory) -> tuple[Path, Path]:
    """Return mapping and folder of a test set: all films of the toy runs, two thirds of whose patients they know."""
    folder = tmp_path_factory.mktemp("panel")
    shutil.copytree(toy_runs[0].parents[1] / "films" / "images", folder / "images")
    rng = np.random.default_rng(5)
    films = sorted(path.name for path in (folder / "images").glob("*.png"))
    rows = []
    for index, film in enumerate(films):
        patient = int(film[:8])
        use = ("judge", "choose", "")[patient % 3]
        labels = (rng.random(6) < 0.4).astype(int)
        rows.append(
            [film, patient, "MF"[patient % 2], *labels, labels[3], use] if index else [film, 0, "M", *labels, "", ""]
        )
    _write(folder / "panel.csv", ["file", "pid", "sex", *IDENTIFIERS, "edema by report", "Use"], rows)
    said = [[film, reader, *(rng.random(2) < 0.5).astype(int)] for film in films for reader in ("anna", "bert")]
    _write(folder / "readers.csv", ["file", "who", "edema", "heart"], said)
    boxes = [[film.replace(".png", ".jpg"), "Effusion", 10, 20, 40, 70] for film in films]
    _write(folder / "boxes.csv", ["file", "what", "x", "y", "w", "h"], [*boxes, ["other.png", "Mass", 0, 0, 1, 1]])
    (folder / "panel.json").write_text(json.dumps(MAPPING))
    return folder / "panel.json", folder


def _write(path, head, rows):
    with path.open("w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([head, *rows])


def _read(path):
    return list(csv.DictReader(path.read_text("utf-8").splitlines()))


@pytest.fixture(scope="module")
def exported(toy_runs, panel, tmp_path_factory, remembered_traces):
    path, said = tmp_path_factory.mktemp("exported") / "toy.onnx", []
    better = {
        "name": "b",
        "table": "panel.csv",
        "image": "file",
        "judges": "a better reader",
        "attribution": "Better 2028",
    }
    correct = path.with_name("correct.json")
    correct.write_text(json.dumps({**better, "labels": {"edema": "edema"}}))
    options = ExportOptions(checkpoints="best", device="cpu", external=(panel,), correct=(correct, panel[1]))
    export_runs(toy_runs[:1], path, options, said.append)
    return path, said


def test_strangers_alone_are_scored_and_the_file_answers_so(exported, panel, toy_runs):
    path, said = exported
    document = describe(path).document
    pytest.importorskip("jsonschema").validate(document, schema())
    test = document["external"][0]
    split = load_run(toy_runs[0]).config["split"]
    whole = read_external_test_set(*panel)
    known = split["train"]["patients"] + split["validation"]["patients"]
    assert 0 < test["left_out"]["known_patients"] <= known
    assert test["films"] + test["left_out"]["known_films"] == len(whole.table)
    assert test["patients_compared"]
    assert [part["use"] for part in test["parts"]] == ["judge", "choose"]
    assert sum(part["films"] for part in test["parts"]) == test["films"]
    rows = _read(path.with_suffix(".external-panel.csv"))
    assert len(rows) == test["films"]
    assert list(rows[0]) == ["image", *(f"{name}_probability" for name in IDENTIFIERS)]  # no labels
    answer = Classifier(path, device="cpu").predict(panel[1] / "images" / rows[0]["image"], any_film=True)
    assert [float(rows[0][f"{name}_probability"]) for name in IDENTIFIERS] == pytest.approx(
        answer.probability, abs=1e-6
    )
    assert any(line.startswith("Against three drawn numbers: macro AUROC") for line in said)


def test_the_parts_hold_readers_other_labels_and_groups(exported):
    part = describe(exported[0]).document["external"][0]["parts"][0]
    edema = {row["reader"]: row for row in part["readers"] if row["observation"] == "edema"}
    assert set(edema) == {"anna", "bert", "average reader", "reports"}
    assert (
        edema["reports"]["sensitivity"] == edema["reports"]["specificity"] == 1
    )  # the reports say what the panel says
    assert edema["reports"]["difference"] == edema["reports"]["model_sensitivity"] - 1
    by_reports = next(row for row in part["other_metrics"] if row["observation"] == "edema")
    by_panel = next(row for row in part["metrics"] if (row["observation"], row["metric"]) == ("edema", "auroc"))
    assert by_reports["value"] == by_panel["value"]
    assert part["readers_equalled"]["edema"]["readers"] == 2
    assert part["readers_equalled"]["atelectasis"]["readers"] == 0  # nobody read it
    found = describe(exported[0]).document["external"][0]["localisation"]
    assert found["chance"] == pytest.approx(0.28, abs=0.002)
    assert found["maps"] == found["observations"]["pleural_effusion"]["maps"] > found["hits"] > 0


def test_the_cards_begin_with_the_judges(exported):
    path = exported[0]
    text, page = path.with_suffix(".md").read_text(), path.with_suffix(".html").read_text()
    first = text.split("## Intended use")[0]
    assert "Against three drawn numbers: macro AUROC" in first
    assert "nothing was chosen by them" in first
    assert "labels that a program mined from reports (nih)" in first
    assert "choose" not in first
    for heading in (
        "External test: panel, judge films",
        "Beside the readers: panel, choose films",
        "Where the maps point",
    ):
        assert f"## {heading}" in text
        assert f"<h2>{heading}" in page
    assert "Drawn by lot. To be cited: Nobody 2027." in text


def reader_row(reader: str, sensitivity: float | None, difference: float | None, upper: float | None) -> dict[str, Any]:
    numbers = {"sensitivity": sensitivity, "specificity": 0.9, "model_sensitivity": 0.5, "n": 40, "positives": 8}
    ends = {"difference": difference, "lower": None if upper is None else -0.5, "upper": upper}
    return {"observation": "edema", "reader": reader, **numbers, **ends}


def test_readers_are_counted_by_the_estimate_and_by_the_interval(exported):
    document = describe(exported[0]).document
    part = document["external"][0]["parts"][0]
    part["readers"] = [
        reader_row("beaten", 0.4, 0.1, 0.3),
        reader_row("equalled", 0.5, 0.0, 0.2),
        reader_row("perhaps better", 0.6, -0.1, 0.0),
        reader_row("better", 0.9, -0.4, -0.1),
        reader_row("never names it", 0.0, 0.5, 0.6),
        reader_row("has no positives", None, None, None),
        reader_row("average reader", 0.5, 0.1, 0.2),
        reader_row("reports", 0.5, 0.1, 0.2),
    ]
    text = markdown_card(document)
    assert "reaches that of at least one reader on 1 of 1 observations" in text.split("## Intended use")[0]
    section = text.split("## Beside the readers: panel, judge films")[1].split("##")[0]
    assert "name the observation at all: Edema 2 of 4." in section
    assert "does not lie wholly below 0: Edema 3 of 4." in section
    assert "| Edema | better | 0.900 | 0.900 | 0.500 | -0.400 [-0.500, -0.100] | 40 | 8 |" in section


def test_corrected_labels_of_the_test_films_stand_beside_their_own(exported, panel, tmp_path):
    path = exported[0]
    metrics = describe(path).document["metrics"]
    _, corrected = dict.fromkeys(row["data"] for row in metrics)
    assert corrected == "nih test patients, labels corrected by a better reader"
    assert f"({corrected}, " in path.with_suffix(".md").read_text().split("## Intended use")[0]
    assert "To be cited: Better 2028." in path.with_suffix(".md").read_text()
    films = _read(path.with_suffix(".test.csv"))
    better = {row["file"]: row["edema"] for row in _read(panel[1] / "panel.csv")}
    assert all(row["edema_corrected"] == better[row["image"]] for row in films)
    assert any(row["edema_corrected"] != row["edema"] for row in films)
    assert all(row["atelectasis_corrected"] == row["atelectasis"] for row in films)
    label, probability = (
        np.array([float(row[f"edema_{key}"]) for row in films]) for key in ("corrected", "probability")
    )
    row = next(row for row in metrics if (row["data"], row["observation"]) == (corrected, "edema"))
    assert row["value"] == pytest.approx(auroc(label, probability), abs=1e-9)
    for file in path.parent.iterdir():
        shutil.copy(file, tmp_path / file.name)
    stored = tmp_path / "toy.test.csv"
    stored.write_text(stored.read_text().replace(",edema_corrected,", ",edema_corrupted,"))
    with pytest.raises(ModelFileError, match="numbers of its card cannot be computed"):
        verify_metrics(tmp_path / "toy.onnx", device="cpu")


def test_the_numbers_are_computed_again(exported, panel, toy_runs):
    said: list[str] = []
    verify_metrics(exported[0], device="cpu", log=said.append)
    assert said[-1] == "not verified, for want of --external MAPPING FOLDER: panel"
    films = toy_runs[0].parents[1] / "films"
    command = ["verify", str(exported[0]), "--device", "cpu", "--external", *map(str, panel), "--metrics"]
    done = CliRunner().invoke(models, [*command, str(films)])
    assert done.exit_code == 0, done.output
    assert "panel: " in done.output
    assert "scored again" in done.output.splitlines()[-1]
    without = CliRunner().invoke(models, command[:-1])
    assert without.exit_code == 2
    assert "--external needs --metrics" in without.output


def test_changed_predictions_and_labels_are_noticed(exported, panel, tmp_path):
    for path in exported[0].parent.iterdir():
        shutil.copy(path, tmp_path / path.name)
    classifier = Classifier(tmp_path / "toy.onnx", device="cpu")
    stored = tmp_path / "toy.external-panel.csv"
    lines = stored.read_text().splitlines()
    arguments = {"again": False, "log": lambda _: None}
    stored.write_text("\n".join([lines[0], *lines[2:]]) + "\n")
    with pytest.raises(ModelFileError, match=r"cannot be computed from toy\.external-panel\.csv and the labels"):
        verify_external(classifier, *panel, **arguments)
    stored.write_text("\n".join([*lines, "stranger.png" + ",0.5" * 6]) + "\n")
    with pytest.raises(ModelFileError, match=r"1 scored film not in the table, first stranger\.png"):
        verify_external(classifier, *panel, **arguments)
    stored.write_text("image\na.png\n")
    with pytest.raises(ExportError, match="not a file of predictions of an external test"):
        verify_external(classifier, *panel, **arguments)
    stored.unlink()
    with pytest.raises(ExportError, match="has to stay there"):
        verify_external(classifier, *panel, **arguments)


def test_a_calibrated_copy_keeps_what_does_not_depend_on_the_calibration(exported, panel, tmp_path):
    table = tmp_path / "site.csv"
    rows = [[panel[1] / "images" / row["file"], row["pid"], row["edema"]] for row in _read(panel[1] / "panel.csv")[:60]]
    _write(table, ["path", "patient", "edema"], rows)
    calibrate_site(exported[0], table, tmp_path / "copy.onnx", method="platt", device="cpu")
    before, after = (
        describe(path).document["external"][0]["parts"][0] for path in (exported[0], tmp_path / "copy.onnx")
    )
    gone = [row for row in before["metrics"] if row not in after["metrics"]]
    assert {(row["observation"], row["metric"]) for row in gone} == {("edema", "ece"), ("edema", "brier")}
    assert after["readers"] == before["readers"]


def test_sets_that_cannot_be_used_are_refused_before_the_work(toy_runs, panel, tmp_path):
    def refuse(match, error=ExportError, **changes):
        mapping = tmp_path / "changed.json"
        mapping.write_text(json.dumps({**MAPPING, **changes}))
        options = ExportOptions(device="cpu", external=((mapping, panel[1]), panel))
        with pytest.raises(error, match=match):
            export_runs(toy_runs[:1], tmp_path / "x.onnx", options)
        assert not (tmp_path / "x.onnx").exists()

    refuse("two test sets are called panel")
    refuse("cannot be the name of an external test", StudyError, name="../panel")
    refuse("lacks the column 'Purpose'", StudyError, use="Purpose")
    refuse("none of the six observations", StudyError, labels={"fracture": "edema"})
    refuse("other_labels must be an object with name, labels", StudyError, other_labels={"name": "x"})
    refuse("lacks the columns", StudyError, other_labels={"name": "x", "labels": {"edema": "absent"}})
    refuse("readers must be an object with", StudyError, readers=[])
    refuse("must name four columns", StudyError, boxes={**MAPPING["boxes"], "box": ["x"]})
    refuse("lies outside the picture of 20 pixels", StudyError, boxes={**MAPPING["boxes"], "side": 20})
    refuse(r"are no four numbers", StudyError, boxes={**MAPPING["boxes"], "box": ["x", "y", "w", "what"]})


def test_who_chose_the_members_does_not_judge_them(toy_runs, panel, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(toy_runs[0], run)
    stored = load_run(run).predictions("validation")
    known = {int(name): name for name in stored.patient}
    judges = [int(row["pid"]) for row in _read(panel[1] / "panel.csv") if row["Use"] == "judge"]
    patient = next(known[number] for number in judges if number in known)
    # other films, of a patient who judges
    films = replace(stored, image=np.char.add("x", stored.image), patient=np.full(len(stored.image), patient))
    write_external(run, "choosers", films, {"kind": "external", "patients_compared": True})
    options = ExportOptions(best=1, chosen_by="choosers", device="cpu", external=(panel,))
    with pytest.raises(ExportError, match=r"--external panel: .* of 1 patient whose films choose the members"):
        export_runs([run], tmp_path / "x.onnx", options)
    assert not (tmp_path / "x.onnx").exists()
    mapping = tmp_path / "apart.json"
    mapping.write_text(json.dumps({**MAPPING, "rows": {"Use": "choose"}}))
    check_judges(read_test_sets([(mapping, panel[1])]), load_run(run), "choosers")


def test_a_set_of_known_patients_alone_is_refused(toy_runs, panel, tmp_path):
    mapping = tmp_path / "known.json"
    known = [row for row in _read(panel[1] / "panel.csv") if row["Use"]]
    test = set(load_run(toy_runs[0]).predictions("test").patient)
    rows = {"pid": [row["pid"] for row in known if row["pid"] not in test]}
    mapping.write_text(json.dumps({**MAPPING, "rows": rows}))
    options = ExportOptions(checkpoints="best", device="cpu", external=((mapping, panel[1]),))
    with pytest.raises(ExportError, match="panel: none of its 0 films of strangers can be scored"):
        export_runs(toy_runs[:1], tmp_path / "x.onnx", options)
