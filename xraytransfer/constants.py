"""Constants that import no library: devices, forms of results, and the notice on intended use."""

__all__ = ["DECODING", "DEVICES", "FORMATS", "RESEARCH_NOTICE", "RESUMABLE"]

DEVICES = ("auto", "cuda", "tensorrt", "cpu")
"""Devices that a model can run on; ``auto`` takes the GPU where one works."""

DECODING = ("full", "reduced")
"""Resolutions at which compressed films are decoded."""

FORMATS = ("table", "json", "jsonl", "csv", "parquet")
"""Forms in which results are written."""

RESUMABLE = ("jsonl", "csv")
"""Those of `FORMATS` to which a later run can append."""

RESEARCH_NOTICE = "For research use only. Not a medical device: never a basis for diagnosis or treatment."
"""The one sentence on what this software is not."""
