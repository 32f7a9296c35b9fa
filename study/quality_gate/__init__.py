"""Training of the small network that says which pictures may be scored."""
