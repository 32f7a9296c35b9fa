"""What may be chosen, in a module that costs nothing to import: devices and forms of results."""

__all__ = ["DEVICES", "FORMATS", "RESUMABLE"]

DEVICES = ("auto", "cuda", "tensorrt", "cpu")
FORMATS = ("table", "json", "jsonl", "csv")
RESUMABLE = ("jsonl", "csv")
