"""Files of results: nothing written is lost, nothing is written twice."""

from __future__ import annotations

import csv
import errno
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from xraytransfer.cli import results_file
from xraytransfer.cli.film_version import film_version
from xraytransfer.cli.parquet_results import open_results
from xraytransfer.cli.result_forms import COLUMNS, name_on_disk
from xraytransfer.cli.results_file import ResultsFile
from xraytransfer.errors import OutputError
from xraytransfer.prediction import ModelIdentity, Prediction, Refusal
from xraytransfer.quality_gate import QualityGateResult


def prediction(source: str = "a.dcm") -> Prediction:
    members = np.array([[0.1, 0.2, 0.3, 0.4, 0.5, 0.6], [0.3, 0.2, 0.1, 0.4, 0.7, 0.6]], np.float32)
    return Prediction(
        source=source,
        probability=members.mean(0),
        member_probability=members,
        activation_map=np.zeros((6, 2, 2), np.float32),
        thresholds=(0.2, None, 0.2, 0.2, 0.2, 0.7),
        operating_point="youden",
        radiograph={"view_position": "PA"},
        model=ModelIdentity("toy", "1", "0" * 64),
        provider="CPUExecutionProvider",
        raw_member_probability=members,
    )


REFUSAL = Refusal("b.txt", "unsupported-format", "b.txt: neither DICOM,\nPNG nor JPEG")


def test_prediction_fields():
    document = prediction().to_dict()
    assert [row["decision"] for row in document["observations"]] == [True, None, True, True, True, False]
    assert document["observations"][0]["spread"] == pytest.approx(0.1, abs=1e-6)
    assert document["observations"][0]["raw_probability"] == pytest.approx(0.2, abs=1e-6)
    assert json.loads(json.dumps(document)) == document


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "csv"])
def test_every_form_says_that_a_film_was_refused_and_scored_all_the_same(tmp_path, form):
    refused = QualityGateResult(False, "sideways", "it lies on its side", {"upright": 0.1, "sideways": 0.9}, 1.0)
    accepted = QualityGateResult(True, None, None, {"upright": 1.0}, 1.0)
    texts = []
    for acceptance in (refused, accepted, None):
        path = tmp_path / f"{form}-{len(texts)}"
        with ResultsFile(path, form) as results:
            results.write(replace(prediction(), acceptance=acceptance))
        texts.append(path.read_text())
    word = {"table": "refused by the model's quality gate", "csv": "quality gate refused this film (sideways)"}
    told = [word.get(form, '"accepted": false') in text for text in texts]
    assert told == [True, False, False]


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_every_form_holds_both_kinds_in_order(tmp_path, form):
    path = tmp_path / "out"
    with ResultsFile(path, form) as results:
        results.write(prediction())
        results.write(REFUSAL)
    text = path.read_text()
    if form == "json":
        document = json.loads(text)
        rows = [row["source"] for row in document["results"]]
        assert text.count("research") == 1
    elif form == "jsonl":
        rows = [json.loads(line)["source"] for line in text.splitlines()]
    else:
        table = list(csv.DictReader(text.splitlines()))
        rows = [row["source"] for row in table]
        assert table[0]["atelectasis"] == "0.200000"
        assert table[1]["status"] == "unsupported-format"
    assert rows == ["a.dcm", "b.txt"]


def test_an_interrupted_json_document_is_still_a_document(tmp_path):
    path = tmp_path / "out.json"
    with pytest.raises(KeyboardInterrupt), ResultsFile(path, "json") as results:  # noqa: PT012
        results.write(prediction())
        raise KeyboardInterrupt
    assert len(json.loads(path.read_text())["results"]) == 1


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_resume_cuts_a_half_written_line_and_skips_the_rest(tmp_path, form):
    path = tmp_path / "out"
    with ResultsFile(path, form) as results:
        results.write(prediction("a.dcm"))
        results.write(prediction("né,\n.dcm"))
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])
    with ResultsFile(path, form, resume=True) as results:
        assert results.done == {"a.dcm"}
        results.write(prediction("né,\n.dcm"))
    assert path.read_bytes() == whole


