"""The scheduler of runs: a slot for each GPU or core, a process for each run; a failed run stops no other.

`run_all` takes a function that starts a run folder in a slot and returns a `Job`. `start_here` starts a process on this
machine; a cluster needs another such function and nothing else.
"""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Protocol

from xraytransfer.files import read_json
from xraytransfer.folder_lock import is_locked
from xraytransfer.plural import counted
from xraytransfer.study.runs.status import run_status, summary
from xraytransfer.study.training.failures import note_failure
from xraytransfer.study.training.interrupts import EXIT_REQUEUE, Interrupted, stoppable
from xraytransfer.usable_cores import cpu_limit

__all__ = ["Job", "Slot", "local_slots", "run_all", "start_here"]

LOOK_SECONDS = 0.5
"""Time between checks of the processes."""
REPORT_SECONDS = 60.0
"""Time between lines of progress."""


@dataclass(frozen=True)
class Slot:
    """A place for one run at a time.

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
        """Return the exit code; None while it runs; the negative number of the signal that ended it, if one did."""

    def terminate(self) -> None:
        """Ask it to save and stop."""

    def kill(self) -> None:
        """End it at once."""


def local_slots(device: str, slots: int | None, threads: int, *, memory_gb: float | None = None) -> list[Slot]:
    """Return this machine's slots: all GPUs, or the cores allowed divided by the threads of a run.

    Parameters
    ----------
    device : str
        ``auto``, ``cpu``, ``cuda`` (all), or ``cuda:N``.
    slots : int or None
        Number of slots; None for as many as fit. If there are more slots than GPUs, slots share GPUs in turn.
    threads : int
        Threads of each run on the CPU.
    memory_gb : float or None
        Memory that each run needs, in GB: no more slots than fit into this machine's, but at least one.

    Raises
    ------
    DeviceError
        If a GPU is asked for and torch has none.
    """
    import torch

    from xraytransfer.study.training.run import resolve_device

    fit = sys.maxsize if memory_gb is None else max(1, int(_memory_gb() / memory_gb))
    resolved = resolve_device(device)
    if resolved == "cpu":
        return [Slot("cpu", threads)] * min(fit, slots or max(1, cpu_limit() // threads))
    if ":" in device:
        return [Slot(device, threads)] * min(fit, slots or 1)
    gpus = torch.cuda.device_count()
    return [Slot(f"cuda:{i % gpus}", threads) for i in range(min(fit, slots or gpus))]


def _memory_gb() -> float:
    """Return this machine's memory in GB; infinite where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    except (AttributeError, ValueError, OSError):
        return math.inf


def start_here(folder: Path, slot: Slot, *, cache: Path | None = None) -> Job:
    """Start a run as a process of its own.

    Its output goes to ``output.txt`` in the run folder as soon as it holds the folder's lock; what it says before is
    added there if it ends without the lock.
    """
    command = [sys.executable, "-m", "xraytransfer", "study", "train", str(folder), "--own-output"]
    command += ["--device", slot.device, "--threads", str(slot.threads)]
    command += [] if cache is None else ["--local-cache", str(cache)]
    # if the thread pools of torch and numpy exceed the slot, runs side by side slow each other down
    environment = {**os.environ, "OMP_NUM_THREADS": str(slot.threads), "OPENBLAS_NUM_THREADS": str(slot.threads)}
    first_words = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _LocalJob
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=first_words,
        stderr=subprocess.STDOUT,
        env=environment,
        # Ctrl-C must reach this process only, which then asks each run to save and stop
        start_new_session=True,
    )
    return _LocalJob(process, folder, first_words)


@dataclass
class _LocalJob:
    """A process on this machine, and what it said before it held the lock of its folder."""

    process: subprocess.Popen[bytes]
    folder: Path
    first_words: IO[bytes]

    def poll(self) -> int | None:
        code = self.process.poll()
        if code is not None and not self.first_words.closed:
            with self.first_words:
                self.first_words.seek(0)
                text = self.first_words.read()
            if text and code not in (0, EXIT_REQUEUE):
                with (self.folder / "output.txt").open("ab") as output:
                    output.write(text)
        return code

    def terminate(self) -> None:
        self.process.terminate()

    def kill(self) -> None:
        self.process.kill()


