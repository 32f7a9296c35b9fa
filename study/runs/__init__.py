"""Plans the runs of a study, estimates their cost, and starts them."""
