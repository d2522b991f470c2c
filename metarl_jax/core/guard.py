"""Where numbers stop being finite: a meta-step that is skipped, lives that end, episodes that are left out."""

import functools

import jax
import jax.numpy as jnp
import optax

from metarl_jax.core.returns import discounted_returns
from metarl_jax.core.types import Array, Experience, Step, Timestep, Tree


def is_finite(tree: Tree) -> Array:
    """Whether every float of a tree is finite, [] bool."""
    return functools.reduce(jnp.logical_and, (jnp.all(jnp.isfinite(x)) for x in floats(tree)), jnp.bool_(True))


def each_is_finite(tree: Tree) -> Array:
    """Whether every float of each of the N trees of a tree [N, ...] is finite, [N] bool."""
    each = [jnp.all(jnp.isfinite(x), axis=tuple(range(1, x.ndim))) for x in floats(tree)]
    return functools.reduce(jnp.logical_and, each)


def floats(tree: Tree) -> list[Array]:
    """The leaves of a tree that hold floats."""
    return [leaf for leaf in jax.tree.leaves(tree) if jnp.issubdtype(leaf.dtype, jnp.inexact)]


def is_sound(meta_params: Tree, *others: Tree) -> Array:
    """Whether φ, and all that belongs to it, are numbers with which a meta-step can go on, [] bool.

    The norm of φ must be finite, too: from √(largest float) on, a product of two parameters is none.
    """
    return is_finite(others) & jnp.isfinite(optax.tree.norm(floats(meta_params)))


def guarded(sound: Array, new: Tree, old: Tree) -> Tree:
    """The new tree where it is sound; otherwise the old one."""
    # A `where` for each leaf would repeat the check of all leaves in each: a third of the program.
    return jax.lax.cond(sound, lambda: new, lambda: old)


def zeroed(tree: Tree) -> Tree:
    """The tree with 0 in place of every number that is not finite."""
    inexact = lambda x: jnp.issubdtype(x.dtype, jnp.inexact)  # noqa: E731
    return jax.tree.map(lambda x: jnp.where(jnp.isfinite(x), x, 0.0) if inexact(x) else x, tree)


def marked(seen: Experience) -> Experience:
    """The record with a reward of NaN wherever an observation is not finite: whatever is computed from it shows it.

    A policy may act on such an observation, and be paid a finite reward.
    """
    both = jnp.isfinite(seen.timestep.observation) & jnp.isfinite(seen.next_observation)
    whole = jnp.all(both, axis=-1) | (seen.weight == 0)
    return seen._replace(reward=jnp.where(whole, seen.reward, jnp.nan))


def blinded(timestep: Timestep) -> tuple[Timestep, Array]:
    """The timestep with an observation of zeros wherever it is not finite, and where that is so, [E] bool."""
    broken = ~jnp.all(jnp.isfinite(timestep.observation), axis=-1)
    return timestep._replace(observation=jnp.where(broken[..., None], 0.0, timestep.observation)), broken


def cut(step: Step, timestep: Timestep, broken: Array) -> tuple[Step, Array]:
    """A step in place of one that is not finite: nothing happens, and the episode is truncated; and where, [E] bool."""
    broken |= ~(jnp.isfinite(step.reward) & jnp.all(jnp.isfinite(step.observation), axis=-1))
    still = step._replace(
        observation=jnp.where(broken[..., None], timestep.observation, step.observation),
        reward=jnp.where(broken, 0.0, step.reward),
        terminated=step.terminated & ~broken,
        truncated=step.truncated | broken,
        info={name: jnp.where(broken, jnp.zeros_like(x), x) for name, x in step.info.items()},
    )
    return still, broken


def left_out(seen: Experience, broken: Array) -> Experience:
    """The record without the episodes that were cut, as far as it holds them: their steps weigh nothing."""
    dtype, goes_on = seen.reward.dtype, ~(seen.terminated | seen.truncated)
    ahead = discounted_returns(broken.astype(dtype), goes_on.astype(dtype)) > 0
    weight = jnp.where(ahead, 0.0, seen.weight)
    return seen._replace(weight=weight, earned=jnp.where(ahead[0], 0.0, seen.earned))
