"""Whether a model file answers as it should, and how well it does."""
