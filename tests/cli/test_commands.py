"""The command line as scripts and people use it."""

from __future__ import annotations

import csv
import errno
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest
from PIL import Image

from xraytransfer.cli.entry import _COMMANDS, cli, main
from xraytransfer.constants import FORMATS
from xraytransfer.errors import RadiographError
from xraytransfer.radiograph import read_radiograph

ROOT = Path(__file__).resolve().parents[2]


def run(*arguments: object, **options: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "xraytransfer", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)  # type: ignore[call-overload]


def commands(group: click.Group, prefix: str = "") -> list[tuple[str, click.Command]]:
    context = click.Context(group)
    found = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        found.append((f"{prefix}{name}", command))
        if isinstance(command, click.Group):
            found += commands(command, f"{prefix}{name} ")
    return found


ALL = commands(cli)


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("films") / "film.png"
    ramp = np.add.outer(np.arange(200), np.arange(180)) % 256
    Image.fromarray(ramp.astype(np.uint8)).save(path)
    return path


@pytest.mark.parametrize(("name", "command"), ALL, ids=[name for name, _ in ALL])
def test_every_command_and_option_has_help(name, command):
    assert command.help, f"{name} says nothing of itself"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{name} {parameter.opts[0]} has no help"


@pytest.mark.parametrize("name", [name for name, command in ALL if not command.hidden])
def test_every_command_stands_in_the_docs(name):
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]
    text = "\n".join(page.read_text("utf-8") for page in pages)
    assert re.search(rf"xraytransfer {name}\b", text), f"`xraytransfer {name}` stands in no page"


