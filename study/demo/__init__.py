"""A whole small study that needs no data."""
