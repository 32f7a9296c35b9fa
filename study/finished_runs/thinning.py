"""Thinning: the deletion of weights of a finished run that are no longer needed.

The order of the steps makes a kill at any moment harmless: the soup is written and checked, then ``thinned.json``
records what is kept, and then the rest is deleted. The same command completes a thinning that was cut off.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from xraytransfer.errors import StudyError
from xraytransfer.folder_lock import FolderLock
from xraytransfer.study.training.kept_weights import (
    KEEP,
    SOUP_FILE,
    KeptWeights,
    read_kept_weights,
    write_kept_weights,
)
from xraytransfer.study.training.run_folder import Run, load_run

__all__ = ["thin_run"]


def thin_run(folder: Path, keep: str) -> int:
    """Delete weights of a finished run; return the number of bytes that were freed.

    Parameters
    ----------
    folder : Path
        The run folder.
    keep : str
        ``all`` deletes the resume state only; ``soup`` keeps the predictions and the mean of the checkpoints'
        weights; ``predictions`` deletes all weights.

    Raises
    ------
    StudyError
        If the run is not done, another process works in its folder, a file that is to be kept cannot be read, or the
        run was thinned further before. Nothing is deleted then.
    """
    run = load_run(folder)
    with FolderLock(folder):
        kept = read_kept_weights(folder)
        if KEEP.index(kept.keep) > KEEP.index(keep):
            raise StudyError(f"{folder}: was thinned to {kept.keep} before; {keep} cannot be kept any more")
        if keep != "all":
            _check_predictions(run)
        if keep != kept.keep:
            write_kept_weights(folder, _store_soup(run) if keep == "soup" else KeptWeights(keep))
        elif keep == "soup":
            run.load_soup()  # raises if the soup is damaged, before the last checkpoints are deleted
        freed = 0
        for path in list(_superfluous(folder, keep)):
            size = path.stat().st_size
            path.unlink()
            freed += size
        return freed


def _check_predictions(run: Run) -> None:
    """Raise `StudyError` if stored predictions cannot be read: without weights they cannot be made again."""
    for split in ("validation",) if run.config.get("test") == "untouched" else ("validation", "test"):
        run.predictions(split)


def _store_soup(run: Run) -> KeptWeights:
    """Write the mean of the checkpoints' weights; return the record that names it."""
    from xraytransfer.study.training.checkpoints import load_tensors, save_tensors

    if not run.checkpoints:
        raise StudyError(f"{run.folder}: the run keeps no checkpoints; there is no soup to store")
    path = run.folder / "checkpoints" / SOUP_FILE
    sha256 = save_tensors(path, run.load_soup().state_dict())
    load_tensors(path, sha256)
    return KeptWeights("soup", tuple(checkpoint.step for checkpoint in run.checkpoints), sha256)


def _superfluous(folder: Path, keep: str) -> Iterator[Path]:
    """Yield the files that are not to be kept, and temporary files of a process that was killed while it wrote."""
    yield from folder.rglob(".*.tmp")
    yield from (folder / "last").glob("state*")
    if keep != "all":
        yield from (folder / "checkpoints").glob("step-*.safetensors")
    if keep != "soup":  # with `all`, a soup is the remainder of a thinning to the soup that was killed
        yield from (folder / "checkpoints").glob(SOUP_FILE)
