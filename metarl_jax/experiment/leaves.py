"""Leaves of a tree as they are stored: by name, with their shape and dtype."""

from typing import Any

import jax
import numpy as np

Form = dict[str, Any]  # {"shape": [2, 3], "dtype": "float32"}


def leaf_name(keys: tuple[Any, ...]) -> str:
    """The name of a leaf by its path: `params.0.w`."""
    return jax.tree_util.keystr(keys, simple=True, separator=".")


def leaf_form(leaf: Any) -> Form:
    """The stored shape and dtype of a leaf."""
    if is_key(leaf):
        leaf = jax.eval_shape(jax.random.key_data, leaf)
    return {"shape": list(leaf.shape), "dtype": str(leaf.dtype)}


def forms(tree: Any) -> dict[str, Form]:
    """The forms of the leaves of a tree by name."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {leaf_name(keys): leaf_form(leaf) for keys, leaf in leaves}


def packed(tree: Any) -> dict[str, np.ndarray]:
    """The leaves of a tree by name, with typed keys as their data."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    plain = {leaf_name(keys): jax.random.key_data(leaf) if is_key(leaf) else leaf for keys, leaf in leaves}
    return {name: np.asarray(leaf, order="C") for name, leaf in plain.items()}


def unpacked(arrays: dict[str, np.ndarray], like: Any) -> Any:
    """The inverse of `packed`: a tree like the abstract one, on the default device."""
    leaves, structure = jax.tree_util.tree_flatten_with_path(like)
    return jax.tree.unflatten(structure, [_unpacked(arrays[leaf_name(keys)], leaf) for keys, leaf in leaves])


def _unpacked(array: np.ndarray, like: Any) -> jax.Array:
    if not is_key(like):
        return jax.numpy.array(array)
    kind = jax.random.key_impl(jax.numpy.zeros((), like.dtype))
    return jax.random.wrap_key_data(jax.numpy.array(array), impl=kind)


def is_key(leaf: Any) -> bool:
    """Whether a leaf is of typed keys."""
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
