"""Threads whose results come in order: what an interruption leaves."""

from __future__ import annotations

import subprocess
import sys

import pytest

from xraytransfer.ordered_threads import in_order


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill sends no SIGINT on Windows")
def test_python_exits_after_the_work_that_runs_also_when_interrupted_twice():
    """A thread that outlives the interpreter ends the process with SIGABRT if it computes in ONNX Runtime."""
    code = """
import os, signal, threading, time
from xraytransfer.ordered_threads import in_order

signal.signal(signal.SIGINT, signal.default_int_handler)

def work(item):
    started.set()
    time.sleep(1)
    print("worked", flush=True)

def interrupt():
    started.wait()
    for _ in range(2):
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGINT)

started = threading.Event()
threading.Thread(target=interrupt, daemon=True).start()
try:
    list(in_order(work, range(100), 1, ahead=3))
except KeyboardInterrupt as error:
    print("interrupted", isinstance(error.__context__, KeyboardInterrupt), flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "interrupted True\nworked\n", "")


def test_a_caller_that_stops_early_waits_for_what_runs_and_begins_nothing_more():
    worked: list[int] = []
    results = in_order(lambda item: worked.append(item) or item, range(1000), 2, ahead=4)
    assert next(results) == 0
    results.close()
    count = len(worked)
    assert count <= 4
    assert sorted(worked) == list(range(count))


def test_an_error_comes_at_its_place():
    results = in_order(lambda item: 1 // item, [1, 0, 1], 1, ahead=2)
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)
