"""How many processor cores this process may use."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["cpu_limit"]


def cpu_limit() -> int:
    """Return how many cores this process may use: the smaller of its affinity and its cgroup's quota."""
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else (os.cpu_count() or 1)
    quota = _cgroup_quota(Path("/sys/fs/cgroup"))
    return max(1, min(cores, int(quota)) if quota is not None else cores)


def _cgroup_quota(root: Path) -> float | None:
    """Return the cores that a Linux control group allows, None where there is no limit."""
    try:
        words = (root / "cpu.max").read_text("ascii").split()  # version 2: "quota period" or "max period"
        if len(words) == 2 and words[0] != "max":
            return int(words[0]) / int(words[1])
        return None
    except (OSError, ValueError, ZeroDivisionError):
        pass  # no version 2: look for version 1
    try:
        quota = int((root / "cpu" / "cpu.cfs_quota_us").read_text("ascii"))
        period = int((root / "cpu" / "cpu.cfs_period_us").read_text("ascii"))
    except (OSError, ValueError):
        return None
    return quota / period if quota > 0 and period > 0 else None
