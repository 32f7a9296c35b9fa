"""Reads the results of finished runs and answers the study's four questions in tables."""
