"""``manifest``, ``predict --manifest``, ``predict --status`` and ``collect`` as a user or a scheduler calls them."""

from __future__ import annotations

import csv
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from xraytransfer.archives.collection import read_status
from xraytransfer.archives.stores import open_store
from xraytransfer.cli.predict import predict

PROGRAM = [sys.executable, "-m", "xraytransfer"]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*PROGRAM, *map(str, arguments)], capture_output=True, text=True, check=False)


def test_from_folders_to_one_file(films: Path, toy_model: Path, tmp_path: Path):
    manifest, scores, output = tmp_path / "films.manifest", tmp_path / "scores", tmp_path / "all.csv"
    assert run("manifest", films, "-o", manifest).returncode == 0
    one = ["predict", "--model", toy_model, "--device", "cpu", "--manifest", manifest, "-o", scores]
    done = run(*one, "--shard", "2/4", "--keep-names")
    assert (done.returncode, done.stderr) == (0, "shard 2/4: 5 scored, 0 refused\n")
    status = run("predict", "--status", scores)
    assert status.returncode == 1
    assert status.stdout.startswith("1 of 4 shards done: 5 of 20 films (25 %)\n3 shards not scored: 1, 3, 4\n")
    refused = run("collect", scores, "-o", output)
    assert refused.returncode == 3
    assert "3 of 4 shards are missing (1, 3, 4)" in refused.stderr
    assert run("collect", scores, "-o", output, "--allow-gaps").returncode == 1
    assert run(*one, "--shards", "4", "--keep-names").returncode == 0
    assert run("predict", "--status", scores).returncode == 0
    done = run("collect", scores, "-o", output, "--manifest", manifest)
    assert (done.returncode, done.stderr) == (0, f"{output}: 20 films: 20 scored\n")
    with output.open(newline="") as file:
        assert [row["film"] for row in csv.DictReader(file)] == [
            *(str(films / f"film-{i:03d}.png") for i in range(0, 20, 3)),
            *(str(films / "a" / f"film-{i:03d}.png") for i in range(1, 20, 3)),
            *(str(films / "b" / f"film-{i:03d}.png") for i in range(2, 20, 3)),
        ]


def test_films_that_may_come_back_are_told_by_exit_code_and_words(films: Path, toy_model: Path, tmp_path: Path):
    (tmp_path / "films.csv").write_text(f"address\n{films / 'film-000.png'}\n{films / 'not-there-yet.png'}\n")
    manifest, scores = tmp_path / "films.manifest", tmp_path / "scores"
    assert run("manifest", tmp_path / "films.csv", "-o", manifest).returncode == 0
    options = ["--model", toy_model, "--device", "cpu", "--manifest", manifest, "-o", scores, "--retries", "0"]

    def predict(*more: str) -> subprocess.CompletedProcess[str]:
        return run("predict", *options, *more)

    first = predict()
    assert first.returncode == 1
    assert first.stderr.splitlines()[-1] == "1 films were not given by their store; try them again with --retry-passing"
    assert "1 shards hold films to be tried again" in run("predict", "--status", scores).stdout
    shutil.copy(films / "film-003.png", films / "not-there-yet.png")
    assert predict().returncode == 1
    assert predict("--retry-passing").returncode == 0


def test_killed_workers_lose_and_double_nothing(films: Path, toy_model: Path, tmp_path: Path):
    manifest, scores, output = tmp_path / "films.manifest", tmp_path / "scores", tmp_path / "all.csv"
    run("manifest", films, "-o", manifest)
    command = [*PROGRAM, "predict", "--model", toy_model, "--device", "cpu", "--shards", "20", "--manifest", manifest]
    for _ in range(2):
        worker = subprocess.Popen([*command, "-o", scores], stderr=subprocess.DEVNULL)
        before = len(list(scores.glob("part-*")))
        deadline = time.monotonic() + 60
        while len(list(scores.glob("part-*"))) < before + 2 and worker.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
    both = [subprocess.Popen([*command, "-o", scores], stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [worker.wait(timeout=120) for worker in both] == [0, 0]
    assert len(read_status(open_store(str(scores))).done) == 20
    assert run("collect", scores, "-o", output, "--manifest", manifest).returncode == 0
    with output.open(newline="") as file:
        names = [row["film"] for row in csv.DictReader(file)]
    assert len(names) == len(set(names)) == 20


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--shard", "5/4"], "expected K/N"),
        (["--shard", "x"], "expected K/N"),
        (["--shard", "1/2", "--shards", "2"], "leave out --shards"),
        (["--sample"], "--sample does not go with --manifest"),
        (["--sr", "folder"], "--sr does not go with --manifest"),
        (["--resume"], "--resume does not go with --manifest"),
        (["--format", "csv"], "--format does not go with --manifest"),
        (["--cpus", "4"], "--cpus goes with --on"),
        (["--memory-gb", "4"], "--memory-gb goes with --on"),
        (["--on", "ray", "--time-limit", "1:00:00"], "--time-limit goes with --on slurm"),
    ],
)
def test_wrong_usage(manifest: Path, arguments: list[str], message: str):
    done = run("predict", "--manifest", manifest, "-o", "scores", *arguments)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    "option",
    [("--shard", "1/2"), ("--readers", "4"), ("--retries", "0"), ("--print",), ("--cpus", "1"), ("--at-once", "2")],
)
def test_options_of_archives_need_a_manifest(option: tuple[str, ...]):
    done = CliRunner().invoke(predict, ["film.dcm", *option])
    assert done.exit_code == 2
    assert f"{option[0]} goes with --manifest" in done.output


def test_manifests_need_a_folder_of_parts():
    done = run("predict", "--manifest", "films.manifest")
    assert done.returncode == 2
    assert "--manifest needs -o FOLDER" in done.stderr


@pytest.mark.parametrize("address", ["s3://bucket/x", "nonsense://bucket/x"])
def test_stores_that_cannot_be_reached_are_named(tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    done = run("manifest", address, "-o", tmp_path / "m")
    assert done.returncode == 3
    assert address in done.stderr
    assert "Traceback" not in done.stderr


def test_a_service_needs_an_extra_of_its_own(tmp_path: Path):
    call = ["manifest", "dicomweb+http://127.0.0.1:9/dicom-web", "-o", str(tmp_path / "films.manifest")]
    absent = "import sys; sys.modules['dicomweb_client'] = None; from xraytransfer.cli.entry import main; "
    done = subprocess.run([sys.executable, "-c", f"{absent}main({call})"], capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "dicomweb_client is not installed" in done.stderr
    assert "pip install 'xraytransfer[serve]'" in done.stderr
