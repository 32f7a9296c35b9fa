"""Checks that a model file answers as its networks do, and measures how accurate it is."""
