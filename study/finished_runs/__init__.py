"""What can be done with finished runs: tests on other films, evaluation with other labels, deletion of weights."""
