"""The options of an export, and the checks that need no training library."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from xraytransfer.errors import ExportError
from xraytransfer.model_metadata import INPUT_SIZES, INPUT_TYPES
from xraytransfer.runtime import check_device

__all__ = ["CARDS", "PRECISIONS", "ExportOptions", "check_output"]

PRECISIONS = ("float32", "float16-weights", "float16", "int8")
CARDS = (".md", ".html")
"""Endings of the cards, which take the model file's name."""


def check_output(out: Path, *, overwrite: bool) -> None:
    """Refuse a place where the model file or its cards cannot or must not be written, before any work is done.

    Raises
    ------
    ExportError
        The name does not end in ``.onnx``, the folder is absent, or a file is there and is not to be replaced.
    """
    if out.suffix != ".onnx":
        raise ExportError(f"{out}: a model file's name ends in .onnx; its cards take the same name with .md and .html")
    if not out.parent.is_dir():
        raise ExportError(f"{out}: the folder {out.parent} does not exist")
    for path in (out, *(out.with_suffix(ending) for ending in CARDS)):
        if path.exists() and not overwrite:
            raise ExportError(f"{path}: exists; --overwrite replaces it")


@dataclass(frozen=True)
class ExportOptions:
    """The options of an export.

    Attributes
    ----------
    name, version : str
        Name and version of the model, not of this program.
    checkpoints, fuse : str
        As `xraytransfer.export.members.choose_members`.
    best : int or None
        Choose at most so many members among the runs (`xraytransfer.export.selection`); all are taken where None.
    chosen_by : str or None
        Name of an external test (`xraytransfer study test`) whose films choose; the validation films where None.
    max_mb, max_ms : float or None
        Budget of that choice: size in 10^6 bytes; time of the networks for one film in milliseconds.
    precision : str
        One of `PRECISIONS`.
    int8_except : tuple of str
        Architectures whose members stay float16-weights in an int8 file.
    calibration : str
        ``auto`` or a method of `xraytransfer.export.calibration`.
    input : {'any', 'fixed'}
        Whether the graph takes films of any size, or at the model's resolution alone.
    input_type : {'uint8', 'float32'}
        Of a fixed input.
    margin : float or None
        AUROC that the precision may cost; the precision's own where None.
    device : str
        Where the graph is checked: ``auto``, ``cpu``, ``cuda`` or ``tensorrt``.
    folder, cache : Path or None
        Where the data set and its cache lie now; where the run says if None.
    quality_gate : Path or None
        Folder of a quality gate that `xraytransfer study quality-gate` trained; none where None.
    external : tuple of (Path, Path)
        Mapping file and folder of each external test set (`xraytransfer.study.data.external_test_set`).
    correct : (Path, Path) or None
        Mapping file and folder of labels that correct those of the test films, for further numbers beside the others.
    robustness : bool
        Score the test films in every variant of `robustness.VARIANTS` too, for the card.
    licence : str
        SPDX identifier of the weights' licence.
    weights_out : Path or None
        Folder to write the members' weights to; nowhere where None.
    overwrite : bool
        Replace a file that exists.
    force : bool
        Write although a check failed, and say so inside.
    """

    name: str = "default"
    version: str = "1"
    checkpoints: str = "all"
    fuse: str = "none"
    best: int | None = None
    chosen_by: str | None = None
    max_mb: float | None = None
    max_ms: float | None = None
    precision: str = "float32"
    int8_except: tuple[str, ...] = ()
    calibration: str = "auto"
    input: str = "any"
    input_type: str = "uint8"
    margin: float | None = None
    device: str = "auto"
    folder: Path | None = None
    cache: Path | None = None
    quality_gate: Path | None = None
    external: tuple[tuple[Path, Path], ...] = ()
    correct: tuple[Path, Path] | None = None
    robustness: bool = False
    licence: str = "Apache-2.0"
    weights_out: Path | None = None
    overwrite: bool = False
    force: bool = False

    def float_members(self, architectures: Sequence[str]) -> list[int]:
        """Return the indices of the members that int8 leaves alone.

        Raises
        ------
        ExportError
            No member is of a named architecture, or all members would be left alone.
        """
        if unknown := [name for name in self.int8_except if name not in architectures]:
            raise ExportError(f"--int8-except {unknown[0]}: the members are {', '.join(dict.fromkeys(architectures))}")
        float_members = [index for index, name in enumerate(architectures) if name in self.int8_except]
        if len(float_members) == len(architectures):
            raise ExportError("--int8-except leaves no member to be int8; --precision float16-weights is what is left")
        return float_members

    def check(self, out: Path) -> None:
        """Refuse options that cannot work, before any heavy library is loaded.

        Raises
        ------
        ExportError
            As `check_combination` and `check_output`.
        DeviceError
            The device is unknown, or has no GPU.
        """
        self.check_combination()
        check_device(self.device)
        check_output(out, overwrite=self.overwrite)

    def check_combination(self) -> None:
        """Refuse options that are unknown or do not go together.

        Raises
        ------
        ExportError
            Such as an input type without a fixed input.
        """
        if self.precision not in PRECISIONS:
            raise ExportError(f"unknown precision {self.precision!r}; known: {', '.join(PRECISIONS)}")
        if self.int8_except and self.precision != "int8":
            raise ExportError(f"--int8-except {self.int8_except[0]}: means something with --precision int8 alone")
        if self.input not in INPUT_SIZES or self.input_type not in INPUT_TYPES:
            raise ExportError(f"unknown input {self.input!r} of {self.input_type!r}")
        if self.input_type != "uint8" and self.input == "any":
            raise ExportError(f"--input-type {self.input_type}: means something with --input fixed alone")
        self._check_choice()

    def _check_choice(self) -> None:
        """Refuse options of the choice of members that do not go together."""
        if self.best is None:
            if self.max_mb is not None or self.max_ms is not None:
                raise ExportError("--max-mb and --max-ms limit what --best K chooses: give --best too")
            if self.chosen_by is not None:
                raise ExportError(
                    f"--chosen-by {self.chosen_by}: says which films --best K chooses by: give --best too"
                )
            return
        if self.best < 1:
            raise ExportError(f"--best {self.best}: expected a number from 1")
        if (self.checkpoints, self.fuse) != ("all", "none"):
            raise ExportError("--best chooses checkpoints and soups itself: leave out --checkpoints and --fuse")
