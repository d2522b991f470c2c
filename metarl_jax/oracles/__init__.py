"""Returns of reference agents that know the task, by environment."""

from collections.abc import Callable
from typing import Any

import jax

from metarl_jax.core.environment import Environment
from metarl_jax.core.once import once
from metarl_jax.core.types import Array, Key, Tree
from metarl_jax.envs import (
    Assistant,
    Bandit,
    CartPole,
    Catch,
    Corners,
    DarkRoom,
    DelayedChain,
    DiscountingChain,
    Driving,
    EmptyRooms,
    GridNavi,
    KeyToDoor,
    Maze,
    Navigation,
    Objects,
    Pendulum,
    PointRobot,
    RandomABC,
    RandomMDP,
    Reacher,
    TwoArm,
    TwoColours,
    TwoStep,
)
from metarl_jax.oracles import (
    assistant,
    bandit,
    cartpole,
    catch,
    chains,
    dark_room,
    driving,
    gridnavi,
    key_to_door,
    maze,
    navigation,
    objects,
    pendulum,
    point,
    reacher,
    tabular,
    two_colours,
    two_step,
)

# (environment, key, task) -> the return of every episode of a trial, [episodes]
REFERENCES: dict[type[Environment], Callable[[Any, Key, Any], Array]] = {
    Bandit: bandit.reference_returns,
    CartPole: cartpole.reference_returns,
    Maze: maze.reference_returns,
    Navigation: navigation.reference_returns,
    RandomMDP: tabular.reference_returns,
    Catch: catch.reference_returns,
    GridNavi: gridnavi.reference_returns,
    DarkRoom: dark_room.reference_returns,
    KeyToDoor: key_to_door.reference_returns,
    Driving: driving.reference_returns,
    Reacher: reacher.reference_returns,
    Pendulum: pendulum.reference_returns,
    Corners: point.reference_returns,
    PointRobot: point.reference_returns,
    DelayedChain: chains.delayed_chain_returns,
    DiscountingChain: chains.discounting_chain_returns,
    EmptyRooms: chains.empty_rooms_returns,
    RandomABC: chains.random_abc_returns,
    Objects: objects.reference_returns,
    TwoColours: two_colours.reference_returns,
    TwoArm: bandit.reference_returns,
    TwoStep: two_step.reference_returns,
    Assistant: assistant.reference_returns,
}


@once
def reference(environment: Environment) -> Callable[[Key, Tree], Array] | None:
    """The function `reference_returns(key, tasks) -> [N, episodes]`, or None where no reference agent is known.

    `environment.reference` describes the reference agent.
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
