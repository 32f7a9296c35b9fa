"""Scores archives of any size: a manifest lists the films, a shard is a piece of it, a part is a shard's results."""
