"""A copy of the film cache on a disk of this machine, where memory maps are faster than over a network disk."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

from xraytransfer.errors import StudyError
from xraytransfer.folder_lock import FolderLock
from xraytransfer.study.data.cache import cache_folder, open_cache
from xraytransfer.study.data.placement import placement_of
from xraytransfer.study.data.run_data import read_table

__all__ = ["use_local_cache"]


def use_local_cache(config: dict[str, Any], root: Path) -> None:
    """Copy the cache that a run needs to this machine, unless it is there, and let the configuration name the copy.

    Parameters
    ----------
    config : dict
        Content of config.json; its ``data.cache`` is changed here, not in the file.
    root : Path
        Folder of caches on a disk of this machine. Runs that share it share the copy; one of them makes it.

    Raises
    ------
    StudyError
        If the disk is too small, or the copy is damaged.
    """
    table = read_table(config["data"])
    height, width = (int(side) for side in config["resolution"])
    root_there = Path(config["data"]["cache"])
    source = cache_folder(root_there, table, (height, width), config["intensity"], placement_of(config))
    copy = root / source.name
    with FolderLock(root / f"{source.name}.lock", wait=True):
        if not (copy / "index.json").is_file():
            _copy(source, copy)
        open_cache(copy)  # checks the pictures' checksums
    config["data"]["cache"] = str(root)


def _copy(source: Path, copy: Path) -> None:
    """Copy a cache; ``index.json`` last, because its presence says that the copy is whole."""
    try:
        copy.mkdir(parents=True, exist_ok=True)
        for path in sorted(source.iterdir(), key=lambda path: path.name == "index.json"):
            if path.is_file() and path.name not in ("lock", "owner.json"):
                shutil.copyfile(path, copy / path.name)
    except OSError as error:
        raise StudyError(f"{copy}: the cache cannot be copied here: {error.strerror or error}") from error
