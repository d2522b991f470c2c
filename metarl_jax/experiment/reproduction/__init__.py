"""The tables of this project made again, and what came out beside what is committed, published and possible."""
