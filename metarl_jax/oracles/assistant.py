"""Recommenders for one session with a user: known preferences, Thompson sampling, the most popular item, chance."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.types import Array, Key
from metarl_jax.envs.assistant import WHIM, Assistant, AssistantTask, State, click_probability

CLICK_VARIANCE = 0.25  # of a fair coin


class Belief(NamedTuple):
    """The posterior of the preferences: normal with mean solve(precision, weighted)."""

    precision: Array  # [F, F]
    weighted: Array  # [F]


Recommend = Callable[[Key, Belief, Array], Array]  # (key, belief, items [k, F]) -> the recommended item


def session_return(environment: Assistant, recommend: Recommend, key: Key, task: AssistantTask) -> Array:
    """The expected clicks of a session under a recommender, [] float32. O(steps F^3)."""
    key, start_key = jax.random.split(key)
    state = environment.reset(start_key, task)[1]

    def pick(carry: tuple[State, Belief], key: Key) -> tuple[tuple[State, Belief], Array]:
        state, belief = carry
        pick_key, step_key = jax.random.split(key)
        choice = recommend(pick_key, belief, state.items)
        step = environment.step(step_key, state, choice, task)
        return (step.state, learned(belief, state.items[choice], step.reward)), step.info["expected_reward"]

    _, expected = jax.lax.scan(pick, (state, prior(environment)), jax.random.split(key, environment.steps))
    return jnp.sum(expected)


def prior(environment: Assistant) -> Belief:
    """The normal distribution with the mean and the covariance of the mixture of tastes."""
    tastes = environment.tastes()
    centred = tastes - jnp.mean(tastes, axis=0, keepdims=True)
    covariance = centred.T @ centred / environment.genres + WHIM**2 / 3.0 * jnp.eye(environment.features)
    precision = jnp.linalg.inv(covariance)
    return Belief(precision, precision @ jnp.mean(tastes, axis=0))


def learned(belief: Belief, item: Array, click: Array) -> Belief:
    """The belief after a recommendation of `item` [F], clicked or not.

    The logistic model is linearised at log-odds of 0, P(click) = 1/2 + u . x / 4, with the variance of a fair coin. So
    a session is a Bayesian linear regression of click - 1/2 on x / 4.
    """
    seen = item / 4.0
    return Belief(
        belief.precision + jnp.outer(seen, seen) / CLICK_VARIANCE,
        belief.weighted + seen * (click - 0.5) / CLICK_VARIANCE,
    )


def knowing(task: AssistantTask) -> Recommend:
    """The item that the user likes best, which is optimal because offers do not depend on the recommendation."""

    def recommend(key: Key, belief: Belief, items: Array) -> Array:
        return jnp.argmax(click_probability(task, items))

    return recommend


def popular(environment: Assistant) -> Recommend:
    """The item that the mean taste likes best: nearly the best recommender that does not learn."""
    average = AssistantTask(jnp.mean(environment.tastes(), axis=0))
    return knowing(average)


def thompson(key: Key, belief: Belief, items: Array) -> Array:
    """The best item for one draw of the preferences from the belief."""
    mean = jnp.linalg.solve(belief.precision, belief.weighted)
    root = jnp.linalg.cholesky(belief.precision)  # L L' = precision, so solve(L', normal) has its inverse as covariance
    noise = jax.scipy.linalg.solve_triangular(root.T, jax.random.normal(key, mean.shape), lower=False)
    return jnp.argmax(items @ (mean + noise))


def at_random(key: Key, belief: Belief, items: Array) -> Array:
    """A uniformly random item."""
    return jax.random.randint(key, (), 0, len(items), jnp.int32)


def reference_returns(environment: Assistant, key: Key, task: AssistantTask) -> Array:
    """The expected clicks of the recommender that knows the preferences, in each session of a trial, [episodes]."""
    keys = jax.random.split(key, environment.episodes)
    return jax.vmap(lambda key: session_return(environment, knowing(task), key, task))(keys)
