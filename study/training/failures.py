"""Why a run failed: ``failed.json`` in its folder, with the reasons of earlier attempts."""

from __future__ import annotations

import errno
from datetime import datetime, timezone
from pathlib import Path

from xraytransfer.files import read_json, write_json

__all__ = ["note_failure"]


def note_failure(folder: Path, reason: str, error: str) -> None:
    """Write failed.json: the reason, the kind of error, and the same of earlier attempts.

    On a full disk that may be impossible; the reason is then on the terminal only.
    """
    path = folder / "failed.json"
    now = {"reason": reason, "error": error, "time": datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")}
    try:
        last = read_json(path) if path.is_file() else {}
        earlier = last.pop("earlier", [])
        write_json(path, {**now, "earlier": [*earlier, last] if last else []})
    except OSError as full:
        if full.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