@pytest.mark.parametrize(
    ("name", "command"), [(name, command) for name, command in ALL if name in ("predict", "serve")]
)
def test_help_lists_each_option_once_under_a_heading(name, command):
    options = {str(option.name) for option in command.params if isinstance(option, click.Option)} - {"verbose"}
    assert sorted(option for names in command.headings.values() for option in names) == sorted(options)
    text = run(name, "--help").stdout
    headings = [line for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert headings == [*(f"{heading}:" for heading in command.headings), "Options:"]


def test_predict_table(toy_model, film):
    result = run("predict", film, "--model", toy_model)
    assert result.returncode == 0, result.stderr
    assert "Pleural Effusion" in result.stdout
    assert str(film) in result.stdout
    assert "CPUExecutionProvider" in result.stdout or "CUDA" in result.stdout
    assert result.stdout.count("Not a medical device") == 1


def test_predict_standard_input(toy_model, film):
    result = subprocess.run(
        [sys.executable, "-m", "xraytransfer", "predict", "-", "--model", toy_model, "--format", "json"],
        input=film.read_bytes(),
        capture_output=True,
        check=True,
    )
    (row,) = json.loads(result.stdout)["results"]
    assert row["ok"]
    assert row["source"] == "<stdin>"


def test_folder_with_refusals_overlays_and_resume(toy_model, film, tmp_path):
    folder = tmp_path / "in"
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        shutil.copy(film, folder / name / "film.png")
    (folder / "broken.png").write_text("no film")
    out, overlays = tmp_path / "out.csv", tmp_path / "overlays"
    arguments = ["predict", folder, "--model", toy_model, "--format", "csv", "-o", out]
    result = run(*arguments, "--overlay", overlays, "--observation", "edema")
    assert result.returncode == 1
    assert result.stderr.count("refused (unsupported-format)") == 1
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [row["status"] for row in rows] == ["unsupported-format", "ok", "ok"]
    pictures = sorted(overlays.iterdir())
    assert len(pictures) == 2
    for path in pictures:
        with Image.open(path) as picture:
            assert picture.mode == "RGB"

    before = out.read_bytes()
    shutil.copy(film, folder / "c.png")
    result = run(*arguments, "--resume")
    assert result.returncode == 1, "a film that was refused before is still not scored"
    assert "1 scored, 0 refused, 3 there before, 1 of them refused" in result.stderr
    assert out.read_bytes().startswith(before)
    assert len(list(csv.DictReader(out.read_text().splitlines()))) == 4
    assert run(*arguments).returncode == 3

    more = out.read_bytes()
    result = run(*arguments[:2], "--model", "default", *arguments[4:], "--resume")
    assert result.returncode == 3, "another model's results would stand in one file with these"
    assert "another model than default" in result.stderr
    assert out.read_bytes() == more


def test_the_output_files_name_chooses_the_form(toy_model, film, tmp_path):
    for name, beginning in {
        "a.csv": "source,status",
        "a.jsonl": '{"source"',
        "a.json": '{"notice"',
        "a.txt": "Atel",
    }.items():
        assert run("predict", film, "--model", toy_model, "-o", tmp_path / name).returncode == 0
        assert (tmp_path / name).read_text().startswith(beginning)
    unknown = run("predict", film, "--model", toy_model, "-o", tmp_path / "a.xlsx")
    assert (unknown.returncode, "no form is called xlsx" in unknown.stderr) == (2, True)
    assert not (tmp_path / "a.xlsx").exists()
    absent = run("predict", film, "--model", toy_model, "-o", tmp_path / "absent" / "a.csv")
    assert (absent.returncode, f"there is no folder {tmp_path / 'absent'}" in absent.stderr) == (3, True)
    assert run("predict", film, "--model", toy_model, "-o", tmp_path / "a.list", "--format", "csv").returncode == 0
    assert run("predict", film, "--model", toy_model, "--observation", "edema").returncode == 2


def test_exit_codes(toy_model, tmp_path):
    assert run("predict").returncode == 2
    assert run("predict", tmp_path / "none.dcm", "--model", toy_model).returncode == 1
    assert run("predict", tmp_path, "--model", toy_model).returncode == 3
    missing = run("predict", tmp_path, "--model", tmp_path / "none.onnx")
    assert missing.returncode == 3
    assert "no such model file" in missing.stderr
    assert "Traceback" not in missing.stderr
    assert run("nonsense").returncode == 2


def test_interruption_keeps_what_is_done(toy_model, film, tmp_path):
    """A pipe that never ends stands for a long run; results written before Ctrl-C stay readable."""
    for i in range(4000):
        os.link(film, tmp_path / f"{i:05}.png")
    out = tmp_path.parent / "interrupted.jsonl"
    # a shell that starts the tests in the background makes Python ignore Ctrl-C; this process shall not
    code = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from xraytransfer.cli.entry import main; main(sys.argv[1:])"
    )
    arguments = ["predict", tmp_path, "--model", toy_model, "--format", "jsonl", "-o", out]
    process = subprocess.Popen([sys.executable, "-c", code, *arguments], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    # two lines: the signal may meet the last one while it is written, and a half-written line is taken back
    while (not out.exists() or out.read_bytes().count(b"\n") < 2) and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert rows
    assert all(row["ok"] for row in rows)


def test_a_reader_that_leaves_is_no_error(toy_model, film, tmp_path):
    command = f"{sys.executable} -m xraytransfer predict {film} {film} --model {toy_model} --format jsonl | head -c 10"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=False)
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("name", ["-2.dcm", "--first.dcm"])
def test_a_file_that_was_taken_for_an_option_is_named(tmp_path, monkeypatch, capsys, name):
    (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as ended:
        main(["predict", name])
    assert ended.value.code == 2
    assert "was taken for an option: write ./* instead of *, or -- before the files." in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["predict", "--nonsense"])
    assert "write ./*" not in capsys.readouterr().err


def test_models_and_doctor(toy_model):
    shown = run("models", "show", toy_model)
    assert shown.returncode == 0
    assert "toy, version 1" in shown.stdout
    assert json.loads(run("models", "show", toy_model, "--json").stdout)["name"] == "toy"
    assert "answers are right" in run("models", "verify", toy_model).stdout
    page = run("doctor")
    assert "Decoders" in page.stdout
    assert "JPEG 2000" in page.stdout


