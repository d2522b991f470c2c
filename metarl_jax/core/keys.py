"""Keys of one implementation, whatever JAX's default is.

Under vmap, rbg draws for a whole batch from its first key. A loop in which the first element has finished would then
draw the same for all others for ever.
"""

import jax

from metarl_jax.core.types import Key

IMPLEMENTATION = "threefry2x32"


def key_of(seed: int) -> Key:
    """The key of a seed."""
    return jax.random.key(seed, impl=IMPLEMENTATION)


def check_key(key: Key) -> None:
    """Raise ValueError unless `key` is a typed key, or an array of them, of the one implementation."""
    typed = jax.dtypes.issubdtype(key.dtype, jax.dtypes.prng_key)
    kind = str(jax.random.key_impl(key)) if typed else f"an array of {key.dtype}"
    if kind != IMPLEMENTATION:
        remedy = f'make it with `jax.random.key(seed, impl="{IMPLEMENTATION}")`'
        raise ValueError(f"the key is {kind}; it must be a typed key of {IMPLEMENTATION}: {remedy}")