def test_existing_files_are_not_overwritten_unasked(tmp_path):
    path = tmp_path / "out"
    path.write_text("precious\n")
    with pytest.raises(OutputError, match="exists already"):
        ResultsFile(path, "csv")
    for form in ("csv", "jsonl"):
        with pytest.raises(OutputError, match="cannot be resumed"):
            ResultsFile(path, form, resume=True)
    assert path.read_text() == "precious\n"
    with ResultsFile(path, "csv", overwrite=True) as results:
        results.write(REFUSAL)
    assert path.read_text().startswith("source,status,")


def test_two_writers_on_one_file(tmp_path):
    path = tmp_path / "out"
    with ResultsFile(path, "jsonl"), pytest.raises(OutputError, match="another process"):
        ResultsFile(path, "jsonl", overwrite=True)


def test_resume_needs_a_file_and_a_form_of_lines(tmp_path):
    with pytest.raises(OutputError, match="--resume needs"):
        ResultsFile(tmp_path / "x", "json", resume=True)
    with pytest.raises(OutputError, match="--resume needs"):
        ResultsFile(None, "csv", resume=True)


def test_full_disk_keeps_what_was_written(tmp_path):
    """A stream that takes half a line and then is full, as a disk does."""
    path = tmp_path / "out.jsonl"
    results = ResultsFile(path, "jsonl")
    results.write(prediction("a.dcm"))
    kept = path.read_bytes()
    stream = results._stream

    class Full:
        calls = 0

        def __getattr__(self, name):
            return getattr(stream, name)

        def write(self, data):
            self.calls += 1
            if self.calls > 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            return stream.write(data[:30])

    results._stream = Full()
    with pytest.raises(OutputError, match=r"No space left on device after 1 results, which are kept.*--resume"):
        results.write(prediction("b.dcm"))
    stream.close()
    assert path.read_bytes() == kept


def test_table_holds_scored_films(tmp_path):
    path = tmp_path / "table.txt"
    with ResultsFile(path, "table") as results:
        results.write(prediction("film.dcm"))
        results.write(REFUSAL)
        results.note("end")
    lines = path.read_text().splitlines()
    assert len(lines) == 3
    assert "Pleural Effusion" in lines[0]
    assert "0.200*" in lines[1]
    assert lines[1].endswith("film.dcm")


def test_resume_never_empties_a_file_of_another_kind(tmp_path):
    """One line without an end could be a half-written result: only if it begins like one."""
    path = tmp_path / "out"
    for form in ("csv", "jsonl"):
        path.write_text("precious, in one line")
        with pytest.raises(OutputError, match="cannot be resumed"):
            ResultsFile(path, form, resume=True)
        assert path.read_text() == "precious, in one line"
    for form, begun in (("csv", "source,sta"), ("jsonl", '{"source": "a.dc'), ("jsonl", '{"so')):
        path.write_text(begun)
        with ResultsFile(path, form, resume=True) as results:
            assert results.done == set()
            results.write(prediction())
        assert "a.dcm" in path.read_text()


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_resume_knows_every_name_again(tmp_path, form):
    path = tmp_path / "out"
    names = ["two\nlines.dcm", 'comma, quote".dcm', "caf\udce9.dcm", "r\r.dcm", "\u2028.dcm"]
    with ResultsFile(path, form) as results:
        for name in names:
            results.write(prediction(name))
    with ResultsFile(path, form, resume=True) as results:
        assert [results.holds(name) for name in names] == [True] * len(names)
        assert not results.holds("other.dcm")


_ODD_NAMES = [
    os.fsdecode(b"caf\xe9.png"),
    "two\nlines.png",
    "=cmd|' calc'!A0.png",
    "+1.png",
    "-1.png",
    "@x.png",
    "\t=1.png",
]


