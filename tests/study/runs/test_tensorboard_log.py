from __future__ import annotations

import sys
from pathlib import Path

import pytest

from xraytransfer.errors import MissingExtraError

pytest.importorskip("torch")

from xraytransfer.study.runs.tensorboard_log import write_logs


@pytest.fixture
def results(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / "runs" / name).mkdir(parents=True)
        (tmp_path / "runs" / name / "config.json").write_text("{}")
    (tmp_path / "runs" / "a" / "metrics.csv").write_text("step,validation_auroc,auroc_edema\n5,0.5,\n10,0.75,0.25\n")
    return tmp_path


def test_metrics_become_scalars(results: Path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    for _ in range(2):  # again: replaced, not doubled
        assert write_logs(results, results / "logs") == 1
    events = EventAccumulator(str(results / "logs" / "a")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("validation_auroc")] == [(5, 0.5), (10, 0.75)]
    assert [(event.step, event.value) for event in events.Scalars("auroc_edema")] == [(10, 0.25)]


def test_without_tensorboard_the_command_is_named(results: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'xraytransfer\[tensorboard\]'"):
        write_logs(results, results / "logs")