def test_doctor_compares_a_gpu_with_the_cpu(monkeypatch):
    from xraytransfer import model_file, runtime
    from xraytransfer.cli import doctor

    real = runtime.open_session

    def opened(data, device="auto", threads=None, sizes=()):
        return real(data, "cpu", threads)[0], "CPUExecutionProvider" if device == "cpu" else "CUDAExecutionProvider"

    small = model_file.shipped_models()["default-small"]
    monkeypatch.setattr(model_file, "shipped_models", lambda: {"default-small": small})
    monkeypatch.setattr(runtime, "gpu_problem", lambda: None)
    monkeypatch.setattr(runtime, "open_session", opened)
    lines = doctor._devices()
    assert "--device cpu: works (CPUExecutionProvider)" in lines
    expected = (
        "works (CUDAExecutionProvider); a probability of a film of 2500 x 2048 pixels differs from the CPU's by 0.0"
    )
    assert any(expected in line for line in lines)


def test_missing_extra_names_the_pip_command(tmp_path):
    """A package that is absent from the interpreter, as in a plain installation."""
    code = (
        "import sys, xraytransfer.cli.entry as c\n"
        "class Absent:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('torch', 'matplotlib', 'scipy', 'starlette', 'uvicorn'):\n"
        "            raise ModuleNotFoundError(f'No module named {name}', name=name)\n"
        "sys.meta_path.insert(0, Absent())\n"
        "c.main(['serve'])\n"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert result.returncode == 3
    assert f"run: {sys.executable} -m pip install 'xraytransfer[serve]'" in result.stderr


def test_commands_are_listed_in_order_of_use():
    assert cli.list_commands(click.Context(cli)) == list(_COMMANDS)


def test_what_a_run_writes_is_not_read_by_it(toy_model, film, tmp_path):
    """`predict .` with results, overlays and all in the same folder, twice."""
    shutil.copy(film, tmp_path / "film.png")
    arguments = ["predict", ".", "--model", toy_model, "--format", "csv", "-o", "z.csv", "--overlay", "pictures"]
    for more in ([], ["--resume"], ["--overwrite"]):
        result = run(*arguments, *more, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        (row,) = csv.DictReader((tmp_path / "z.csv").read_text().splitlines())
        assert Path(row["source"]).name == "film.png"
    assert len(list((tmp_path / "pictures").iterdir())) == 6


def test_overlays_asked_for_late_are_named_as_missing(toy_model, film, tmp_path):
    arguments = ["predict", film, "--model", toy_model, "-o", tmp_path / "z.csv"]
    pictures = tmp_path / "pictures"
    assert run(*arguments).returncode == 0
    result = run(*arguments, "--resume", "--overlay", pictures)
    assert f"{pictures}: is empty, and gets nothing of the films that" in result.stderr
    assert "is empty" not in run(*arguments, "--overwrite", "--overlay", pictures).stderr
    assert "is empty" not in run(*arguments, "--resume", "--overlay", pictures).stderr


def test_a_record_is_written_after_all_else_of_its_film(toy_model, film, tmp_path):
    """--resume skips what stands in the file: a film without its overlays must not stand there."""
    out = tmp_path / "out.jsonl"
    (tmp_path / "file").write_text("no folder")
    arguments = ["predict", film, "--model", toy_model, "--format", "jsonl", "-o", out]
    result = run(*arguments, "--overlay", tmp_path / "file" / "pictures")
    assert result.returncode == 3
    assert "overlay cannot be written" in result.stderr
    assert out.read_bytes() == b""


def test_overlays_of_films_with_long_names(toy_model, film, tmp_path):
    long = tmp_path / f"{'é' * 120}.png"
    shutil.copy(film, long)
    result = run("predict", long, "--model", toy_model, "--overlay", tmp_path / "o", "--observation", "edema")
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "o").iterdir())) == 1


def test_a_picture_has_no_dicom_result_and_stops_nothing(toy_model, film, tmp_path):
    pytest.importorskip("highdicom")
    result = run("predict", film, film, "--model", toy_model, "--sr", tmp_path / "sr", "--format", "jsonl")
    assert result.returncode == 1
    assert result.stderr.count("no DICOM result") == 2
    assert len(result.stdout.splitlines()) == 2


def test_refused_standard_input_is_called_by_its_name(toy_model):
    result = run("predict", "-", "--model", toy_model, "--format", "jsonl", input="no film")
    assert result.returncode == 1
    assert json.loads(result.stdout)["source"] == "<stdin>"
    assert result.stderr.count("<stdin>") == 1


