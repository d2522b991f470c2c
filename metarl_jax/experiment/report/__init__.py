"""The report of runs: one HTML file with charts, comparisons and films of the agents, which loads nothing else."""
