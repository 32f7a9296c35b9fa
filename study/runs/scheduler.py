"""Placing runs on a machine: a slot per GPU or core, a process per run, failures kept apart.

The seam: `run_all` needs a function that starts a run folder in a slot and returns a `Job`. `start_here`
starts a process on this machine; a cluster brings another function and leaves all else as it is.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from xraytransfer.files import read_json, write_json
from xraytransfer.folder_lock import is_locked
from xraytransfer.plural import counted
from xraytransfer.study.runs.status import run_status, summary
from xraytransfer.study.training.interrupts import Interrupted, stoppable

__all__ = ["Job", "Slot", "local_slots", "run_all", "start_here"]

LOOK_SECONDS = 0.5
"""Between looks at the processes."""
REPORT_SECONDS = 60.0
"""Between lines of progress."""


@dataclass(frozen=True)
class Slot:
    """Where one run at a time fits.

    Attributes
    ----------
    device : str
        ``cpu`` or ``cuda:N``.
    threads : int
        Threads of torch on the CPU.
    """

    device: str
    threads: int = 1


class Job(Protocol):
    """A run that was started."""

    def poll(self) -> int | None:
        """Return the exit code, None while it runs. Negative: ended by that signal."""

    def terminate(self) -> None:
        """Ask it to save and stop."""

    def kill(self) -> None:
        """End it at once."""


def local_slots(device: str, slots: int | None, threads: int) -> list[Slot]:
    """Return this machine's slots: all GPUs, or the cores allowed divided by the threads of a run.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda`` (all), or ``cuda:N``.
    slots : int or None
        How many; None for as many as fit. More than there are GPUs share them in turn.
    threads : int
        Of each run on the CPU.

    Raises
    ------
    DeviceError
        If a GPU is asked for and torch has none.
    """
    from xraytransfer.runtime import cpu_limit
    from xraytransfer.study.training.run import gpu_count, resolve_device

    resolved = resolve_device(device)
    if resolved == "cpu":
        return [Slot("cpu", threads)] * (slots or max(1, cpu_limit() // threads))
    if ":" in device:
        return [Slot(device, threads)] * (slots or 1)
    return [Slot(f"cuda:{i % gpu_count()}", threads) for i in range(slots or gpu_count())]


def start_here(folder: Path, slot: Slot) -> Job:
    """Start a run as a process of its own; what it prints goes to ``output.txt`` in its folder."""
    command = [sys.executable, "-m", "xraytransfer", "study", "train", str(folder)]
    command += ["--device", slot.device, "--threads", str(slot.threads)]
    # torch's and numpy's pools must not exceed the slot, or runs side by side slow each other down
    environment = {**os.environ, "OMP_NUM_THREADS": str(slot.threads), "OPENBLAS_NUM_THREADS": str(slot.threads)}
    with (folder / "output.txt").open("wb") as output:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=environment,
            # Ctrl-C reaches this process only, which then asks each run to save and stop
            start_new_session=True,
        )


def run_all(
    folders: Sequence[Path],
    slots: Sequence[Slot],
    say: Callable[[str], None],
    start: Callable[[Path, Slot], Job] = start_here,
) -> list[Path]:
    """Run every folder that is not done; return those that failed.

    Parameters
    ----------
    folders : sequence of Path
        Run folders with their config.json.
    slots : sequence of Slot
        Runs side by side.
    say : callable
        Takes each line of progress.
    start : callable
        Starts a folder in a slot.

    Raises
    ------
    Interrupted
        On SIGINT or SIGTERM, after every run has saved and stopped; a second one ends them at once.

    Notes
    -----
    A run that another process works on is waited for: another `run_all` may share the folders, and one that was
    killed leaves its runs behind, which go on.
    """
    waiting = [folder for folder in folders if not (folder / "done.json").is_file()]
    say(f"{counted(len(folders), 'run')}, {len(folders) - len(waiting)} done; {len(slots)} side by side")
    free, running = list(slots), list[tuple[Path, Slot, Job]]()
    failed: list[Path] = []
    elsewhere: set[Path] = set()
    reported = time.monotonic()
    with stoppable() as stop:
        try:
            while waiting or running:
                for folder in list(waiting) if free else []:
                    if (folder / "done.json").is_file():
                        waiting.remove(folder)
                        say(_ended(folder, 0, failed))
                    elif is_locked(folder):
                        if folder not in elsewhere:
                            say(f"{folder.name}: another process works on it, and is waited for")
                        elsewhere.add(folder)
                    elif free:
                        slot = free.pop(0)
                        waiting.remove(folder)
                        running.append((folder, slot, start(folder, slot)))
                        say(f"{folder.name}: started on {slot.device}")
                time.sleep(LOOK_SECONDS)
                stop()
                for folder, slot, job in list(running):
                    code = job.poll()
                    if code is None:
                        continue
                    running.remove((folder, slot, job))
                    free.append(slot)
                    say(_ended(folder, code, failed))
                if time.monotonic() - reported > REPORT_SECONDS:
                    say(summary([run_status(folder) for folder in folders], len(slots)))
                    reported = time.monotonic()
        except BaseException:
            _stop_all([job for _, _, job in running])
            raise
    return failed


def _ended(folder: Path, code: int, failed: list[Path]) -> str:
    """Note how a run ended; return the line that says so."""
    if (folder / "done.json").is_file():
        macro = read_json(folder / "done.json")["validation_auroc"]["macro"]
        return f"{folder.name}: done, validation AUROC {'undefined' if macro is None else f'{macro:.3f}'}"
    failed.append(folder)
    if not (folder / "failed.json").is_file():
        write_json(folder / "failed.json", {"reason": _reason(folder, code), "error": f"exit code {code}"})
    return f"{folder.name}: failed: {read_json(folder / 'failed.json')['reason']}"


def _reason(folder: Path, code: int) -> str:
    if code < 0:
        hint = " (the system does that when memory runs out)" if code == -9 else ""
        return f"ended by signal {-code}{hint}"
    lines = (folder / "output.txt").read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else f"ended with exit code {code}"


def _stop_all(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.terminate()
    try:
        while any(job.poll() is None for job in jobs):
            time.sleep(LOOK_SECONDS)
    except (KeyboardInterrupt, Interrupted):
        for job in jobs:
            job.kill()
        raise
