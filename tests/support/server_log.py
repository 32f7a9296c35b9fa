"""The log of a server that runs as a process."""

from __future__ import annotations

import re
import time
from pathlib import Path

PATIENCE_S = 60


def wait_for(log: Path, pattern: str) -> str:
    """Return what a pattern finds in the log, as soon as it stands there."""
    end = time.monotonic() + PATIENCE_S
    while (found := re.search(pattern, log.read_text())) is None:
        assert time.monotonic() < end, log.read_text()
        time.sleep(0.02)
    return found[1]
