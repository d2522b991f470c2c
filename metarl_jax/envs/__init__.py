"""The environments by name. A new one needs a file here and a line below."""

import dataclasses
from typing import Any

from metarl_jax.core.checks import nearest
from metarl_jax.core.environment import Environment
from metarl_jax.envs.adapter import ADAPTED, from_gymnax, to_gymnasium, to_gymnax
from metarl_jax.envs.assistant import Assistant
from metarl_jax.envs.bandit import Bandit
from metarl_jax.envs.cartpole import CartPole
from metarl_jax.envs.catch import Catch
from metarl_jax.envs.corners import Corners
from metarl_jax.envs.dark_room import DarkRoom
from metarl_jax.envs.delayed_chain import DelayedChain
from metarl_jax.envs.discounting_chain import DiscountingChain
from metarl_jax.envs.driving import Driving
from metarl_jax.envs.empty_rooms import EmptyRooms
from metarl_jax.envs.gridnavi import GridNavi
from metarl_jax.envs.key_to_door import KeyToDoor
from metarl_jax.envs.maze import Maze
from metarl_jax.envs.navigation import Navigation
from metarl_jax.envs.objects import Objects
from metarl_jax.envs.pendulum import Pendulum
from metarl_jax.envs.point_robot import PointRobot
from metarl_jax.envs.random_abc import RandomABC
from metarl_jax.envs.reacher import Reacher
from metarl_jax.envs.tabular import RandomMDP
from metarl_jax.envs.two_arm import TwoArm
from metarl_jax.envs.two_colours import TwoColours
from metarl_jax.envs.two_step import TwoStep

ENVIRONMENTS: dict[str, type[Environment]] = {
    environment.name: environment
    for environment in (
        CartPole,
        Maze,
        Bandit,
        Navigation,
        RandomMDP,
        PointRobot,
        Corners,
        Pendulum,
        Reacher,
        Driving,
        Catch,
        GridNavi,
        DarkRoom,
        KeyToDoor,
        TwoArm,
        TwoStep,
        Assistant,
        DelayedChain,
        DiscountingChain,
        EmptyRooms,
        Objects,
        RandomABC,
        TwoColours,
    )
}


def everything() -> dict[str, type[Environment]]:
    """The environments of this package and those adapted from gymnax, by name."""
    return ENVIRONMENTS | ADAPTED


def make(name: str, **options: Any) -> Environment:
    """Build the environment `name`, one of ours or "gymnax/...", with its `options`.

    Raises:
        ValueError: the name or an option is unknown, or an option has an illegal value.
    """
    kinds = everything()
    if name not in kinds:
        choices = ", ".join(ENVIRONMENTS)
        raise ValueError(f"unknown environment {name!r}; choose one of {choices}{nearest(name, kinds)}")
    known = [field.name for field in dataclasses.fields(kinds[name])]
    for option in options:
        if option not in known:
            choices = ", ".join(known)
            raise ValueError(f"{name} has no option {option!r}; choose among {choices}{nearest(option, known)}")
    return kinds[name](**options)


__all__ = [
    "ADAPTED",
    "ENVIRONMENTS",
    "Assistant",
    "Bandit",
    "CartPole",
    "Catch",
    "Corners",
    "DarkRoom",
    "DelayedChain",
    "DiscountingChain",
    "Driving",
    "EmptyRooms",
    "GridNavi",
    "KeyToDoor",
    "Maze",
    "Navigation",
    "Objects",
    "Pendulum",
    "PointRobot",
    "RandomABC",
    "RandomMDP",
    "Reacher",
    "TwoArm",
    "TwoColours",
    "TwoStep",
    "everything",
    "from_gymnax",
    "make",
    "to_gymnasium",
    "to_gymnax",
]
