"""A data set on disk becomes a table, a split, a cache and stored predictions."""