def run_all(
    folders: Sequence[Path],
    slots: Sequence[Slot],
    log: Callable[[str], None],
    start: Callable[[Path, Slot], Job] = start_here,
    *,
    retries: int = 0,
) -> list[Path]:
    """Run every folder that is not done; return those that failed.

    Parameters
    ----------
    folders : sequence of Path
        Run folders with their config.json.
    slots : sequence of Slot
        The places for runs side by side.
    log : callable
        Is called with each line of progress.
    start : callable
        Starts a folder in a slot.
    retries : int
        How often a run that failed is started again.

    Raises
    ------
    Interrupted
        On SIGINT or SIGTERM, after every run has saved its state and stopped; a second signal ends them at once.

    Notes
    -----
    If another process works on a run, `run_all` waits for it: another `run_all` may share the folders, and one that was
    killed leaves its runs behind, which go on. Two that start the same run at the same moment do not fail each other:
    the process that comes too late ends with `EXIT_REQUEUE`, and its run waits again.
    """
    queue = _Queue([folder for folder in folders if not (folder / "done.json").is_file()], list(slots), log, retries)
    done = len(folders) - len(queue.waiting)
    log(f"{counted(len(folders), 'run')}, {done} done; {len(slots)} at a time")
    reported = time.monotonic()
    with stoppable() as stop:
        try:
            while queue.waiting or queue.running:
                queue.start_waiting(start)
                time.sleep(LOOK_SECONDS)
                stop()
                queue.collect_ended()
                if time.monotonic() - reported > REPORT_SECONDS:
                    log(summary([run_status(folder) for folder in folders], len(slots)))
                    reported = time.monotonic()
        except BaseException:
            _stop_all([job for _, _, job in queue.running])
            raise
    return queue.failed


@dataclass
class _Queue:
    """The runs that wait, those that run, those that failed, and the free slots."""

    waiting: list[Path]
    free: list[Slot]
    log: Callable[[str], None]
    retries: int = 0
    running: list[tuple[Path, Slot, Job]] = field(default_factory=list)
    noted: dict[Path, str] = field(default_factory=dict)
    attempts: Counter[Path] = field(default_factory=Counter)
    failed: list[Path] = field(default_factory=list)
    elsewhere: set[Path] = field(default_factory=set)

    def start_waiting(self, start: Callable[[Path, Slot], Job]) -> None:
        """Start waiting runs in free slots; a run that another process works on keeps waiting."""
        for folder in list(self.waiting) if self.free else []:
            if (folder / "done.json").is_file():
                self.waiting.remove(folder)
                self.report_end(folder, 0)
            elif is_locked(folder):
                if folder not in self.elsewhere:
                    self.log(f"{folder.name}: another process works on it, and is waited for")
                self.elsewhere.add(folder)
            elif self.free:
                slot = self.free.pop(0)
                self.waiting.remove(folder)
                self.noted[folder] = _failure(folder)
                self.running.append((folder, slot, start(folder, slot)))
                self.log(f"{folder.name}: started on {slot.device}")

    def collect_ended(self) -> None:
        """Free the slots of the runs that have ended."""
        for folder, slot, job in list(self.running):
            code = job.poll()
            if code is not None:
                self.running.remove((folder, slot, job))
                self.free.append(slot)
                self.report_end(folder, code)

    def report_end(self, folder: Path, code: int) -> None:
        """Report how a run ended, and keep the reason if it failed."""
        if (folder / "done.json").is_file():
            macro = read_json(folder / "done.json")["validation_auroc"]["macro"]
            auroc = "undefined" if macro is None else f"{macro:.3f}"
            self.log(f"{folder.name}: done, validation AUROC of its ensemble {auroc}")
            return
        if code == EXIT_REQUEUE:
            self.waiting.append(folder)
            return
        if _failure(folder) in ("", self.noted.get(folder)):  # the run could not note it itself
            reason = _reason(folder, code)
            note_failure(folder, reason, f"exit code {code}")
        else:
            reason = str(read_json(folder / "failed.json")["reason"])
        self.attempts[folder] += 1
        again = self.attempts[folder] <= self.retries
        (self.waiting if again else self.failed).append(folder)
        after = f"; attempt {self.attempts[folder] + 1} of {self.retries + 1} follows" if again else ""
        self.log(f"{folder.name}: failed: {reason}{after}")


def _failure(folder: Path) -> str:
    """Return the text of failed.json; empty if there is none."""
    path = folder / "failed.json"
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _reason(folder: Path, code: int) -> str:
    if code < 0:
        hint = " (the system does that when memory runs out)" if code == -9 else ""
        return f"ended by signal {-code}{hint}"
    output = folder / "output.txt"
    text = output.read_text(encoding="utf-8", errors="replace") if output.is_file() else ""
    lines = text.strip().splitlines()
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
