"""The optimal returns of known chains and rooms, in which there is only one choice."""

from collections import deque

import jax.numpy as jnp
import numpy as np

from metarl_jax.core.types import Array, Key
from metarl_jax.envs.delayed_chain import DelayedChain, DelayedChainTask
from metarl_jax.envs.discounting_chain import DELAYS, DiscountingChain, DiscountingChainTask
from metarl_jax.envs.empty_rooms import EmptyRooms, EmptyRoomsTask
from metarl_jax.envs.grid import MOVES, Place
from metarl_jax.envs.random_abc import RandomABC, RandomABCTask


def delayed_chain_returns(environment: DelayedChain, key: Key, task: DelayedChainTask) -> Array:
    """The better of the two payments, in each episode of a trial, [episodes]: only the first action matters."""
    return jnp.full(environment.episodes, jnp.max(task.pay))


def discounting_chain_returns(environment: DiscountingChain, key: Key, task: DiscountingChainTask) -> Array:
    """The best payment within the time limit, in each episode of a trial, [episodes]: only the first action matters."""
    in_time = jnp.asarray(DELAYS, jnp.int32) <= environment.steps
    return jnp.full(environment.episodes, jnp.max(jnp.where(in_time, task.pay, 0.0)))


def random_abc_returns(environment: RandomABC, key: Key, task: RandomABCTask) -> Array:
    """The best reward among the objects within reach and no object, in each episode of a trial, [episodes].

    An episode takes at most one object, and each can be reached without touching another: C and A up the outer columns,
    B up the middle one.
    """
    away = np.abs(np.asarray(environment.objects) - np.asarray(environment.start)).sum(axis=1)
    within = jnp.asarray(away <= environment.steps)
    return jnp.full(environment.episodes, jnp.maximum(jnp.max(jnp.where(within, task.pay, 0.0)), 0.0))


def empty_rooms_returns(environment: EmptyRooms, key: Key, task: EmptyRoomsTask) -> Array:
    """1 if the shortest path to the goal is within the time limit, else 0, in each episode of a trial, [episodes]."""
    reached = jnp.asarray(distances(environment))[task.goal[0], task.goal[1]] <= environment.steps
    return jnp.full(environment.episodes, reached.astype(float))


def explorer_steps(environment: EmptyRooms) -> np.ndarray:
    """Steps until an explorer first enters each cell, over all its episodes, [capacity, capacity]; infinite if never.

    It walks to the nearest of the possible goals that it has not entered, and starts again when an episode ends.
    """
    found = np.full((environment.capacity, environment.capacity), np.inf)
    left = set(environment.goals(farthest=False))
    cell, clock = (0, 0), 0
    while left:
        away = distances(environment, cell)
        target = min(left, key=lambda goal: (away[goal], goal))
        back = distances(environment, target)
        while cell != target:
            around = [(cell[0] + down, cell[1] + right) for down, right in MOVES]
            cell = min((place for place in around if _is_free(environment, place)), key=lambda place: back[place])
            clock += 1
            found[cell] = min(found[cell], clock)
            left.discard(cell)
            if clock % environment.steps == 0:
                cell = (0, 0)
                break
    return found


def distances(environment: EmptyRooms, start: Place = (0, 0)) -> np.ndarray:
    """Steps from a cell to every cell by breadth-first search, [capacity, capacity]; infinite for walls."""
    steps = np.full((environment.capacity, environment.capacity), np.inf)
    steps[start] = 0.0
    queue = deque([start])
    while queue:
        row, column = queue.popleft()
        for down, right in MOVES:
            ahead = row + down, column + right
            if _is_free(environment, ahead) and np.isinf(steps[ahead]):
                steps[ahead] = steps[row, column] + 1.0
                queue.append(ahead)
    return steps


def _is_free(environment: EmptyRooms, place: Place) -> bool:
    return min(place) >= 0 and max(place) < environment.capacity and bool(environment.free[place])
