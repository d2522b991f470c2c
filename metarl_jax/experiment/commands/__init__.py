"""The commands of `metarl`, a file for each kind; each imports JAX only when it runs."""
