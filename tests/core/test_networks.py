"""Networks."""

import jax
import numpy as np
import pytest

from metarl_jax.core.networks import orthogonal


@pytest.mark.parametrize("shape", [(16, 16), (3, 16), (16, 3)])
def test_orthogonal_weights_equal_those_of_jax_without_lapack(shape: tuple[int, int]) -> None:
    """Batches of LAPACK calls never end on one core."""
    key = jax.random.key(0)
    expected = jax.nn.initializers.orthogonal(2.0)(key, shape)
    np.testing.assert_allclose(orthogonal(2.0)(key, shape), expected, atol=1e-5)
    births = jax.jit(jax.vmap(lambda key: orthogonal()(key, shape)))
    assert "lapack" not in births.lower(jax.random.split(key, 2)).as_text()
