"""Trains one run, from its config.json to its done.json."""
