"""The study: architectures, pretraining, truncation, training, statistics, report."""
