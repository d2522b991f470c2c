"""Trees of arrays: compared, and in double precision."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def double(tree: Any) -> Any:
    return jax.tree.map(lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def close(a: Any, b: Any, rtol: float = 1e-6, atol: float = 1e-9) -> None:
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=rtol, atol=atol), a, b)
