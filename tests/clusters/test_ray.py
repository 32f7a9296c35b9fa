"""Ray: an archive as tasks of a cluster on loopback, through lost nodes, workers and drivers."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

pytest.importorskip("ray", reason="pip install 'xraytransfer[cluster]'")
pytest.importorskip("pyarrow", reason="pip install 'xraytransfer[parquet]'")

pytestmark = pytest.mark.peer


@pytest.fixture
def command(manifest: Path, tmp_path: Path, toy_model: Path) -> list[str]:
    """Return the command that scores the films on Ray."""
    options = ["--manifest", manifest, "-o", tmp_path / "scores", "--shards", "40", "--model", toy_model]
    return [sys.executable, "-m", "xraytransfer", "predict", *map(str, options), "--device", "cpu", "--on", "ray"]


def parts(tmp_path: Path) -> int:
    return len(list((tmp_path / "scores").glob("part-*")))


def check_every_film_once(tmp_path: Path) -> None:
    """Collect the parts and see that every film of the manifest is there once."""
    from xraytransfer.archives.collection import collect
    from xraytransfer.archives.manifest import open_manifest
    from xraytransfer.archives.stores import open_store

    manifest = open_manifest(str(tmp_path / "films.manifest"))
    assert collect(open_store(str(tmp_path / "scores")), tmp_path / "all.csv", manifest=manifest) == {"ok": 40}
    with (tmp_path / "all.csv").open(newline="") as file:
        assert len({row["film"] for row in csv.DictReader(file)}) == 40


def test_archive_through_a_lost_node(
    two_nodes: subprocess.Popen[str], command: list[str], tmp_path: Path, wait: Callable[..., None]
):
    driver = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait(lambda: parts(tmp_path) >= 3 or driver.poll() is not None)
    assert two_nodes.stdin is not None
    two_nodes.stdin.write("lose a node\n")
    two_nodes.stdin.flush()
    _, errors = driver.communicate(timeout=120)
    assert driver.returncode == 0, errors
    check_every_film_once(tmp_path)


def test_archive_through_a_killed_worker_and_driver(
    two_nodes: subprocess.Popen[str], command: list[str], tmp_path: Path, wait: Callable[..., None]
):
    driver = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    wait(lambda: parts(tmp_path) >= 2 or driver.poll() is not None)
    workers = [process for process in psutil.process_iter() if "ray::score_shard" in " ".join(_words(process))]
    for worker in workers[:1]:
        worker.kill()
    wait(lambda: parts(tmp_path) >= 4 or driver.poll() is not None)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    stood = parts(tmp_path)
    time.sleep(1)
    again = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert again.returncode == 0, again.stderr
    assert stood >= 4
    check_every_film_once(tmp_path)


def _words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_without_a_cluster_one_is_started_on_loopback(command: list[str], tmp_path: Path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    environment["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    check_every_film_once(tmp_path)


def test_cluster_that_does_not_answer_is_named(command: list[str], monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 3
    assert "Ray at 127.0.0.1:9 does not answer" in done.stderr


def test_more_than_any_machine_has_is_named(command: list[str], two_nodes: subprocess.Popen[str]):
    alone = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    alone["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    too_much = [*command, "--gpus", "3"]
    done = subprocess.run(too_much, capture_output=True, text=True, check=False, timeout=120, env=alone)
    assert done.returncode == 3
    assert "no machine of the Ray cluster has what one piece needs, 1 CPUs, 3 GPUs (machines: " in done.stderr
    assert "ask for less with --cpus, --gpus or --memory-gb" in done.stderr
    waiting = subprocess.Popen(too_much, stderr=subprocess.PIPE, text=True)  # a larger machine might join this one
    assert waiting.stderr is not None
    try:
        assert any("waiting for one to join" in line for line in waiting.stderr)
    finally:
        waiting.kill()
        waiting.communicate()