@pytest.mark.skipif(os.name == "nt", reason="names that Windows does not allow")
@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_every_reader_takes_names_that_are_no_text_and_no_cell_is_a_formula(tmp_path, form):
    path = tmp_path / "out"
    with ResultsFile(path, form) as results:
        for name in _ODD_NAMES:
            results.write(prediction(name))
            results.write(Refusal(name, "corrupt", f"{name}: damaged", radiograph={"source": name}))
    text = path.read_bytes().decode("utf-8")
    if form == "csv":
        rows = list(csv.reader(text.splitlines()))
        assert all(len(row) == len(COLUMNS) for row in rows)
        assert not [cell for row in rows for cell in row if cell.startswith(("=", "+", "-", "@", "\t"))]
    else:
        records = json.loads(text)["results"] if form == "json" else [json.loads(line) for line in text.splitlines()]
        assert json.dumps(records, ensure_ascii=False).encode("utf-8")
    assert r"caf\xe9.png" in text.replace(r"\\", "\\")


@pytest.mark.skipif(os.name == "nt", reason="names that Windows does not allow")
@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_changed_film_of_an_odd_name_is_scored_again(tmp_path, monkeypatch, form):
    monkeypatch.chdir(tmp_path)
    names = [name for name in _ODD_NAMES if form == "csv" or name.isprintable() or not name.isascii()]
    with ResultsFile(Path("results"), form) as results:
        for name in names:
            Path(name).write_bytes(b"film")
            results.write(prediction(name), film_version(name))
    with ResultsFile(Path("results"), form, resume=True) as results:
        assert all(results.holds(name) for name in names)
    for name in names:
        Path(name).write_bytes(b"another film")
    with ResultsFile(Path("results"), form, resume=True) as results:
        assert not results.done


@pytest.mark.parametrize("form", ["json", "jsonl", "csv"])
def test_half_a_character_in_a_name_is_escaped(tmp_path, form):
    path = tmp_path / "out"
    with ResultsFile(path, form) as results:
        results.write(prediction("half\ud800.dcm"))
    assert r"half\ud800.dcm" in path.read_bytes().decode("utf-8").replace(r"\\", "\\")
    if form != "json":
        with ResultsFile(path, form, resume=True) as results:
            assert results.holds("half\ud800.dcm")


def test_windows_paths_that_look_like_escapes_are_names(monkeypatch):
    # where the file system's names are UTF-16, single bytes cannot be decoded
    monkeypatch.setattr(os, "fsdecode", lambda name: name.decode("utf-8", "surrogatepass"))
    assert name_on_disk(r"D:\xfer\a.dcm") == "D:\udcfer\\a.dcm"


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_names_that_earlier_versions_wrote_as_bytes_are_known_again(tmp_path, form):
    path = tmp_path / "out"
    with ResultsFile(path, form) as results:
        results.write(prediction("NAME.dcm"))
    old = {"csv": b"caf\xe9", "jsonl": rb"caf\udce9"}[form]
    path.write_bytes(path.read_bytes().replace(b"NAME", old))
    with ResultsFile(path, form, resume=True) as results:
        assert results.holds("caf\udce9.dcm")


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_damaged_line_is_named(tmp_path, form):
    path = tmp_path / "out"
    with ResultsFile(path, form) as results:
        for name in ("a.dcm", "b.dcm", "c.dcm"):
            results.write(prediction(name))
    lines = path.read_bytes().splitlines(keepends=True)
    lines[-2] = bytes(len(lines[-2]) - 1) + b"\n"  # what a power cut may leave
    path.write_bytes(b"".join(lines))
    with pytest.raises(OutputError, match=f"line {len(lines) - 1} is none of a {form} file of results"):
        ResultsFile(path, form, resume=True)


def test_a_pipe_or_device_is_refused(tmp_path):
    for form in ("csv", "table"):
        with pytest.raises(OutputError, match="no regular file"):
            ResultsFile(Path(os.devnull), form)


