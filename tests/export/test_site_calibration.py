"""A site's own calibration: new numbers and thresholds, the same networks, clear refusals."""

from __future__ import annotations

import csv
import json
import subprocess
import sys

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

import xraytransfer
from marked_films import FILMS, MARK, MARK_UID, film
from xraytransfer.errors import ExportError
from xraytransfer.export.checks.metrics_check import verify_metrics
from xraytransfer.export.cli import calibrate
from xraytransfer.export.exporter import export_runs
from xraytransfer.export.options import ExportOptions
from xraytransfer.export.site_calibration import calibrate_site
from xraytransfer.export.site_films import read_site_films
from xraytransfer.model_file import describe, read
from xraytransfer.model_summary import verified
from xraytransfer.runtime import open_session


@pytest.fixture(scope="module")
def model(toy_runs, tmp_path_factory, remembered_traces):
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    export_runs(toy_runs[:1], path, ExportOptions(checkpoints="best", device="cpu", calibration="none"))
    return path


@pytest.fixture(scope="module")
def table(toy_runs, tmp_path_factory):
    """Write a site's table: two observations, one of them with too few positives."""
    films = sorted((toy_runs[0].parents[1] / "films" / "images").glob("*.png"))[:120]
    path = tmp_path_factory.mktemp("site") / "site.csv"
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "patient", "Cardiomegaly", "edema"])
        for index, film in enumerate(films):
            writer.writerow([film, index // 2, "1" if index % 3 == 0 else "0", "1" if index < 3 else ""])
        writer.writerow(["absent.png", "x", "1", ""])
    return path


def test_copy_holds_the_sites_numbers(model, table, tmp_path):
    out, said = tmp_path / "site.onnx", []
    calibrate_site(model, table, out, method="platt", name="our-hospital", device="cpu", log=said.append)
    before, after = describe(model), describe(out)
    assert (before.name, after.name) == ("default", "our-hospital")
    assert after.sha256 != before.sha256
    assert after.version == f"{before.version}+site.{after.sha256[:8]}"
    assert any(f"{after.version}, checksum of the model {after.sha256}" in line for line in said)
    assert after.document["calibrated_from"]["graph_sha256"] == before.graph_sha256
    assert "site.csv: 120 films of 60 patients" in after.document["calibration"]["data"]
    assert any("absent.png" in line for line in said)
    assert (tmp_path / "site.md").is_file()
    calibrate_site(out, table, tmp_path / "again.onnx", method="platt", device="cpu")
    assert describe(tmp_path / "again.onnx").version.count("+site.") == 1
    calibrate_site(model, table, tmp_path / "named.onnx", version="2027", device="cpu")
    assert describe(tmp_path / "named.onnx").version == "2027"
    assert "self-test: " in verified(out, "cpu")
    test = describe(out).self_test
    assert test.difference(open_session(out, "cpu")[0]) <= 1e-6
    assert test.difference(open_session(model, "cpu")[0]) > 1e-3  # it is the copy's, not the original's
    a, before_a = (d.document["calibration"]["parameters"]["a"] for d in (after, before))
    assert a[1] != before_a[1]
    assert [a[i] for i in (0, 2, 3, 4, 5)] == [1.0] * 5
    fresh = {row["observation"] for row in after.operating_points if "site.csv" in row["data"]}
    assert fresh == {"cardiomegaly"}
    assert len(after.operating_points) == len(before.operating_points)
    with pytest.raises(ExportError, match="calibrated on a site's films, which it does not carry"):
        verify_metrics(out, device="cpu")


def test_members_answer_as_before_and_probability_is_the_new_curve(model, table, tmp_path):
    out = tmp_path / "site.onnx"
    calibrate_site(model, table, out, method="platt", device="cpu")
    film = read_site_films(table).path[0]
    old, new = (xraytransfer.load(path, device="cpu").predict(film) for path in (model, out))
    np.testing.assert_array_equal(old.raw_member_probability, new.raw_member_probability)
    assert old.member_probability[0, 1] != new.member_probability[0, 1]  # members go through the new curve too
    assert old.probability[1] != new.probability[1]
    np.testing.assert_allclose(np.delete(old.probability, 1), np.delete(new.probability, 1), atol=1e-6)
    read(out, verify=True)


def test_command(model, table, tmp_path):
    options = [str(model), str(table), "-o", str(tmp_path / "site.onnx"), "--device", "cpu", "--calibration", "platt"]
    done = CliRunner().invoke(calibrate, options)
    assert done.exit_code == 0, done.output
    assert "thresholds of cardiomegaly found on 120 films" in done.output
    assert "left as they were (fewer than 5 films with or without): edema\n" in done.output
    absent = "atelectasis, consolidation, no_finding, pleural_effusion"
    assert f"left as they were (the table has no column): {absent}\n" in done.output
    row = next(line for line in done.output.splitlines() if line.startswith("cardiomegaly "))
    films, with_it, _, now, _, new_threshold, changed = row.split()[1:]
    assert (films, with_it) == ("120", "40")
    copy = describe(tmp_path / "site.onnx")
    found = {r["observation"]: r["threshold"] for r in copy.operating_points if r["name"] == "youden"}
    assert new_threshold == f"{found['cardiomegaly']:.3f}"
    assert float(now) == pytest.approx(1 / 3, abs=0.05)  # a calibrated mean is near the share of films with it
    assert changed.endswith("%")
    assert "few films, under 50: cardiomegaly (40 with it)." in done.output
    assert "not used" not in done.output
    assert "no column patient" not in done.output
    again = CliRunner().invoke(calibrate, options)
    assert isinstance(again.exception, ExportError)


def test_a_default_whose_thresholds_were_all_found_anew_gives_way_to_ours(model, table, tmp_path):
    graph = onnx.load(model)
    (entry,) = (entry for entry in graph.metadata_props if entry.key == "xraytransfer")
    document = json.loads(entry.value)
    document["operating_points"] = [{"name": "ward", "observation": "cardiomegaly", "threshold": 0.5}]
    entry.value = json.dumps({**document, "default_operating_point": "ward"})
    onnx.save(graph, tmp_path / "ward.onnx")
    calibrate_site(tmp_path / "ward.onnx", table, tmp_path / "site.onnx", method="platt", device="cpu")
    assert describe(tmp_path / "site.onnx").thresholds()[1] is not None


def test_columns_that_are_not_read_are_named_and_films_without_patients_counted_as_such(model, table, tmp_path):
    header, *rows = table.read_text("utf-8").splitlines()
    assert header == "path,patient,Cardiomegaly,edema"
    (tmp_path / "site.csv").write_text("\n".join(["path,pid,Cardiomegaly,Oedema", *rows[:60]]), "utf-8")
    said: list[str] = []
    calibrate_site(model, tmp_path / "site.csv", tmp_path / "site.onnx", method="platt", device="cpu", log=said.append)
    assert said[0] == "site.csv: columns that are not used: 'pid', 'Oedema' (did you mean edema?)"
    assert "no column patient, so each film counts as a patient of its own" in said[1]
    assert said[-1].startswith("left as they were (the table has no column): atelectasis, consolidation, edema")
    assert "fewer than 5" not in "\n".join(said)
    data = describe(tmp_path / "site.onnx").document["calibration"]["data"]
    assert data == "site.csv: 60 films, each counted as a patient of its own"


def test_the_card_names_the_table_whose_labels_judged_the_copy(model, table, tmp_path):
    calibrate_site(model, table, tmp_path / "site.onnx", method="platt", device="cpu", log=lambda line: None)
    lines = [line for line in (tmp_path / "site.md").read_text("utf-8").splitlines() if line.startswith("Against ")]
    assert any(line.startswith(f"Against the labels in {table.name}: macro AUROC") for line in lines)
    assert all(line.count(" films of ") <= 1 for line in lines)


def test_many_columns_that_are_not_read_are_counted(model, table, tmp_path):
    header, *rows = table.read_text("utf-8").splitlines()
    more = "".join(f",other_{index}" for index in range(30))
    (tmp_path / "site.csv").write_text("\n".join([header + more, *(row + "," * 30 for row in rows[:20])]), "utf-8")
    said: list[str] = []
    calibrate_site(model, tmp_path / "site.csv", tmp_path / "site.onnx", method="platt", device="cpu", log=said.append)
    assert said[0].endswith("'other_9' and 20 more")


def test_no_torch_is_needed_and_a_missing_package_says_the_command(model, table, tmp_path):
    script = """
import json, sys
from click.testing import CliRunner
blocked, arguments = map(json.loads, sys.argv[1:])
for name in blocked:
    sys.modules[name] = None
from xraytransfer.cli.entry import cli
result = CliRunner().invoke(cli, ["calibrate", *arguments])
print(result.output, result.exception)
"""
    arguments = json.dumps([str(model), str(table), "-o", str(tmp_path / "site.onnx"), "--device", "cpu"])

    def run(*blocked):
        command = [sys.executable, "-c", script, json.dumps(blocked), arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert f"scipy is not installed; run: {sys.executable} -m pip install 'xraytransfer[calibrate]'" in run("scipy")
    assert "thresholds of cardiomegaly found on 120 films" in run("torch", "torchvision", "timm", "onnxscript")


@pytest.mark.filterwarnings("ignore::UserWarning")  # this test's own writing of the films
def test_nothing_of_the_films_reaches_the_terminal_or_the_card(model, tmp_path):
    """As `tests/serve/test_film_privacy.py` does it; a refused film's message may quote what it is refused for."""
    lines = ["path,patient,edema"]
    for index in range(10):
        for number, options in enumerate(FILMS.values()):
            path = tmp_path / f"{index}-{number}.dcm"
            path.write_bytes(film(**{**options, "step": 20 + 3 * index}))
            lines.append(f"{path.name},{index},{index % 2}")
    (tmp_path / "site.csv").write_text("\n".join(lines))
    command = [sys.executable, "-m", "xraytransfer", "calibrate", str(model), str(tmp_path / "site.csv")]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "site.onnx"), "--device", "cpu"], capture_output=True, text=True, check=False
    )
    shown = done.stdout + done.stderr
    assert done.returncode == 0, shown
    assert done.stderr == ""
    assert MARK_UID not in shown
    assert "forged" not in shown
    kept = [line for line in shown.splitlines() if not line.startswith("refused: ")]
    assert [line for line in kept if MARK in line] == []
    assert len(kept) == 7  # two lines of the copy, a table of three, few films, what was left as it was
    for written in ("site.onnx", "site.md", "site.html"):
        assert MARK.encode() not in (tmp_path / written).read_bytes()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "expected are a column path .* has no rows"),
        ("file,edema\na.png,1\n", "expected are a column path"),
        ("path,oedema\na.png,1\n", r"at least one of atelectasis.* has path, oedema \(did you mean edema\?\)"),
        ("Path,edema\na.png,1\n", r"it has Path \(did you mean path\?\), edema"),
        ("path,edema,Edema\na.png,1,0\n", "has two columns for edema"),
        ("path,edema,edema\na.png,1,0\n", "has two columns 'edema'"),
        ("path,edema\na.png,yes\n", "line 2, edema: 'yes' is no label"),
        ("path,edema\na.png,-1\n", "line 2, edema: '-1' is no label"),
        ("path,edema\na.png,1\n", "none of the 1 films could be scored"),
        ("path,edema\na.png,1\nb.png,0\n./a.png,0\n", r"line 4: \./a\.png stands in line 2 too"),
        ("path,edema,Edema\na.png,1,0\n", "two columns for edema"),
        ("path,edema\na.png,1\nb.p", "line 3: has 1 cells, the header has 2"),
        ("path,edema\n,1\n", "line 2: no path"),
    ],
)
def test_bad_tables(model, tmp_path, text, why):
    (tmp_path / "site.csv").write_text(text)
    with pytest.raises(ExportError, match=why):
        calibrate_site(model, tmp_path / "site.csv", tmp_path / "site.onnx", device="cpu")
    assert not (tmp_path / "site.onnx").exists()


