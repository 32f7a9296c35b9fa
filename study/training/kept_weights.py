"""The weights that a finished run still has: all of its checkpoints, their mean alone, or none.

``checkpoints/thinned.json`` records this for a run that was thinned. ``index.json`` continues to describe the
checkpoints that training kept, whether or not their files are still there.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from xraytransfer.errors import StudyError
from xraytransfer.files import read_json, write_json

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["KEEP", "SOUP_FILE", "KeptWeights", "WeightsGoneError", "read_kept_weights", "write_kept_weights"]

KEEP = ("all", "soup", "predictions")
"""What a thinned run may keep, from the most to the least."""
SOUP_FILE = "soup.safetensors"
"""Below ``checkpoints/``: the mean of the checkpoints' weights."""
RECORD = "thinned.json"


class WeightsGoneError(StudyError):
    """A run was thinned, and the weights that a caller asked for were deleted.

    Parameters
    ----------
    folder : Path
        The run folder.
    keep : str
        What the run still has: ``soup`` or ``predictions``.
    """

    def __init__(self, folder: Path, keep: str) -> None:
        rest = "one network, the mean of its checkpoints' weights" if keep == "soup" else "no weights"
        self.reason = f"{folder.name} was thinned to {keep}: it has {rest}"
        super().__init__(f"{folder}: the run was thinned to {keep} (study thin): it has {rest}")


@dataclass(frozen=True)
class KeptWeights:
    """The weights that a finished run has.

    Attributes
    ----------
    keep : str
        ``all``: the checkpoints. ``soup``: their mean alone. ``predictions``: none.
    steps : tuple of int
        Steps of the checkpoints whose mean the stored soup is; empty unless `keep` is ``soup``.
    sha256 : str
        Checksum of the file of the soup; empty unless `keep` is ``soup``.
    """

    keep: str = "all"
    steps: tuple[int, ...] = ()
    sha256: str = ""

    def require_checkpoints(self, folder: Path) -> None:
        """Raise `WeightsGoneError` unless the run in this folder has its checkpoints."""
        if self.keep != "all":
            raise WeightsGoneError(folder, self.keep)

    def require_soup(self, folder: Path) -> None:
        """Raise `WeightsGoneError` unless the run in this folder has its soup, or the checkpoints to make it from."""
        if self.keep == "predictions":
            raise WeightsGoneError(folder, self.keep)

    def load_soup(self, folder: Path, steps: tuple[int, ...]) -> dict[str, Tensor]:
        """Return the weights of the stored soup of the checkpoints with these steps.

        Raises
        ------
        StudyError
            If the soup is not stored, was made from other checkpoints, or is damaged.
        """
        from xraytransfer.study.training.checkpoints import load_tensors

        if self.keep != "soup" or sorted(steps) != sorted(self.steps):
            raise WeightsGoneError(folder, self.keep)
        return load_tensors(folder / "checkpoints" / SOUP_FILE, self.sha256)


def read_kept_weights(folder: Path) -> KeptWeights:
    """Return which weights the run in a folder has; all of them if it was never thinned.

    Raises
    ------
    StudyError
        If the record of the thinning is damaged.
    """
    path = folder / "checkpoints" / RECORD
    if not path.is_file():
        return KeptWeights()
    record = read_json(path)
    try:
        kept = KeptWeights(str(record["keep"]), tuple(int(step) for step in record["steps"]), str(record["sha256"]))
    except (KeyError, TypeError, ValueError) as error:
        raise StudyError(f"{path}: damaged: {error!r}") from error
    if kept.keep not in KEEP:
        raise StudyError(f"{path}: damaged: keep is {kept.keep!r}, one of {', '.join(KEEP)} expected")
    return kept


def write_kept_weights(folder: Path, kept: KeptWeights) -> None:
    """Record which weights the run in a folder has; the file is written whole or not at all."""
    document = {"keep": kept.keep, "steps": list(kept.steps), "sha256": kept.sha256}
    write_json(folder / "checkpoints" / RECORD, document)
