from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from xraytransfer.errors import DeviceError
from xraytransfer.folder_lock import FolderLock
from xraytransfer.study.runs import scheduler
from xraytransfer.study.runs.scheduler import Slot, local_slots, run_all
from xraytransfer.study.training.failures import note_failure
from xraytransfer.study.training.interrupts import EXIT_REQUEUE, Interrupted

torch = pytest.importorskip("torch")

CONFIG = {"preset": {"batch": 4, "epochs": 2}, "split": {"train": {"images": 40}}}


class MadeUpJob:
    """Runs for some looks, then ends with a code."""

    def __init__(self, looks: int, code: int, end: Callable[[], object]) -> None:
        self.looks, self.code, self.end = looks, code, end
        self.told: list[str] = []

    def poll(self) -> int | None:
        self.looks -= 1
        if self.looks > 0 and "terminate" not in self.told:
            return None
        self.end()
        return self.code

    def terminate(self) -> None:
        self.told.append("terminate")

    def kill(self) -> None:
        self.told.append("kill")


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "LOOK_SECONDS", 0)
    monkeypatch.setattr(scheduler, "REPORT_SECONDS", 0)


def runs(results: Path, count: int) -> list[Path]:
    folders = [results / "runs" / f"run{index}" for index in range(count)]
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(CONFIG))
        (folder / "output.txt").write_text("loading\nTraceback\nValueError: odd\n")
    return folders


def finish(folder: Path) -> None:
    (folder / "done.json").write_text(json.dumps({"validation_auroc": {"macro": 0.7}}))


def test_runs_fill_the_slots_and_failures_stay_apart(tmp_path: Path):
    folders = runs(tmp_path, 6)
    finish(folders[0])
    codes = {1: 0, 2: 3, 3: -9, 4: 1, 5: 0}
    active: list[Path] = []
    most: list[int] = []
    lines: list[str] = []

    def start(folder: Path, slot: Slot) -> MadeUpJob:
        index = folders.index(folder)
        active.append(folder)
        most.append(len(active))

        def end() -> None:
            active.remove(folder)
            if codes[index] == 0:
                finish(folder)
            elif index == 2:  # the run notes it itself
                note_failure(folder, "the loss is not finite", "StudyError")

        return MadeUpJob(index, codes[index], end)

    failed = run_all(folders, [Slot("cpu")] * 2, lines.append, start)
    assert set(failed) == {folders[2], folders[3], folders[4]}
    assert max(most) == 2
    assert lines[0] == "6 runs, 1 done; 2 at a time"
    text = "\n".join(lines)
    assert "run2: failed: the loss is not finite" in text
    assert "run3: failed: ended by signal 9 (the system does that when memory runs out)" in text
    assert "run4: failed: ValueError: odd" in text
    assert "run5: done, validation AUROC of its ensemble 0.700" in text
    assert json.loads((folders[3] / "failed.json").read_text())["error"] == "exit code -9"


def test_asked_to_stop_every_run_is_asked_and_awaited(tmp_path: Path):
    folders = runs(tmp_path, 3)
    jobs: list[MadeUpJob] = []

    def start(folder: Path, slot: Slot) -> MadeUpJob:
        jobs.append(MadeUpJob(10**9, 130, lambda: None))
        if len(jobs) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return jobs[-1]

    with pytest.raises(Interrupted):
        run_all(folders, [Slot("cpu")] * 2, lambda line: None, start)
    assert [job.told for job in jobs] == [["terminate"], ["terminate"]]
    assert not any((folder / "failed.json").exists() for folder in folders)


