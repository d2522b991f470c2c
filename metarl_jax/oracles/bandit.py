"""What can be earned at slot machines: known arms, the exact Bayes optimum, Thompson sampling, chance."""

import functools

import jax
import jax.numpy as jnp

from metarl_jax.core.types import Array, Key
from metarl_jax.envs.bandit import Bandit, BanditTask

Arms = tuple[tuple[int, int], ...]  # the touched arms' (successes, failures), sorted


def bayes_value(arms: int, pulls: int) -> float:
    """The exact expected reward of the best policy for Bernoulli arms with p ~ U[0, 1], no matter which it is.

    Given its counts (s, f) an arm's p is Beta(1 + s, 1 + f), so the counts say all that a policy can know. Arms are
    exchangeable: the value depends on the sorted multiset of counts alone, and the untouched arms are one choice. With
    m pulls left, V = max over distinct counts of q (1 + V(s + 1)) + (1 - q) V(f + 1), q = (s + 1) / (s + f + 2). The
    number of multisets grows like the partitions of `pulls` into pairs: 10 pulls take well under a second, 20 a minute.
    """

    @functools.cache
    def value(touched: Arms, left: int) -> float:
        if left == 0:
            return 0.0
        choices = set(touched) | ({(0, 0)} if len(touched) < arms else set())
        return max(pull(touched, choice, left) for choice in choices)

    def pull(touched: Arms, arm: tuple[int, int], left: int) -> float:
        others = list(touched)
        if arm != (0, 0):
            others.remove(arm)
        successes, failures = arm
        won = value(tuple(sorted([*others, (successes + 1, failures)])), left - 1)
        lost = value(tuple(sorted([*others, (successes, failures + 1)])), left - 1)
        chance = (successes + 1) / (successes + failures + 2)
        return chance * (1 + won) + (1 - chance) * lost

    return value((), pulls)


def thompson_return(environment: Bandit, key: Key, task: BanditTask) -> Array:
    """The expected rewards that one trial of Thompson sampling collects, [] float32.

    Each pull draws a mean for every arm from its posterior and takes the largest: Beta(1 + s, 1 + f) for p ~ U[0, 1],
    N(sum / (1 + pulls), 1 / (1 + pulls)) for a mean ~ N(0, 1) under noise of variance 1. O(pulls k).
    """

    def pull(counts: tuple[Array, Array], key: Key) -> tuple[tuple[Array, Array], Array]:
        total, pulled = counts
        belief_key, reward_key = jax.random.split(key)
        arm = jnp.argmax(draw_means(environment, belief_key, total, pulled))
        step = environment.step(reward_key, jnp.int32(0), arm, task)
        return (total.at[arm].add(step.reward), pulled.at[arm].add(1.0)), step.info["expected_reward"]

    nothing = jnp.zeros(environment.arms)
    _, expected = jax.lax.scan(pull, (nothing, nothing), jax.random.split(key, environment.pulls))
    return jnp.sum(expected)


def draw_means(environment: Bandit, key: Key, total: Array, pulled: Array) -> Array:
    """One posterior draw of every arm's mean, [k]."""
    if environment.rewards == "bernoulli":
        return jax.random.beta(key, 1.0 + total, 1.0 + pulled - total)
    return (total + jnp.sqrt(1.0 + pulled) * jax.random.normal(key, total.shape)) / (1.0 + pulled)


def random_return(environment: Bandit, task: BanditTask) -> Array:
    """The expected rewards of pulling at random, [] float32."""
    return environment.pulls * jnp.mean(task.mean)


def reference_returns(environment: Bandit, key: Key, task: BanditTask) -> Array:
    """The expected return of the best arm, known in advance, [1]."""
    return jnp.full(environment.trial_episodes, environment.pulls * jnp.max(task.mean))