def test_folders_that_cannot_be_listed_are_refused(toy_model, film, tmp_path, monkeypatch):
    from xraytransfer.cli.film_list import films

    (tmp_path / "shut").mkdir()
    shutil.copy(film, tmp_path / "film.png")
    scandir = os.scandir

    def guarded(path):
        if os.path.basename(path) == "shut":
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert list(films([str(tmp_path)])) == [str(tmp_path / "film.png"), str(tmp_path / "shut")]
    with pytest.raises(RadiographError, match="a folder that cannot be listed"):
        read_radiograph(tmp_path / "shut")


@pytest.mark.parametrize("more", [["--resume"], ["--resume", "-o", "x"], ["--resume", "--overwrite", "-o", "x"]])
def test_contradicting_options_are_wrong_usage(toy_model, film, tmp_path, more):
    result = run("predict", film, "--model", toy_model, *more, cwd=tmp_path)
    assert result.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_no_films_leave_a_whole_document(toy_model, tmp_path):
    (tmp_path / "empty").mkdir()
    result = run("predict", tmp_path / "empty", "--model", toy_model, "--format", "json")
    assert result.returncode == 3
    assert json.loads(result.stdout)["results"] == []


@pytest.mark.parametrize("form", FORMATS)
def test_no_films_leave_no_file(toy_model, tmp_path, form):
    if form == "parquet":
        pytest.importorskip("pyarrow")
    (tmp_path / "empty").mkdir()
    result = run("predict", "empty", "--model", toy_model, "--format", form, "-o", "out", cwd=tmp_path)
    assert result.returncode == 3
    assert result.stderr == "error: empty: no DICOM, PNG or JPEG film in it, nor in the folders below\n"
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_a_dash_as_output_is_standard_output(toy_model, film, tmp_path):
    result = run("predict", film, "--model", toy_model, "--format", "csv", "-o", "-", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == 2
    assert list(tmp_path.iterdir()) == []
    wrong = run("predict", "--manifest", "m", "--model", toy_model, "-o", "-", cwd=tmp_path)
    assert wrong.returncode == 2
    assert "--manifest needs -o FOLDER" in wrong.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize(
    "arguments", [["predict", "FILM"], ["predict", "FILM", "--format", "json"], ["models", "show"]]
)
def test_a_full_disk_under_standard_output(toy_model, film, arguments):
    command = [sys.executable, "-m", "xraytransfer", *arguments]
    command = [str(film) if word == "FILM" else word for word in command]
    command += [str(toy_model)] if "show" in command else ["--model", str(toy_model)]
    with open("/dev/full", "wb") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert result.returncode == 3
    assert "No space left on device" in result.stderr
    assert "Traceback" not in result.stderr


def test_a_card_of_another_file_is_not_shown(toy_model, tmp_path):
    model = Path(shutil.copy(toy_model, tmp_path))
    for ending in (".md", ".html"):
        model.with_suffix(ending).write_text("a card that names another checksum")
    shown = run("models", "show", str(model)).stdout
    assert "a card that names" not in shown
    assert "is the card of another model file" in shown
    page = run("models", "show", str(model), "--html")
    assert (page.returncode, page.stdout) == (3, "")
    assert "is the card of another model file" in page.stderr


def test_show_refuses_two_formats_a_folder_and_an_empty_file(tmp_path):
    assert run("models", "show", "default", "--json", "--html").returncode == 2
    assert "a folder" in run("models", "show", str(tmp_path)).stderr
    (tmp_path / "empty.onnx").touch()
    assert "an empty file" in run("models", "show", str(tmp_path / "empty.onnx")).stderr


def test_the_card_comes_as_text_page_and_metadata(toy_model, tmp_path):
    assert run("models", "show", "default", "--html").stdout.startswith("<!doctype html>")
    assert run("models", "show", "default").stdout.startswith("# Model card: default")
    assert json.loads(run("models", "show", "default", "--json").stdout)["name"] == "default"
    alone = shutil.copy(toy_model, tmp_path)  # other tests write cards beside the one they share
    without = run("models", "show", alone, "--html")
    assert without.returncode == 3
    assert "toy.html: no such file" in without.stderr
