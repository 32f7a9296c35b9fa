"""The model card: a model file's description, for people."""
