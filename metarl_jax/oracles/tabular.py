"""Finite Markov decision processes: the optimum of a known one, and learners that start from the true prior."""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.types import Array, Key
from metarl_jax.envs.tabular import RandomMDP, State, TabularTask, optimal_plan


class Counts(NamedTuple):
    """The statistics of a learner's experience."""

    moves: Array  # [S, A, S] number of transitions
    reward: Array  # [S, A] sum of the rewards


Plan = Callable[[Key, Counts], Array]  # the actions of an episode by steps to go, [steps, S]


def optimal_value(task: TabularTask, steps: int) -> Array:
    """The expected return of the best policy with `steps` to go, from every state, [S].

    That of `optimal_plan`: by Bellman's principle no policy does better, not even one with memory. O(steps S^2 A).
    """
    return optimal_plan(jax.tree.map(lambda leaf: leaf[None], task), steps)[0]


def learning_returns(environment: RandomMDP, plan: Plan, key: Key, task: TabularTask) -> Array:
    """The expected rewards of each episode of a learner that plans before every episode, [episodes]."""

    def episode(counts: Counts, key: Key) -> tuple[Counts, Array]:
        plan_key, start_key, key = jax.random.split(key, 3)
        actions = plan(plan_key, counts)

        def act(carry: tuple[Counts, State], numbers: tuple[Key, Array]) -> tuple[tuple[Counts, State], Array]:
            (counts, state), (key, actions) = carry, numbers
            at, action = state.current, actions[state.current]
            step = environment.step(key, state, action, task)
            moves = counts.moves.at[at, action, step.state.current].add(1.0)
            seen = Counts(moves, counts.reward.at[at, action].add(step.reward))
            return (seen, step.state), step.info["expected_reward"]

        start = environment.reset(start_key, task)[1]
        (counts, _), expected = jax.lax.scan(act, (counts, start), (jax.random.split(key, environment.steps), actions))
        return counts, jnp.sum(expected)

    nothing = Counts(jnp.zeros_like(task.transition), jnp.zeros_like(task.reward_mean))
    _, returns = jax.lax.scan(episode, nothing, jax.random.split(key, environment.episodes))
    return returns


def posterior_sampling(environment: RandomMDP, draws: int = 1, prior_mean: float = 1.0) -> Plan:
    """The optimal plan of a process drawn from the posterior (PSRL, Strens 2000; Osband et al. 2013).

    With several `draws` the value of each state and action is maximised over them in the backward induction (OPSRL,
    optimistic posterior sampling; Agrawal & Jia 2017). The mean reward is N(1, 1) by the law of the tasks; a learner
    that takes it for N(0, 1) comes closer to the published totals. O(draws steps S^2 A) an episode.
    """

    def plan(key: Key, counts: Counts) -> Array:
        draw = functools.partial(draw_process, counts, prior_mean=prior_mean)
        tasks = jax.vmap(draw)(jax.random.split(key, draws))
        return optimal_plan(tasks, environment.steps)[1]

    return plan


def bonus(environment: RandomMDP, scale: float) -> Plan:
    """The optimal plan of the expected process with `scale` / (1 + n) added to the reward of an action tried n times.

    The bonus of BEB (Kolter & Ng 2009), with the prior counted as one visit. O(steps S^2 A) an episode.
    """

    def plan(key: Key, counts: Counts) -> Array:
        expected, visits = expected_process(counts), jnp.sum(counts.moves, axis=-1)
        hopeful = expected._replace(reward_mean=expected.reward_mean + scale / (1.0 + visits))
        return optimal_plan(jax.tree.map(lambda leaf: leaf[None], hopeful), environment.steps)[1]

    return plan


def draw_process(counts: Counts, key: Key, prior_mean: float = 1.0) -> TabularTask:
    """One process from the posterior of `expected_process`."""
    transition_key, reward_key = jax.random.split(key)
    weight = jax.random.gamma(transition_key, 1.0 + counts.moves)  # normalised: Dirichlet(1 + moves)
    expected = expected_process(counts, prior_mean)
    noise = jax.random.normal(reward_key, counts.reward.shape) / jnp.sqrt(1.0 + jnp.sum(counts.moves, axis=-1))
    return TabularTask(weight / jnp.sum(weight, axis=-1, keepdims=True), expected.reward_mean + noise)


def expected_process(counts: Counts, prior_mean: float = 1.0) -> TabularTask:
    """The mean of the posterior: P ~ Dirichlet(1 + moves), mean reward ~ N((prior + sum) / (1 + n), 1 / (1 + n))."""
    weight = 1.0 + counts.moves
    visits = jnp.sum(counts.moves, axis=-1)
    return TabularTask(weight / jnp.sum(weight, axis=-1, keepdims=True), (prior_mean + counts.reward) / (1.0 + visits))


def reference_returns(environment: RandomMDP, key: Key, task: TabularTask) -> Array:
    """The reference agent's expected return in each episode of a trial, [episodes]."""
    return jnp.full(environment.trial_episodes, optimal_value(task, environment.steps)[0])
