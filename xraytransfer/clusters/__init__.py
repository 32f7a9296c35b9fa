"""Places work on a cluster: as a Slurm array job, or as Ray tasks."""
