"""Files are written whole or not at all; JSON is read or refused."""

from __future__ import annotations

import errno
import os

import pytest

from xraytransfer.errors import ExportError, StudyError
from xraytransfer.files import read_json, write_bytes, write_json


def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(ExportError, match=r"model\.onnx: cannot be written: No space left on device"):
        write_bytes(path, b"new", error=ExportError)
    with pytest.raises(OSError, match="No space left"):
        write_json(path, {})
    assert [item.name for item in tmp_path.iterdir()] == ["model.onnx"]
    assert path.read_bytes() == b"old"


def test_an_absent_folder(tmp_path):
    with pytest.raises(ExportError, match="No such file or directory"):
        write_bytes(tmp_path / "no" / "model.onnx", b"new", error=ExportError)


def test_others_may_read_what_was_written(tmp_path):
    write_bytes(tmp_path / "model.onnx", b"new", error=ExportError)
    mask = os.umask(0)
    os.umask(mask)
    assert (tmp_path / "model.onnx").stat().st_mode & 0o777 == 0o666 & ~mask


def test_json_makes_its_folder_and_refuses_nan(tmp_path):
    path = tmp_path / "folder" / "document.json"
    write_json(path, {"a": [1, None]})
    assert read_json(path) == {"a": [1, None]}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": [1, None]}


def test_what_is_no_json(tmp_path):
    (tmp_path / "half.json").write_text('{"a": ')
    for name in ("half.json", "absent.json"):
        with pytest.raises(StudyError, match=f"{name}: cannot be read as JSON"):
            read_json(tmp_path / name)
