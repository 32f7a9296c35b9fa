"""The transfer syntaxes that are read.

References
----------
DICOM PS3.5 annex A (transfer syntaxes), PS3.6 annex A (their UIDs).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SYNTAXES", "Syntax", "family"]


@dataclass(frozen=True)
class Syntax:
    """A transfer syntax.

    Attributes
    ----------
    name : str
        As PS3.6 names it.
    coding : str
        ``native``, or the kind of codestream: ``run-length``, ``baseline``, ``jpeg`` (any process),
        ``jpeg-ls`` or ``jpeg-2000``.
    lossy : bool
        Whether it exists for lossy codestreams of a family that may be lossless.
    little : bool
        Byte order of native pixels.
    """

    name: str
    coding: str = "native"
    lossy: bool = False
    little: bool = True


SYNTAXES: dict[str, Syntax] = {
    "1.2.840.10008.1.2": Syntax("Implicit VR Little Endian"),
    "1.2.840.10008.1.2.1": Syntax("Explicit VR Little Endian"),
    "1.2.840.10008.1.2.1.99": Syntax("Deflated Explicit VR Little Endian"),
    "1.2.840.10008.1.2.2": Syntax("Explicit VR Big Endian", little=False),
    "1.2.840.10008.1.2.5": Syntax("RLE Lossless", "run-length"),
    "1.2.840.10008.1.2.4.50": Syntax("JPEG Baseline (Process 1)", "baseline"),
    "1.2.840.10008.1.2.4.51": Syntax("JPEG Extended (Process 2 and 4)", "jpeg"),
    "1.2.840.10008.1.2.4.53": Syntax("JPEG Spectral Selection (Process 6 and 8)", "jpeg"),
    "1.2.840.10008.1.2.4.55": Syntax("JPEG Full Progression (Process 10 and 12)", "jpeg"),
    "1.2.840.10008.1.2.4.57": Syntax("JPEG Lossless (Process 14)", "jpeg"),
    "1.2.840.10008.1.2.4.70": Syntax("JPEG Lossless (Process 14, Selection Value 1)", "jpeg"),
    "1.2.840.10008.1.2.4.80": Syntax("JPEG-LS Lossless", "jpeg-ls"),
    "1.2.840.10008.1.2.4.81": Syntax("JPEG-LS Near-lossless", "jpeg-ls", lossy=True),
    "1.2.840.10008.1.2.4.90": Syntax("JPEG 2000 Lossless", "jpeg-2000"),
    "1.2.840.10008.1.2.4.91": Syntax("JPEG 2000", "jpeg-2000", lossy=True),
    "1.2.840.10008.1.2.4.201": Syntax("High-Throughput JPEG 2000 Lossless", "jpeg-2000"),
    "1.2.840.10008.1.2.4.202": Syntax("High-Throughput JPEG 2000 with RPCL Lossless", "jpeg-2000"),
    "1.2.840.10008.1.2.4.203": Syntax("High-Throughput JPEG 2000", "jpeg-2000", lossy=True),
}
"""Every transfer syntax that is read, by UID."""


def family(process: str) -> str:
    """Return the family of a kind of codestream: all processes of JPEG are one."""
    return process if process in ("native", "run-length", "jpeg-ls", "jpeg-2000") else "jpeg"
