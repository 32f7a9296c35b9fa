"""The architectures of the study: one row each, read from `architectures.csv`.

Conventions
-----------
The rows of group ``study`` are the sixteen architectures of the paper. Each row names a timm model *with its tag*,
because a name without a tag can mean other weights in another version of timm. `imagenet_top1` is the accuracy that
timm measured for exactly these weights at `imagenet_resolution`.

Differences from the paper
--------------------------
``mnasnet_100`` stands for the paper's MNASNet, whose parameter count is that of NASNet-A-Mobile.

References
----------
Ke, Ellsworth, Banerjee, Ng, Rajpurkar: CheXtransfer, arXiv:2101.06871.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, fields
from importlib import resources
from pathlib import Path

from xraytransfer.errors import StudyError

__all__ = ["ARCHITECTURES", "BODIES", "Architecture", "find_architecture", "read_architectures"]

CHEXPERT_MEAN, CHEXPERT_STD = (0.5020,) * 3, (0.085585,) * 3
"""Normalisation of the paper's lab for CheXpert's films, grey in [0, 1] (stanfordmlgroup/MoCo-CXR)."""

BODIES = ("resnet", "densenet", "efficientnet", "mobilenetv3", "inception_v3", "inception_v4")
"""The ways in which a timm model is cut into stages; see `stages.stages`."""


@dataclass(frozen=True)
class Architecture:
    """A row of the table.

    Attributes
    ----------
    name : str
        The name used in run names and for weight files.
    timm : str
        timm's model name with the tag of the pretrained weights.
    family : str
        The family that it is grouped under.
    body : str
        One of `BODIES`: how the network is cut into stages.
    group : str
        ``study`` (the sixteen), ``extra``, ``toy`` (for tests), ``demo`` or a user's own word.
    imagenet_top1 : float or None
        Top-1 accuracy on ImageNet in percent; None where none is published for these weights.
    imagenet_resolution : int
        Side in pixels of the pictures on which it was measured.
    mean, std : tuple of float
        Normalisation of red, green and blue in [0, 1] that the weights expect.
    variant : str
        ``stride_in_first`` moves a bottleneck's stride to its first convolution (ResNet v1), else empty.
    sha256 : str
        Checksum of the only file of weights that belongs to the row; empty if any file may be used.
    source : str
        Where the accuracy is published.
    note : str
        A remark for readers.
    """

    name: str
    timm: str
    family: str
    body: str
    group: str = "user"
    imagenet_top1: float | None = None
    imagenet_resolution: int = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    variant: str = ""
    sha256: str = ""
    source: str = ""
    note: str = ""

    def to_dict(self) -> dict[str, object]:
        """Return the row as a JSON-able dictionary; `from_dict` is its inverse."""
        return asdict(self) | {"mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, row: dict[str, object]) -> Architecture:
        """Return the row that `to_dict`, or a line of a CSV file, describes.

        Raises
        ------
        StudyError
            If a column is missing or unknown, or holds a value of another type.
        """
        columns = {field.name for field in fields(cls)}
        if unknown := sorted(set(row) - columns):
            raise StudyError(
                f"architecture row {row.get('name')!r}: unknown columns {unknown}; known: {sorted(columns)}"
            )
        if missing := [name for name in ("name", "timm", "family", "body") if not row.get(name)]:
            raise StudyError(f"architecture row {row.get('name')!r} lacks {', '.join(missing)}")
        values: dict[str, object] = {name: str(row.get(name) or "") for name in columns}
        values["group"] = row.get("group") or "user"
        try:
            top1 = row.get("imagenet_top1")
            values["imagenet_top1"] = None if top1 in (None, "") else float(str(top1))
            values["imagenet_resolution"] = int(str(row.get("imagenet_resolution") or 224))
            for name, default in (("mean", cls.mean), ("std", cls.std)):
                values[name] = _triple(row.get(name)) or default
        except ValueError as error:
            raise StudyError(f"architecture row {row.get('name')!r}: {error}") from error
        if values["body"] not in BODIES:
            raise StudyError(f"architecture row {row['name']!r}: body {row['body']!r} is none of {', '.join(BODIES)}")
        return cls(**values)  # type: ignore[arg-type]


def _triple(value: object) -> tuple[float, float, float] | None:
    """Return three numbers from a list or from text; None if absent."""
    if not value:
        return None
    parts = value.split() if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or len(parts) != 3:
        raise ValueError(f"three numbers expected, found {value!r}")
    red, green, blue = (float(part) for part in parts)
    return red, green, blue


def read_architectures(path: str | os.PathLike[str], names: Collection[str] | None = None) -> tuple[Architecture, ...]:
    """Read rows from a CSV file with the columns of `architectures.csv`.

    Parameters
    ----------
    path : str or path-like
        The file. Only the columns ``name``, ``timm``, ``family`` and ``body`` are required.
    names : collection of str or None
        The rows to read, so that a wrong row does not refuse the others; None for all.

    Raises
    ------
    StudyError
        If the file cannot be read, a row is wrong, or two rows have the same name.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise StudyError(f"{path}: cannot be read as a table of architectures: {error}") from error
    return _rows(text.splitlines(), names)


def _rows(lines: Iterable[str], wanted: Collection[str] | None = None) -> tuple[Architecture, ...]:
    rows = tuple(
        Architecture.from_dict(dict(row))
        for row in csv.DictReader(lines)
        if wanted is None or row.get("name") in wanted
    )
    names = [row.name for row in rows]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise StudyError(f"architectures named twice: {', '.join(twice)}")
    return rows


ARCHITECTURES: tuple[Architecture, ...] = _rows(
    resources.files(__package__).joinpath("architectures.csv").read_text(encoding="utf-8").splitlines()
)
"""The rows of this package: the sixteen (group ``study``), extra ones, and toys for tests."""


def find_architecture(name: str, more: Iterable[Architecture] = ()) -> Architecture:
    """Return the row called `name`; a row of `more` has precedence over a row of `ARCHITECTURES`.

    Raises
    ------
    StudyError
        If there is none; the message lists all names.
    """
    rows = {row.name: row for row in (*ARCHITECTURES, *more)}
    if name not in rows:
        raise StudyError(f"no architecture is called {name!r}; known: {', '.join(sorted(rows))}")
    return rows[name]
