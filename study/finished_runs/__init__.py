"""What is done with finished runs: they are tested on other films, judged by other labels, and thinned."""
