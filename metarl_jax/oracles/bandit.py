"""Bandit policies and their returns: known arms, exact Bayes optima, Gittins indices, heuristics, random pulls."""

import functools
import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.types import Array, Key
from metarl_jax.envs.bandit import Bandit, BanditTask, SlotMachines
from metarl_jax.envs.two_arm import WORSE

Arms = tuple[tuple[int, int], ...]  # the touched arms' (successes, failures), sorted
PRICES = 64  # grid points for the interpolation of a Gittins index


class Record(NamedTuple):
    """The statistics of a player."""

    total: Array  # [k] rewards by arm
    pulled: Array  # [k] pulls by arm
    left: Array  # [] int32 pulls to go


Choose = Callable[[Key, Record], Array]  # the next arm, [] int32


def bayes_value(arms: int, pulls: int) -> float:
    """The exact expected reward of the best policy for Bernoulli arms with p ~ U[0, 1].

    Given its counts (s, f) an arm's p is Beta(1 + s, 1 + f), so the counts are sufficient. Arms are exchangeable:
    the value depends only on the sorted multiset of counts, and all untouched arms are one choice. With
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


def two_arms_value(pulls: int) -> float:
    """`bayes_value(2, pulls)` for up to hundreds of pulls.

    The same backward induction on arrays [s1, f1, s2]: after t pulls, f2 = t - s1 - f1 - s2. O(pulls^4).
    """
    value = np.zeros((pulls + 1,) * 3)
    for done in reversed(range(pulls)):
        won, lost, other_won = np.ogrid[: done + 1, : done + 1, : done + 1]
        other_lost = np.maximum(done - won - lost - other_won, 0)  # zero in unreachable states
        first, second = (won + 1) / (won + lost + 2), (other_won + 1) / (other_won + other_lost + 2)
        first_arm = first * (1 + value[1:, :-1, :-1]) + (1 - first) * value[:-1, 1:, :-1]
        second_arm = second * (1 + value[:-1, :-1, 1:]) + (1 - second) * value[:-1, :-1, :-1]
        value = np.maximum(first_arm, second_arm)
    return float(value[0, 0, 0])


def dependent_value(law: str, pulls: int) -> float:
    """The exact expected reward of the best policy for two arms with p2 = 1 - p1 under a law of `TwoArm`.

    A success of one arm is as likely as a failure of the other, so every pull is a toss of a coin with bias p1,
    whichever arm it is. The choice does not affect what is learned, so the greedy arm is optimal at each pull. After t
    pulls with e signs for the first arm it earns max(E[p1 | e], E[1 - p1 | e]); V sums P(e) max(...) over
    e <= t < pulls. The uniform law is integrated by a quadrature that is exact for the polynomials that occur.
    O(pulls^2) times the points of the law.
    """
    first, weight = dependent_law(law, pulls)
    total = 0.0
    for done in range(pulls):
        signs = np.arange(done + 1)[:, None]
        ways = np.array([[math.comb(done, int(e))] for e in signs[:, 0]], float)
        chance = weight * ways * first**signs * (1.0 - first) ** (done - signs)  # [e, points], jointly with p1
        total += float(np.maximum(chance @ first, chance @ (1.0 - first)).sum())
    return total


def dependent_law(law: str, pulls: int) -> tuple[np.ndarray, np.ndarray]:
    """The values of p1 and their weights; for U[0, 1] the points of a Gauss-Legendre quadrature of enough degree."""
    worse = WORSE[law]
    if worse is not None:
        return np.array([worse, 1.0 - worse]), np.array([0.5, 0.5])
    points, weights = np.polynomial.legendre.leggauss(pulls // 2 + 1)
    return (1.0 + points) / 2.0, weights / 2.0


def gittins_indices(pulls: int, prices: int = PRICES) -> Array:
    """The finite-horizon Gittins index of a Bernoulli arm, [pulls + 1, pulls, pulls] by pulls left, wins, losses.

    A single arm, with a price z for each pull, may be abandoned at any time: with m pulls to go and success probability
    q = (s + 1) / (s + f + 2), Q_m = q - z + q V_{m-1}(s + 1, f) + (1 - q) V_{m-1}(s, f + 1) and V_m = max(Q_m, 0). The
    index is the price at which Q_m = 0, the largest price at which a pull is still worthwhile. Q_m is convex in z and
    falls with a slope of at least 1, so its root is found by interpolation between two neighbours of a grid. Pulling
    the arm with the largest index is optimal for a discounted infinite horizon (Gittins 1979), and nearly optimal for a
    finite one (Kaufmann 2018). O(prices pulls^3).
    """
    price = jnp.linspace(0.0, 1.0, prices + 1)[:, None, None]
    won, lost = jnp.meshgrid(jnp.arange(pulls), jnp.arange(pulls), indexing="ij")
    chance = (won + 1) / (won + lost + 2)

    def one_pull_more(value: Array, _: None) -> tuple[Array, Array]:
        worth = chance - price + chance * value[:, 1:, :-1] + (1.0 - chance) * value[:, :-1, 1:]  # [prices + 1, s, f]
        below, above = worth[:-1], worth[1:]
        share = jnp.clip(below / (below - above), 0.0, 1.0)  # of the grid step above each worthwhile price
        grown = jnp.pad(jnp.maximum(worth, 0.0), ((0, 0), (0, 1), (0, 1)))  # its edge is never reached
        return grown, jnp.sum(share, axis=0) / prices

    nothing = jnp.zeros((prices + 1, pulls + 1, pulls + 1))
    _, indices = jax.lax.scan(one_pull_more, nothing, None, length=pulls)
    return jnp.concatenate([jnp.zeros((1, pulls, pulls)), indices])


def expected_return(environment: SlotMachines, choose: Choose, key: Key, task: BanditTask) -> Array:
    """The expected rewards of the arms that a player chooses in one trial, [] float32."""

    def pull(record: Record, key: Key) -> tuple[Record, Array]:
        choice_key, reward_key = jax.random.split(key)
        arm = choose(choice_key, record)
        reward = environment.pay(reward_key, task.mean[arm])
        seen = Record(record.total.at[arm].add(reward), record.pulled.at[arm].add(1.0), record.left - 1)
        return seen, task.mean[arm]

    nothing = jnp.zeros_like(task.mean)
    start = Record(nothing, nothing, jnp.int32(environment.pulls))
    _, expected = jax.lax.scan(pull, start, jax.random.split(key, environment.pulls))
    return jnp.sum(expected)


def gittins(indices: Array) -> Choose:
    """The arm with the largest index, given the `indices` of `gittins_indices`."""

    def choose(key: Key, record: Record) -> Array:
        won, pulled = record.total.astype(jnp.int32), record.pulled.astype(jnp.int32)
        return jnp.argmax(indices[record.left][won, pulled - won])

    return choose


def thompson(environment: Bandit, *, optimistic: bool = False) -> Choose:
    """The arm with the largest mean in a posterior sample; with `optimistic`, means are at least their expectation.

    Optimistic Thompson sampling is that of May et al. 2012.
    """

    def choose(key: Key, record: Record) -> Array:
        drawn = draw_means(environment, key, record)
        return jnp.argmax(jnp.maximum(drawn, posterior_mean(environment, record)) if optimistic else drawn)

    return choose


def ucb1(environment: Bandit, scale: float = 1.0) -> Choose:
    """The arm of the largest m + scale sqrt(2 ln t / n) at pull t, after n pulls of the arm (Auer et al. 2002).

    The mean m is the posterior's and n counts the prior as one pull, so that no arm must be tried first.
    """

    def choose(key: Key, record: Record) -> Array:
        time = 1.0 + jnp.sum(record.pulled)
        bonus = jnp.sqrt(2.0 * jnp.log(time) / (1.0 + record.pulled))
        return jnp.argmax(posterior_mean(environment, record) + scale * bonus)

    return choose


def epsilon_greedy(environment: Bandit, epsilon: float = 0.0) -> Choose:
    """The arm with the largest posterior mean, or a random arm with probability `epsilon`; greedy by default."""

    def choose(key: Key, record: Record) -> Array:
        explore_key, arm_key = jax.random.split(key)
        anything = jax.random.randint(arm_key, (), 0, environment.arms, jnp.int32)
        best = jnp.argmax(posterior_mean(environment, record))
        return jnp.where(jax.random.bernoulli(explore_key, epsilon), anything, best)

    return choose


def posterior_mean(environment: Bandit, record: Record) -> Array:
    """The expectation of every arm's mean, [k]: of Beta(1 + s, 1 + f) or N(sum / (1 + n), 1 / (1 + n))."""
    if environment.rewards == "bernoulli":
        return (1.0 + record.total) / (2.0 + record.pulled)
    return record.total / (1.0 + record.pulled)


def draw_means(environment: Bandit, key: Key, record: Record) -> Array:
    """One posterior draw of every arm's mean, [k]."""
    if environment.rewards == "bernoulli":
        return jax.random.beta(key, 1.0 + record.total, 1.0 + record.pulled - record.total)
    noise = jax.random.normal(key, record.total.shape)
    return posterior_mean(environment, record) + noise / jnp.sqrt(1.0 + record.pulled)


def random_return(environment: SlotMachines, task: BanditTask) -> Array:
    """The expected rewards of pulling at random, [] float32."""
    return environment.pulls * jnp.mean(task.mean)


def reference_returns(environment: SlotMachines, key: Key, task: BanditTask) -> Array:
    """The expected return of the known best arm, [1]."""
    return jnp.full(environment.trial_episodes, environment.pulls * jnp.max(task.mean))
