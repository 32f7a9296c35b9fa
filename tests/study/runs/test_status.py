from __future__ import annotations

import json
from pathlib import Path

from xraytransfer.folder_lock import FolderLock
from xraytransfer.study.runs.status import RunStatus, run_status, summary, table

CONFIG = {"preset": {"batch": 4, "epochs": 2}, "split": {"train": {"images": 42}}}


def run(results: Path, name: str) -> Path:
    folder = results / "runs" / name
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(CONFIG))
    return folder


def test_each_state_is_told_apart(tmp_path: Path):
    waiting, running, stopped = (run(tmp_path, name) for name in ("a", "b", "c"))
    failed, done = run(tmp_path, "d"), run(tmp_path, "e")
    header = "step,validation_auroc,images_per_second\n"
    (running / "metrics.csv").write_text(f"{header}5,0.6,2\n10,0.55,2\n12,0.")
    (stopped / "log.txt").write_text("started\n")
    (stopped / "last").mkdir()
    (stopped / "last" / "state.json").write_text('{"step": 7}')
    (failed / "failed.json").write_text('{"reason": "the disk is full"}')
    (done / "done.json").write_text("{}")
    with FolderLock(running):
        states = [run_status(folder) for folder in (waiting, running, stopped, failed, done)]
    assert [s.state for s in states] == ["waiting", "running", "stopped", "failed", "done"]
    assert [s.steps for s in states] == [20] * 5
    assert [s.step for s in states] == [0, 10, 7, 0, 20]
    assert states[1].validation_auroc == 0.6
    assert states[1].seconds_left == 20
    text = table(states)
    assert "the disk is full" in text
    assert "1 done, 1 running, 1 failed of 5 runs; about 2 min left" in text
    assert json.dumps(states[1].to_dict())


def test_runs_of_unknown_speed_promise_nothing():
    done = RunStatus("a", "done", 20, 20, 0.7, 5.0, 0.0)
    killed = RunStatus("b", "stopped", 3, 20, None, None, None)
    assert summary([done, killed]) == "1 done, 0 running, 0 failed of 2 runs"
    going = RunStatus("c", "running", 3, 20, 0.6, 5.0, 3600.0)
    assert summary([done, going], slots=4).endswith("; about 1 h 0 min left")  # one run cannot be shared among four
    assert summary([done]) == "1 done, 0 running, 0 failed of 1 run"


def test_runs_that_wait_count_as_whole_ones():
    nearly = RunStatus("a", "running", 19, 20, 0.7, 5.0, 30.0, seconds_whole=600.0)
    waiting = [RunStatus(name, "waiting", 0, 20, None, None, None) for name in "bcd"]
    assert summary([nearly, *waiting]).endswith("of 4 runs; about 30 min left")
    done = RunStatus("a", "done", 20, 20, 0.7, 5.0, 0.0, seconds_whole=600.0)
    assert summary([done, *waiting], slots=3).endswith("1 done, 0 running, 0 failed of 4 runs; about 10 min left")


def test_nothing_known_no_promise():
    assert summary([]) == "0 done, 0 running, 0 failed of 0 runs"


def test_a_run_on_half_of_the_patients_has_its_own_steps(tmp_path: Path):
    folder = run(tmp_path, "a")
    (folder / "config.json").write_text(json.dumps({**CONFIG, "half": "A"}))
    assert run_status(folder).steps == 10  # not begun: about a half
    (folder / "last").mkdir()
    (folder / "last" / "state.json").write_text('{"step": 6, "steps": 12}')
    assert (run_status(folder).step, run_status(folder).steps) == (6, 12)
    (folder / "done.json").write_text('{"steps": 12}')
    assert (run_status(folder).step, run_status(folder).steps) == (12, 12)
