"""One run in this process: the lock on its folder, its threads, its training, and the reason if it fails."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors
import torch

from xraytransfer.errors import BusyError, DeviceError, StudyError
from xraytransfer.files import read_json
from xraytransfer.folder_lock import FolderLock
from xraytransfer.study.data.local_cache import use_local_cache
from xraytransfer.study.training.failures import note_failure
from xraytransfer.study.training.train import train

__all__ = ["prepare_device", "resolve_device", "run_one"]


def run_one(
    folder: Path,
    *,
    device: str = "auto",
    threads: int | None = None,
    log: Callable[[str], None] | None = None,
    own_output: bool = False,
    wait: bool = False,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Start or resume the run in a folder; return the content of done.json.

    Parameters
    ----------
    folder : Path
        A run folder with its config.json.
    device : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    threads : int or None
        Threads of torch in this process; None for torch's choice.
    log : callable or None
        Is called with each line of the log.
    own_output : bool
        Whether the output of this process, whatever writes it, goes to ``output.txt`` in the run folder as soon as the
        folder is locked. Before that, the file may belong to another process.
    wait : bool
        Whether to wait for another process that works on the run, instead of refusing.
    cache : Path or None
        Folder on a disk of this machine: the cache of films is copied there once, and read there.

    Raises
    ------
    BusyError
        If another process works on the run.
    StudyError
        If the folder holds no run, or if the run fails; ``failed.json`` then holds the reason, and those of earlier
        attempts.
    Interrupted
        On SIGINT, SIGTERM or SIGUSR1, after the resume state was saved.
    """
    device = resolve_device(device)
    if not (folder / "config.json").is_file():
        raise StudyError(f"{folder}: no run (no config.json); `xraytransfer study prepare` makes folders of runs")
    with FolderLock(folder, wait=wait) as lock:
        if own_output:
            redirect_output(folder / "output.txt")
        if (folder / "done.json").is_file():
            done: dict[str, Any] = read_json(folder / "done.json")
            return done
        for leftover in folder.rglob(".*.tmp"):  # of a process that was killed while it wrote
            leftover.unlink()
        if threads is not None:
            torch.set_num_threads(threads)
        prepare_device(torch.device(device))
        return _train(folder, device, log, lock, cache)


def _train(
    folder: Path, device: str, log: Callable[[str], None] | None, lock: FolderLock, cache: Path | None
) -> dict[str, Any]:
    """Train the run whose folder is locked; if it fails, leave the reason in the folder."""
    config = read_json(folder / "config.json")
    try:
        if cache is not None:
            use_local_cache(config, cache)
        return train(folder, config, device_name=device, log=log, lock=lock)
    except BusyError:
        raise  # the run is another process's now, and so is failed.json
    except (StudyError, RuntimeError, OSError, MemoryError, safetensors.SafetensorError) as error:
        reason = explain(error)
        note_failure(folder, reason, type(error).__name__)
        raise StudyError(f"{folder.name}: {reason}") from error


def resolve_device(device: str) -> str:
    """Return ``cpu`` or ``cuda:N``.

    Raises
    ------
    DeviceError
        If a GPU is asked for and torch has none.
    """
    if device == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise DeviceError("torch finds no CUDA device here; take --device cpu, or install torch built for CUDA")
    return "cuda:0" if device == "cuda" else device


def prepare_device(device: torch.device) -> None:
    """Set the precision and the choice of kernels of this process on a GPU; do nothing on a CPU."""
    if device.type == "cuda":
        # evaluation is float32, without TF32's 10-bit mantissa; shapes never change, so one search for kernels pays
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.benchmark = True


def explain(error: BaseException) -> str:
    """Return why a run failed and, where it is known, what to do."""
    if isinstance(error, torch.OutOfMemoryError) or "not enough memory" in str(error) or isinstance(error, MemoryError):
        return "out of memory; a smaller batch or resolution may help"
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full"
    # safetensors has no error number, only the system's text
    if "No space left" in str(error):
        return "the disk is full"
    return str(error) or type(error).__name__


def redirect_output(path: Path) -> None:
    """Send everything that this process writes to a file from now on, also what libraries in C write."""
    with path.open("wb") as file:
        for stream, number in ((sys.stdout, 1), (sys.stderr, 2)):
            stream.flush()
            os.dup2(file.fileno(), number)
