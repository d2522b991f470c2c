"""GridNavi: the known goal, the exact Bayes optimum, posterior sampling, the random walk."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.types import Array, Key
from metarl_jax.envs.grid import MOVES
from metarl_jax.envs.gridnavi import CORNER, ELSEWHERE, ON_GOAL, GridNavi, GridNaviTask, State, cells_between
from metarl_jax.oracles.hunt import Hunt, best_walk, paying_steps, toward
from metarl_jax.oracles.play import play


def best_return(environment: GridNavi, task: GridNaviTask) -> Array:
    """The largest return of an episode with a known goal, [] float32, in O(1).

    No walk reaches a goal at distance d = row + column before step d, and the walk that goes straight there and stays
    is on it at every later step.
    """
    return payoff(environment, jnp.maximum(environment.steps - jnp.sum(task.goal) + 1, 0).astype(float))


def payoff(environment: GridNavi, on_goal: Any) -> Any:
    """The return of an episode with that many steps on the goal; elementwise."""
    return ELSEWHERE * environment.steps + (ON_GOAL - ELSEWHERE) * on_goal


def bayes_returns(environment: GridNavi) -> np.ndarray:
    """The exact expected return, episode by episode, of the best policy for goals of the train split, [episodes].

    The sum over the trial is the optimum; if several walks reach it, the episodes are those of one of them. See
    `hunt.best_walk` for the proof and the complexity; the published task takes well under a second.
    """
    cells, goals = cells_between(0, environment.side), cells_between(CORNER, environment.side)
    hunt = Hunt(cells, (0, 0), goals, environment.steps, environment.episodes, paying=environment.steps)
    return payoff(environment, paying_steps(hunt, best_walk(hunt)))


def posterior_sampling_returns(environment: GridNavi, key: Key, task: GridNaviTask) -> Array:
    """The returns of a trial of posterior sampling, [episodes].

    Each episode draws one of the goals of its board that are not yet excluded, goes there straight, and stays. A goal
    that it passes on the way ends the search. O(steps side^2) an episode.
    """
    row_and_column = jnp.indices((environment.capacity,) * 2)
    farthest = jnp.max(row_and_column, axis=0)

    def is_here(place: Array) -> Array:
        return jnp.all(row_and_column == place[:, None, None], axis=0)

    def step(carry: tuple[State, Array, Array], key: Key) -> tuple[tuple[State, Array, Array], Array]:
        state, possible, target = carry
        step = environment.step(key, state, toward(key, state.place, target), task)
        found, here = step.reward == ON_GOAL, is_here(step.state.place)
        target = jnp.where(found, step.state.place, target)
        return (step.state, possible & jnp.where(found, here, ~here), target), step.reward

    def episode(possible: Array, key: Key) -> tuple[Array, Array]:
        draw_key, key = jax.random.split(key)
        lot = jnp.where(possible, jax.random.uniform(draw_key, possible.shape), -1.0)
        target = jnp.stack(jnp.unravel_index(jnp.argmax(lot), lot.shape)).astype(jnp.int32)
        _, start = environment.reset(key, task)
        (_, possible, _), rewards = jax.lax.scan(
            step, (start, possible, target), jax.random.split(key, environment.steps)
        )
        return possible, jnp.sum(rewards)

    prior = (farthest >= CORNER) & (farthest < task.side)
    return jax.lax.scan(episode, prior, jax.random.split(key, environment.episodes))[1]


def random_return(environment: GridNavi, key: Key, task: GridNaviTask) -> Array:
    """The return of an episode with uniformly random moves, [] float32."""

    def act(key: Key, state: State, task: GridNaviTask) -> Array:
        return jax.random.randint(key, (), 0, len(MOVES), jnp.int32)

    return play(environment, act, key, task).total


def reference_returns(environment: GridNavi, key: Key, task: GridNaviTask) -> Array:
    """The reference agent's return in each episode of a trial, [episodes]."""
    return jnp.full(environment.episodes, best_return(environment, task))
