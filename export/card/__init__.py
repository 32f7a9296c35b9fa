"""What a model file says of itself, for people."""
