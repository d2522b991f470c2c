"""The pure core: one file for each noun of the formula."""
