"""Drawn chest films, for tests and the demo."""
