"""The pure core: one noun of the formula a file."""
