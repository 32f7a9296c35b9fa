"""Score chest radiographs with small, well-measured networks. For research, not a medical device."""
