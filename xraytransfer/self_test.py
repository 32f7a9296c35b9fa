"""The self-test in a model file: a made picture, and what the model answers for it.

A runtime that leaves out a part of the graph, or computes it too coarsely, gives wrong probabilities without a word.
The picture is fine stripes on a smooth ground, much finer than the model's pixels, so that what a runtime passes over
shows. It is made by a formula of whole numbers, which any language computes alike in a few lines::

    pixel(row, column) = 160 - 600 * column * (columns - 1 - column) // (columns * columns)
                         + 48 * ((row + column) // detail % 2)            (//: division without remainder)
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xraytransfer.errors import DeviceError, ModelFileError
from xraytransfer.observations import OBSERVATIONS

if TYPE_CHECKING:
    import onnxruntime as ort

__all__ = ["SelfTest", "made_picture"]

_LARGEST_SIDE = 8192


def made_picture(rows: int, columns: int, detail: int) -> NDArray[np.uint8]:
    """Return the picture of a self-test.

    Parameters
    ----------
    rows, columns : int
        Its size.
    detail : int
        Width of a stripe in pixels.

    Returns
    -------
    ndarray
        uint8, shape (rows, columns), 10 to 208.
    """
    row, column = np.arange(rows, dtype=np.int64)[:, None], np.arange(columns, dtype=np.int64)
    ground = 160 - 600 * column * (columns - 1 - column) // (columns * columns)
    return (ground + 48 * ((row + column) // detail % 2)).astype(np.uint8)


@dataclass(frozen=True)
class SelfTest:
    """What a model file says of its self-test.

    Attributes
    ----------
    rows, columns, detail : int
        The picture, as `made_picture` takes them.
    probability : tuple of float
        The calibrated probabilities that are right.
    tolerance : float
        Largest difference that a runtime which computes rightly may have.
    """

    rows: int
    columns: int
    detail: int
    probability: tuple[float, ...]
    tolerance: float

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> SelfTest | None:
        """Read the self-test of a metadata document; None where it has none, as before schema version 3.

        Raises
        ------
        ModelFileError
            The entry is not as the schema has it.
        """
        entry = document.get("self_test")
        if entry is None:
            return None
        if not isinstance(entry, dict):
            raise ModelFileError("metadata: self_test is no object")
        for key in ("rows", "columns", "detail"):
            value = entry.get(key)
            if type(value) is not int or not 1 <= value <= _LARGEST_SIDE:
                raise ModelFileError(f"metadata: {key} of self_test is {value!r}, expected 1 to {_LARGEST_SIDE}")
        values = entry.get("probability")
        if not isinstance(values, list) or len(values) != len(OBSERVATIONS):
            raise ModelFileError(f"metadata: self_test needs a list of {len(OBSERVATIONS)} probabilities")
        if not all(_is_share(value) for value in (*values, entry.get("tolerance"))):
            raise ModelFileError("metadata: a probability or the tolerance of self_test is no number from 0 to 1")
        return cls(entry["rows"], entry["columns"], entry["detail"], tuple(values), entry["tolerance"])

    def difference(self, session: ort.InferenceSession) -> float:
        """Return the largest difference of a probability when a session answers the picture.

        Parameters
        ----------
        session : onnxruntime.InferenceSession
            The model file's graph.
        """
        (entry,) = session.get_inputs()
        picture = made_picture(self.rows, self.columns, self.detail)[None, None]
        image = picture.astype(np.float32) if entry.type == "tensor(float)" else picture
        (probability,) = session.run(["probability"], {entry.name: image})
        return float(np.abs(np.asarray(probability[0]) - self.probability).max())

    def require(self, session: ort.InferenceSession, where: str) -> float:
        """Refuse a session that answers otherwise than the model did when its file was written.

        Parameters
        ----------
        session : onnxruntime.InferenceSession
            The model file's graph.
        where : str
            The file and the execution provider, for the message.

        Returns
        -------
        float
            The largest difference, within the tolerance.

        Raises
        ------
        DeviceError
            A probability differs by more than the tolerance.
        """
        difference = self.difference(session)
        if not difference <= self.tolerance:  # never true for NaN
            raise DeviceError(
                f"{where}: the self-test fails: a probability of its made picture differs by {difference:.3f} from "
                f"what the file states (allowed {self.tolerance}); this runtime does not compute what the model "
                "computes: use --device cpu, or another version of ONNX Runtime"
            )
        return difference


def _is_share(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1
