"""A step of φ along its gradient, and what is logged of that gradient: length, direction, noise, dead leaves."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax.core.types import Array, Tree
from metarl_jax.core.update import stepped
from metarl_jax.core.window import Info

Reach = Callable[[str], bool]  # path of a leaf of φ -> whether the objective is a function of it


class Followed(NamedTuple):
    """The memory of an update that follows a gradient."""

    optimiser: Tree
    gradient: Tree  # the last one; zeros before the first


class Clipped(NamedTuple):
    """The memory of an optimiser that clips gradients."""

    clipped: Array  # [] 1 where the last gradient was too long


def unmoved(optimiser: optax.GradientTransformation, meta_params: Tree) -> Followed:
    """The memory of an update before its first step."""
    return Followed(optimiser.init(meta_params), jax.tree.map(jnp.zeros_like, meta_params))


def followed(
    optimiser: optax.GradientTransformation,
    gradient: Tree,
    meta_params: Tree,
    memory: Followed,
    reach: Reach = lambda path: True,
) -> tuple[Tree, Followed, Info]:
    """φ and the memory after one step of the optimiser, and the diagnostics of the gradient, which change neither."""
    info = diagnostics(gradient, memory.gradient, reach)
    meta_params, own = stepped(optimiser, gradient, meta_params, memory.optimiser)
    clipped = optax.tree.get(own, "clipped")
    return meta_params, Followed(own, gradient), info if clipped is None else info | {"clipped": clipped}


def diagnostics(gradient: Tree, last: Tree, reach: Reach = lambda path: True) -> Info:
    """The norm of a gradient, its cosine with the `last` one, 0 where either is zero, and the number of dead leaves."""
    norm, before = optax.tree.norm(gradient), optax.tree.norm(last)
    cosine = optax.tree.vdot(gradient, last) / jnp.maximum(norm * before, 1e-30)
    dead = jnp.sum(jnp.asarray([*dead_leaves(gradient, reach).values(), False]).astype(float))
    return {"gradient_norm": norm, "gradient_cosine": cosine, "dead_leaves": dead}


def dead_leaves(gradient: Tree, reach: Reach = lambda path: True) -> dict[str, Array]:
    """Whether each leaf within reach has a gradient of exactly zero while some leaf has another, [] bool by path."""
    zero = {
        jax.tree_util.keystr(path): jnp.all(leaf == 0)
        for path, leaf in jax.tree_util.tree_leaves_with_path(gradient)
        if reach(jax.tree_util.keystr(path))
    }
    alive = ~jnp.all(jnp.array([*zero.values(), True]))
    return {path: dead & alive for path, dead in zero.items()}


def variance(gradient: Tree, moment: Array, tasks: int, groups: int) -> Info:
    """The variance of the gradient over tasks, E ‖g − E g‖², without bias, from those of independent groups of tasks.

    With S_j the sum of the gradients of the n_j tasks of group j, of M groups with N tasks together,

        E ‖S_j‖² / n_j = variance + n_j ‖E g‖²,    so    (Σ_j ‖S_j‖² / n_j − N ‖g̅‖²) / (M − 1)

    is an estimate without bias. It needs two groups, and is left out where there is one.

    Args:
        gradient: g̅, the mean over all tasks.
        moment: the mean over groups of ‖S_j‖² / n_j.
        tasks: N.
        groups: M.
    """
    if groups < 2:
        return {}
    squared = optax.tree.norm(gradient, squared=True)
    return {"gradient_variance": jnp.maximum(groups * moment - tasks * squared, 0.0) / (groups - 1)}
