"""What tests with peers share: programs that may be absent, free ports, and patience."""

from __future__ import annotations

import shutil
import socket
import time
from collections.abc import Callable

import pytest


def need(*programs: str) -> None:
    """Skip the test where a program is not installed."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt-get install dcmtk dicom3tools orthanc orthanc-dicomweb")


def free_port() -> int:
    """Return a port of this machine that nobody uses at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as found:
        return int(found.getsockname()[1])


def wait_for(condition: Callable[[], object], seconds: float = 120.0) -> None:
    """Return as soon as the condition holds; fail if it does not within the time."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)
