"""Which runs a study consists of, what they will cost, and where they run."""
