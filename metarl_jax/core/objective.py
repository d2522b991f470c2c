"""What a lifetime is judged by: losses [K+1] -> scalar."""

from collections.abc import Callable
from typing import NamedTuple

import jax.numpy as jnp

from metarl_jax.core.types import Array


class Objective(NamedTuple):
    """A reduction of a lifetime's losses, and whether it reads them all or the last only."""

    reduce: Callable[[Array], Array]
    reads_all: bool


final = Objective(lambda losses: losses[-1], reads_all=False)
mean = Objective(jnp.mean, reads_all=True)
OBJECTIVES = {"final": final, "mean": mean}