def test_an_interruption_inside_a_line_leaves_whole_lines(tmp_path):
    path = tmp_path / "out.json"
    results = ResultsFile(path, "json")
    results.write(prediction("a.dcm"))
    stream = results._stream

    class Interrupted:
        calls = 0

        def __getattr__(self, name):
            return getattr(stream, name)

        def write(self, data):
            self.calls += 1
            if self.calls == 2:
                raise KeyboardInterrupt
            return stream.write(data[:30] if self.calls == 1 else data)

    results._stream = Interrupted()
    with pytest.raises(KeyboardInterrupt), results:
        results.write(prediction("b.dcm"))
    assert [row["source"] for row in json.loads(path.read_text())["results"]] == ["a.dcm"]


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_resume_scores_again_what_may_have_passed_or_has_changed(tmp_path, form):
    films = [tmp_path / f"{name}.png" for name in ("same", "changed", "gone")]
    path = tmp_path / "results"
    with ResultsFile(path, form) as results:
        for film in films:
            film.write_bytes(b"film")
            results.write(prediction(str(film)), film_version(str(film)))
        results.write(Refusal("lost.dcm", "unavailable", "lost.dcm: the store does not answer"))
        results.write(REFUSAL)
    films[1].write_bytes(b"another film")
    films[2].unlink()
    with ResultsFile(path, form, resume=True) as results:
        assert results.done == {str(films[0]), str(films[2]), "b.txt"}
        assert results.refused_before == 1
        results.write(prediction(str(films[1])), film_version(str(films[1])))
    with ResultsFile(path, form, resume=True) as results:
        assert results.done == {*map(str, films), "b.txt"}
    assert path.read_text().count("changed.png") == 1
    assert "lost.dcm" not in path.read_text()


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_resume_scores_again_what_an_option_overrules(tmp_path, form):
    path = tmp_path / "results"
    with ResultsFile(path, form) as results:
        results.write(Refusal("turned.dcm", "sideways", "turned.dcm: lies on its side"))
        results.write(Refusal("ct.dcm", "not-a-radiograph", "ct.dcm: Modality is CT"))
    with ResultsFile(path, form, resume=True, again={"sideways"}) as results:
        assert results.done == {"ct.dcm"}
        results.write(prediction("turned.dcm"))
    with ResultsFile(path, form, resume=True, again={"sideways"}) as results:
        assert results.done == {"ct.dcm", "turned.dcm"}
    assert path.read_text().count("turned.dcm") == 1


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="lists no open files")
@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_file_is_written_anew_where_open_files_cannot_be_replaced_nor_locked_ones_read(tmp_path, monkeypatch, form):
    """Windows does neither: what a test here can see of that is which files are open at the time."""
    path = tmp_path / "results"
    with ResultsFile(path, form) as results:
        results.write(Refusal("lost.dcm", "unavailable", "lost.dcm: the store does not answer"))
        results.write(prediction("kept.dcm"))
    replace_file, open_file = Path.replace, Path.open

    def replace_closed(self, target):
        assert str(target) not in [os.path.realpath(entry) for entry in Path("/proc/self/fd").iterdir()]
        return replace_file(self, target)

    def open_another(self, *arguments, **options):
        assert self != path, "is locked"
        return open_file(self, *arguments, **options)

    monkeypatch.setattr(results_file, "_OPEN_FILES_STAY", True)
    monkeypatch.setattr(Path, "replace", replace_closed)
    monkeypatch.setattr(Path, "open", open_another)
    with ResultsFile(path, form, resume=True) as results:
        assert results.done == {"kept.dcm"}
        results.write(prediction("lost.dcm"))
    with ResultsFile(path, form, resume=True) as results:
        assert results.done == {"kept.dcm", "lost.dcm"}


