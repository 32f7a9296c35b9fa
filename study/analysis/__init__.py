"""What finished runs say: results, the four questions, and tables."""
