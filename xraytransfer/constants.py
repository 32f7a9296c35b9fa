"""Constants that import no library: devices, forms of results, and the notice on intended use."""

__all__ = [
    "DECODING",
    "DEVICES",
    "FORMATS",
    "INTENDED_USE",
    "NOT_INTENDED_USE",
    "OLDEST_ONNX_RUNTIME",
    "RESEARCH_NOTICE",
    "RESUMABLE",
    "UNINTENDED_FILMS",
]

DEVICES = ("auto", "cuda", "tensorrt", "cpu")
"""Devices that a model can run on; ``auto`` takes the GPU where one works."""

OLDEST_ONNX_RUNTIME = (1, 20)
"""The oldest version that this package works with; as in pyproject.toml."""

DECODING = ("full", "reduced")
"""Resolutions at which compressed films are decoded."""

FORMATS = ("table", "json", "jsonl", "csv", "parquet")
"""Forms in which results are written."""

RESUMABLE = ("jsonl", "csv")
"""Those of `FORMATS` to which a later run can append."""

UNINTENDED_FILMS = ("note", "refuse")
"""What to do with films of patients that models are not meant for: under 18, or animals."""

AVERAGE_READER = "average reader"
"""Name of the mean of all readers beside theirs, in model files and on the card."""

INTENDED_USE = (
    "Intended use: research on frontal (PA or AP) chest radiographs of adults: comparing methods, triage "
    "simulations, teaching, and as a component to be validated on a site's own films."
)
NOT_INTENDED_USE = (
    "Not intended for: diagnosis or treatment, children, lateral views, ruling anything out, or any use in "
    "which a person is not reading the film. A negative answer never excludes a finding."
)
"""The limits of use, in the same words on the model card, in DICOM results and in documents."""

RESEARCH_NOTICE = "For research use only. Not a medical device: never a basis for diagnosis or treatment."
"""The one sentence on what this software is not."""