@pytest.mark.skipif(os.name == "nt", reason="open files cannot be replaced there")
@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_file_that_another_process_replaces_while_it_is_opened_is_not_written(tmp_path, monkeypatch, form):
    path = tmp_path / "results"
    with ResultsFile(path, form) as results:
        results.write(Refusal("lost.dcm", "unavailable", "lost.dcm: the store does not answer"))
    opened = results_file._open

    def slow(place):
        stream = opened(place)
        monkeypatch.setattr(results_file, "_open", opened)
        with ResultsFile(path, form, resume=True) as other:  # writes the file anew, without the line
            other.write(prediction("other.dcm"))
        return stream

    monkeypatch.setattr(results_file, "_open", slow)
    with pytest.raises(OutputError, match="another process is writing to it"):
        ResultsFile(path, form, resume=True)
    assert "other.dcm" in path.read_text()


@pytest.mark.skipif(os.name == "nt", reason="open files cannot be removed there")
def test_a_file_without_results_is_removed_while_it_is_locked(tmp_path, monkeypatch):
    path = tmp_path / "results"
    removed = []
    unlink = Path.unlink

    def locked_unlink(self, missing_ok=False):
        with pytest.raises(OutputError, match="another process"), path.open("rb+", buffering=0) as other:
            results_file.lock_results(other, path)
        removed.append(self)
        unlink(self, missing_ok=missing_ok)

    monkeypatch.setattr(Path, "unlink", locked_unlink)
    with ResultsFile(path, "csv") as results:
        results.discard()
    assert removed == [path]
    assert not path.exists()


def test_parquet_has_one_writer(tmp_path):
    pytest.importorskip("pyarrow.parquet", reason="pip install 'xraytransfer[parquet]'")
    path = tmp_path / "r.parquet"
    with open_results(path, "parquet", False, False) as results:
        with pytest.raises(OutputError, match="another process is writing to it"):
            open_results(path, "parquet", False, True)
        results.write(prediction())
    with open_results(path, "parquet", False, True) as results:
        results.write(prediction())
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_run_left_of_a_parquet_file_does_not_stay(tmp_path):
    pytest.importorskip("pyarrow.parquet", reason="pip install 'xraytransfer[parquet]'")
    path = tmp_path / "r.parquet"
    program = (
        "import os, sys; from pathlib import Path; from xraytransfer.cli.parquet_results import open_results; "
        "open_results(Path(sys.argv[1]), 'parquet', False, False); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False, timeout=60).returncode == 9
    assert not path.exists()
    with open_results(path, "parquet", False, False) as results:
        results.write(prediction())
    assert list(tmp_path.iterdir()) == [path]


def test_parquet_holds_names_that_are_no_text(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pip install 'xraytransfer[parquet]'")
    name = os.fsdecode(b"caf\xe9.png")
    with open_results(tmp_path / "r.parquet", "parquet", False, False) as results:
        results.write(replace(prediction(), source=name))
        results.write(replace(REFUSAL, source=name, message=f"{name}: no film"))
    rows = parquet.read_table(tmp_path / "r.parquet").to_pylist()
    assert [row["film"] for row in rows] == [r"caf\xe9.png"] * 2
    assert rows[1]["message"] == r"caf\xe9.png: no film"


def test_parquet_holds_what_csv_holds(tmp_path):
    parquet = pytest.importorskip("pyarrow.parquet", reason="pip install 'xraytransfer[parquet]'")
    with open_results(tmp_path / "r.csv", "csv", False, False) as results:
        results.write(prediction())
        results.write(REFUSAL)
    with open_results(tmp_path / "r.parquet", "parquet", False, False) as results:
        results.write(prediction())
        results.write(REFUSAL)
    with (tmp_path / "r.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    rows = parquet.read_table(tmp_path / "r.parquet").to_pylist()
    assert [row["film"] for row in rows] == [line["source"] for line in lines]
    assert [row["status"] for row in rows] == [line["status"] for line in lines] == ["ok", "unsupported-format"]
    assert float(lines[0]["edema"]) == pytest.approx(rows[0]["edema"], abs=1e-6)
    assert rows[0]["cardiomegaly_decision"] is None
    assert rows[1]["message"] == lines[1]["message"]
    with pytest.raises(OutputError, match="exists already"):
        open_results(tmp_path / "r.parquet", "parquet", False, False)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
