"""Numbers from arrays: no file, no network."""
