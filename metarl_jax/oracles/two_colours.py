"""The optimal return with two known boxes."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.types import Array, Key
from metarl_jax.envs.grid import landings
from metarl_jax.envs.two_colours import CELLS, SIDE, STEP_COST, TwoColours, TwoColoursTask


def best_return(environment: TwoColours, task: TwoColoursTask) -> Array:
    """The largest expected return of an episode with known boxes, [] float32.

    Backward induction over (walker, first box, second box), 25^3 states: with h steps to go V_h = max over moves of pay
    + E V_{h-1}, with the expectation over the new place of a taken box. By Bellman's principle nothing does better. The
    result is the mean over the starts, three different cells. O(steps 25^3 5).
    """
    steps = jnp.arange(environment.steps)[::-1]

    def step_more(value: Array, time: Array) -> tuple[Array, None]:
        pay = task.pay if environment.swap == 0 else jnp.roll(task.pay, time // environment.swap)
        return backup(value, pay), None

    value: Array = jax.lax.scan(step_more, jnp.zeros((CELLS, CELLS, CELLS)), steps)[0]
    return jnp.sum(value, where=apart()) / int(apart().sum())


def average_reward(pay: Array, iterations: int = 2_000) -> float:
    """The largest expected reward a step in the long run, for boxes that pay `pay` [2].

    With V the relative values, max E[pay + V] - V is the same number from every state: .2789 for boxes of +1 and -1.
    The best policy first takes the bad box, at a loss, until that lies in a corner, out of the way. A policy that
    avoids the bad box gets .2694, averaged over the places of that box.
    """
    value = relative_values(pay, iterations)
    return float((backup(value, pay) - value)[0, 1, 2])


def relative_values(pay: Array, iterations: int = 2_000) -> Array:
    """The relative values of the average-reward criterion, [25, 25, 25] float32, by value iteration.

    Every policy that keeps taking boxes visits one recurrent class, which is aperiodic because the times between boxes
    vary. So V_{h+1} - V_h converges geometrically to the same number for every state.
    """

    def again(_: int, value: Array) -> Array:
        return backup(value - value[0, 1, 2], pay)  # kept small

    settled: Array = jax.lax.fori_loop(0, iterations, again, jnp.zeros((CELLS, CELLS, CELLS)))
    return settled


def backup(value: Array, pay: Array) -> Array:
    """The value with one more step to go, [25, 25, 25]."""
    return jnp.max(arrivals(value, pay)[landings(SIDE)], axis=0)


def arrivals(value: Array, pay: Array) -> Array:
    """The value of arriving in a cell, given the boxes before the move, [25, 25, 25]."""
    on_first, on_second = (jnp.asarray(mask) for mask in taken())
    # a box appears in one of the 23 cells that hold neither the walker nor the other box
    first = jnp.sum(value, axis=1, keepdims=True, where=apart()) / (CELLS - 2)
    second = jnp.sum(value, axis=2, keepdims=True, where=apart()) / (CELLS - 2)
    return jnp.where(on_first, pay[0] + first, jnp.where(on_second, pay[1] + second, value - STEP_COST))


@functools.cache
def taken() -> tuple[np.ndarray, np.ndarray]:
    """Whether the walker is in the cell of the first box, and of the second box, [25, 25, 25] bool each."""
    walker, first, second = np.indices((CELLS, CELLS, CELLS))
    return walker == first, walker == second


@functools.cache
def apart() -> np.ndarray:
    """The states in which all three cells differ: the equally likely starts, [25, 25, 25] bool."""
    walker, first, second = np.indices((CELLS, CELLS, CELLS))
    return (walker != first) & (walker != second) & (first != second)


def reference_returns(environment: TwoColours, key: Key, task: TwoColoursTask) -> Array:
    """The expected return of the best policy that knows the boxes, in each episode of a trial, [episodes]."""
    return jnp.full(environment.episodes, best_return(environment, task))
