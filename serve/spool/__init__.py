"""A durable queue on disk."""