def test_many_refusals_are_counted_not_listed(model, tmp_path):
    (tmp_path / "site.csv").write_text(
        "path,patient,edema\n" + "".join(f"{index}.png,{index},1\n" for index in range(50))
    )
    said = []
    with pytest.raises(ExportError, match=r"none of the 50 films .* begins at the table's own folder"):
        calibrate_site(model, tmp_path / "site.csv", tmp_path / "site.onnx", device="cpu", log=said.append)
    assert len(said) == 11
    assert said[0].count("0.png") == 1
    assert said[-1] == "refused: 40 more"


def test_too_few_films_of_a_class(model, toy_runs, tmp_path):
    film = next((toy_runs[0].parents[1] / "films" / "images").glob("*.png"))
    (tmp_path / "site.csv").write_text(f"path,edema\n{film},1\n")
    with pytest.raises(ExportError, match="no observation has 5 films with it and 5 without"):
        calibrate_site(model, tmp_path / "site.csv", tmp_path / "site.onnx", device="cpu")


def test_a_model_without_our_calibration_is_refused(toy_model, table, tmp_path):
    with pytest.raises(ExportError, match="was not written by xraytransfer export"):
        calibrate_site(toy_model, table, tmp_path / "site.onnx", device="cpu")


def test_a_patient_who_is_written_in_several_ways_is_one(tmp_path):
    (tmp_path / "site.csv").write_text(
        "path,edema,patient\na.png,1,P7\nb.png,0, p7\nc.png,0,8\nd.png,0,008\ne.png,0,\n"
    )
    patients = list(read_site_films(tmp_path / "site.csv").patient)
    assert patients == ["p7", "p7", "8", "8", str(tmp_path / "e.png")]


def test_bytes_that_are_no_text(tmp_path):
    (tmp_path / "site.csv").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(ExportError, match="is no CSV file in UTF-8"):
        read_site_films(tmp_path / "site.csv")
