"""The one sentence on what this software is not."""

__all__ = ["RESEARCH_NOTICE"]

RESEARCH_NOTICE = "For research use only. Not a medical device: never a basis for diagnosis or treatment."
