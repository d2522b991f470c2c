"""Golden numbers: records of lives, and what PyTorch finds for their loss and gradient, in golden.json.

`make_golden.py` makes them. Continuous integration compares the library with them, and so with another automatic
differentiation, without installing it. Inputs are stored, so that no draw has to come out the same on every machine.
"""

import json
import pathlib
from typing import Any

import jax
import numpy as np

PATH = pathlib.Path(__file__).with_name("golden.json")
DECIMALS = 4  # of inputs: any record will do, and short numbers keep the file small
Named = dict[str, np.ndarray]  # leaves of a tree by path


def golden(part: str, case: str) -> dict[str, Named]:
    """The inputs of a case, its `loss` and its `gradient`."""
    stored = json.loads(PATH.read_text())[part][case]
    return {name: {path: np.array(x) for path, x in leaves.items()} for name, leaves in stored.items()}


def named(tree: Any) -> Named:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="."): np.asarray(leaf) for path, leaf in leaves}


def restored(like: Any, stored: Named) -> Any:
    """A tree of the shapes and types of `like` with the stored leaves, and 0 in those that nobody reads."""

    def leaf(path: Any, like: Any) -> np.ndarray:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        return stored.get(name, np.zeros(like.shape)).astype(like.dtype).reshape(like.shape)

    return jax.tree_util.tree_map_with_path(leaf, like)


def short(tree: Any, reads: tuple[str, ...] = ()) -> dict[str, Any]:
    """Inputs as they are stored: rounded, whole numbers and flags as integers; only those that are read."""

    def rounded(x: np.ndarray) -> Any:
        x = np.round(x.astype(float), DECIMALS)
        return (x.astype(int) if np.all(x == np.round(x)) else x).tolist()

    return {name: rounded(x) for name, x in named(tree).items() if name in reads or not reads}
