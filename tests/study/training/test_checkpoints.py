from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from xraytransfer.errors import StudyError  # noqa: E402
from xraytransfer.study.training.checkpoints import (  # noqa: E402
    Checkpoint,
    load_resume,
    load_tensors,
    rank,
    read_index,
    save_checkpoint,
    save_resume,
    save_tensors,
    soup,
    write_index,
)


def test_the_best_are_kept_and_the_others_deleted(tmp_path: Path):
    kept: list[Checkpoint] = []
    for step, value in enumerate([0.6, 0.8, 0.7, 0.8, 0.5]):
        kept = rank([*kept, save_checkpoint(tmp_path, step, value, torch.nn.Linear(2, 1))], 3)
        write_index(tmp_path, kept)
    assert [checkpoint.step for checkpoint in kept] == [1, 3, 2]
    assert read_index(tmp_path) == kept
    assert {path.name for path in tmp_path.glob("*.safetensors")} == {c.file for c in kept}


def test_a_damaged_file_is_found(tmp_path: Path):
    path = tmp_path / "a.safetensors"
    sha256 = save_tensors(path, {"x": torch.arange(100.0)})
    assert torch.equal(load_tensors(path, sha256)["x"], torch.arange(100.0))
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(StudyError, match="damaged, its checksum"):
        load_tensors(path, sha256)
    path.unlink()
    with pytest.raises(StudyError, match="the run folder is incomplete"):
        load_tensors(path, sha256)
    (tmp_path / "index.json").write_text('[{"step": 1}]')
    with pytest.raises(StudyError, match=r"index\.json: damaged"):
        read_index(tmp_path)


def test_memory_layout_does_not_change_the_file(tmp_path: Path):
    x = torch.rand(4, 3, 5, 5)
    plain = save_tensors(tmp_path / "a", {"x": x})
    last = save_tensors(tmp_path / "b", {"x": x.contiguous(memory_format=torch.channels_last)})
    assert plain == last


def test_a_soup_is_the_mean():
    a = {"w": torch.tensor([1.0, 3.0]), "count": torch.tensor(4)}
    b = {"w": torch.tensor([3.0, 5.0]), "count": torch.tensor(9)}
    mixed = soup([a, b])
    assert torch.equal(mixed["w"], torch.tensor([2.0, 4.0]))
    assert mixed["w"].dtype == torch.float32
    assert mixed["count"] == 4
    assert torch.equal(soup([a])["w"], a["w"])
    with pytest.raises(StudyError, match="at least one"):
        soup([])
    with pytest.raises(StudyError, match="different networks"):
        soup([a, {"w": torch.zeros(3), "count": torch.tensor(0)}])


def test_the_resume_state_is_whole_or_refused(tmp_path: Path):
    assert load_resume(tmp_path) is None
    for step in (5, 10):
        save_resume(tmp_path, {"x": torch.tensor([float(step)])}, {"step": step, "evaluated": 0})
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    resumed = load_resume(tmp_path)
    assert resumed is not None
    assert resumed[0]["x"] == 10
    assert resumed[1]["step"] == 10
    next(tmp_path.glob("*.safetensors")).write_bytes(b"half")
    with pytest.raises(StudyError, match=r"cannot be resumed: .*; delete .* to start it anew"):
        load_resume(tmp_path)
