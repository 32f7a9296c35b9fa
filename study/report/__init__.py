"""Writes the study's answers as a page, figures and files."""
