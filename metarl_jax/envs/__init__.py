"""The environments by name; a new one is a file here and a line below."""

import dataclasses
from typing import Any

from metarl_jax.core.environment import Environment, nearest
from metarl_jax.envs.bandit import Bandit
from metarl_jax.envs.cartpole import CartPole
from metarl_jax.envs.maze import Maze
from metarl_jax.envs.navigation import Navigation
from metarl_jax.envs.tabular import RandomMDP

ENVIRONMENTS: dict[str, type[Environment]] = {
    environment.name: environment for environment in (CartPole, Maze, Bandit, Navigation, RandomMDP)
}


def make(name: str, **options: Any) -> Environment:
    """Build the environment `name` with its `options`.

    Raises:
        ValueError: the name or an option is unknown, or an option has an illegal value.
    """
    if name not in ENVIRONMENTS:
        choices = ", ".join(ENVIRONMENTS)
        raise ValueError(f"unknown environment {name!r}; choose one of {choices}{nearest(name, ENVIRONMENTS)}")
    known = [field.name for field in dataclasses.fields(ENVIRONMENTS[name])]
    for option in options:
        if option not in known:
            choices = ", ".join(known)
            raise ValueError(f"{name} has no option {option!r}; choose among {choices}{nearest(option, known)}")
    return ENVIRONMENTS[name](**options)


__all__ = ["ENVIRONMENTS", "Bandit", "CartPole", "Maze", "Navigation", "RandomMDP", "make"]
