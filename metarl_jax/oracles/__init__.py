"""Reference agents: what one that knows the task would get, by environment."""

from collections.abc import Callable
from typing import Any

import jax

from metarl_jax.core.environment import Environment
from metarl_jax.core.types import Array, Key, Tree
from metarl_jax.envs import Bandit, CartPole, Maze, Navigation, RandomMDP
from metarl_jax.oracles import bandit, cartpole, maze, navigation, tabular

# (environment, key, task) -> the return of every episode of a trial, [episodes]
REFERENCES: dict[type[Environment], Callable[[Any, Key, Any], Array]] = {
    Bandit: bandit.reference_returns,
    CartPole: cartpole.reference_returns,
    Maze: maze.reference_returns,
    Navigation: navigation.reference_returns,
    RandomMDP: tabular.reference_returns,
}


def reference(environment: Environment) -> Callable[[Key, Tree], Array] | None:
    """Returns `reference_returns(key, tasks) -> [N, episodes]`, or None where no reference agent is known.

    `environment.reference` says in words who the reference agent is.
    """
    one = REFERENCES.get(type(environment))
    if one is None:
        return None

    @jax.jit
    def reference_returns(key: Key, tasks: Tree) -> Array:
        keys = jax.random.split(key, len(jax.tree.leaves(tasks)[0]))
        return jax.vmap(lambda key, task: one(environment, key, task))(keys, tasks)

    return reference_returns


__all__ = ["REFERENCES", "reference"]
