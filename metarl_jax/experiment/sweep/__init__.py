"""Several runs at once: the grid of their options and seeds, the programs that train them, and what they found."""
