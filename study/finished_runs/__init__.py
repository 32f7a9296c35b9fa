"""Tests finished runs on other films, evaluates them with other labels, and deletes their weights."""