def test_slots_of_this_machine(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("xraytransfer.study.runs.scheduler.cpu_limit", lambda: 8)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert local_slots("auto", None, 2) == [Slot("cpu", 2)] * 4
    assert local_slots("cpu", 3, 1) == [Slot("cpu", 1)] * 3
    with pytest.raises(DeviceError, match="torch finds no CUDA device"):
        local_slots("cuda", None, 1)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert [slot.device for slot in local_slots("auto", None, 1)] == ["cuda:0", "cuda:1"]
    assert [slot.device for slot in local_slots("cuda", 4, 1)] == ["cuda:0", "cuda:1", "cuda:0", "cuda:1"]
    assert [slot.device for slot in local_slots("cuda:1", None, 1)] == ["cuda:1"]


@pytest.mark.parametrize("finishes", [True, False])
def test_a_run_that_another_process_works_on_is_waited_for(tmp_path: Path, finishes: bool):
    """As after kill -9 of the command, whose runs go on."""
    here, elsewhere = runs(tmp_path, 2)
    before = (elsewhere / "output.txt").read_text()
    started: list[Path] = []
    lines: list[str] = []
    lock = FolderLock(elsewhere)
    lock.__enter__()

    def start(folder: Path, slot: Slot) -> MadeUpJob:
        started.append(folder)
        return MadeUpJob(2, 0, lambda: end(folder))

    def end(folder: Path) -> None:
        finish(folder)
        if folder == here:
            assert (elsewhere / "output.txt").read_text() == before
            if finishes:
                finish(elsewhere)
            lock.__exit__(None, None, None)

    assert run_all([elsewhere, here], [Slot("cpu")], lines.append, start) == []
    assert started == ([here] if finishes else [here, elsewhere])
    assert lines.count("run1: another process works on it, and is waited for") == 1
    assert "run1: done, validation AUROC of its ensemble 0.700" in lines


def test_a_run_that_another_process_took_first_has_not_failed(tmp_path: Path):
    (folder,) = runs(tmp_path, 1)
    codes = iter([EXIT_REQUEUE, 0])

    def start(folder: Path, slot: Slot) -> MadeUpJob:
        code = next(codes)
        return MadeUpJob(1, code, lambda: code == 0 and finish(folder))

    assert run_all([folder], [Slot("cpu")], lambda line: None, start) == []
    assert not (folder / "failed.json").exists()


def test_retries_keep_every_reason(tmp_path: Path):
    folders = runs(tmp_path, 2)
    codes = {folders[0]: iter([-9, 0]), folders[1]: iter([-9, 1, -11])}
    lines: list[str] = []

    def start(folder: Path, slot: Slot) -> MadeUpJob:
        code = next(codes[folder])
        return MadeUpJob(1, code, lambda: code == 0 and finish(folder))

    assert run_all(folders, [Slot("cpu")], lines.append, start, retries=2) == [folders[1]]
    failed = json.loads((folders[1] / "failed.json").read_text())
    assert failed["reason"] == "ended by signal 11"
    assert [one["error"] for one in failed["earlier"]] == ["exit code -9", "exit code 1"]
    assert sum("attempt 2 of 3 follows" in line for line in lines) == 2
    assert "attempt 3 of 3 follows" in "\n".join(lines)


def test_two_commands_started_together_share_a_results_folder(made_up_films: Path, tmp_path: Path):
    """Each starts the same runs at the same moment; neither may report a failure or write into the other's files."""
    command = [sys.executable, "-m", "xraytransfer", "study", "run", "--data", "nih", "--folder", str(made_up_films)]
    command += ["--results", str(tmp_path), "--architecture", "toy_resnet", "--initialisation", "random"]
    command += ["--preset", "tiny", "--set", "epochs=1", "--resolution", "32", "--fractions", "0.6", "0.2", "0.2"]
    command += ["--device", "cpu", "--slots", "1"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    said = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0], said
    (run,) = (tmp_path / "runs").iterdir()
    assert all("done, validation AUROC" in text and "failed" not in text for text in said), said
    assert not (run / "failed.json").exists()
    assert "another process" not in (run / "output.txt").read_text()


def test_a_run_that_leaves_no_word_stops_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    silent, full, good = folders = runs(tmp_path, 3)
    (silent / "output.txt").unlink()
    monkeypatch.setattr(scheduler, "note_failure", lambda folder, *_: folder == full or note_failure(folder, *_))
    lines: list[str] = []

    def start(folder: Path, slot: Slot) -> MadeUpJob:
        return MadeUpJob(2, 0 if folder == good else 1, lambda: finish(good) if folder == good else None)

    # on a full disk failed.json cannot be written
    assert set(run_all(folders, [Slot("cpu")], lines.append, start)) == {silent, full}
    assert (good / "done.json").is_file()
    assert "run0: failed: ended with exit code 1" in lines
    assert "run1: failed: ValueError: odd" in lines
