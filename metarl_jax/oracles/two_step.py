"""The two-step task for a player that knows the probabilities: the exact optimum, a function of its belief."""

import jax
import jax.numpy as jnp

from metarl_jax.core.types import Array, Key
from metarl_jax.envs.two_step import PLANETS, State, TwoStep, TwoStepTask

BELIEFS = 201  # points of the grid on which values are kept


def filtered(belief: Array, planet: Array | int, reward: Array | float, task: TwoStepTask) -> Array:
    """The belief that planet 0 is good after a trial that ended on `planet` with `reward`; elementwise.

    Bayes' rule on the reward, then a step in which the good planet stays with probability `task.stay`.
    """
    good, bad = (jnp.where(reward > 0.0, odds, 1.0 - odds) for odds in task.reward)
    if_first, if_second = jnp.where(planet == 0, good, bad), jnp.where(planet == 0, bad, good)
    evidence = belief * if_first + (1.0 - belief) * if_second
    posterior = belief * if_first / jnp.maximum(evidence, 1e-12)
    return posterior * task.stay + (1.0 - posterior) * (1.0 - task.stay)


def reward_chance(belief: Array, planet: int, task: TwoStepTask) -> Array:
    """The probability of a reward on `planet`; elementwise."""
    is_good = belief if planet == 0 else 1.0 - belief
    return is_good * task.reward[0] + (1.0 - is_good) * task.reward[1]


def planet_worth(value: Array, task: TwoStepTask) -> Array:
    """The value of arriving on each planet, [PLANETS, B], given the `value` [B] of the trials after this one."""
    belief = grid()
    worth = []
    for planet in range(PLANETS):
        paid = reward_chance(belief, planet, task)
        after = [jnp.interp(filtered(belief, planet, reward, task), belief, value) for reward in (0.0, 1.0)]
        worth.append(paid * (1.0 + after[1]) + (1.0 - paid) * after[0])
    return jnp.stack(worth)


def action_worth(value: Array, task: TwoStepTask) -> Array:
    """The value of each action on the grid of beliefs, [2, B]."""
    to_first = task.first[:, None]
    worth = planet_worth(value, task)
    return to_first * worth[0, None] + (1.0 - to_first) * worth[1, None]


def belief_value(environment: TwoStep, task: TwoStepTask) -> Array:
    """The optimal expected return with known probabilities and the observations of the agent, [] float32.

    The belief b that planet 0 is good, updated by Bayes' rule, is a sufficient statistic, so the game is a decision
    process on [0, 1]: V_m(b) = max over a, sum over planets of P(planet | a) E[r + V_{m-1}(b')]. The value is convex in
    b and interpolated linearly on a grid, so the error is positive and quadratic in the width of the grid. O(trials
    BELIEFS).
    """

    def trial(value: Array, _: None) -> tuple[Array, None]:
        return jnp.max(action_worth(value, task), axis=0), None

    value, _ = jax.lax.scan(trial, jnp.zeros(BELIEFS), None, length=environment.trials)
    return value[BELIEFS // 2]


def filter_return(environment: TwoStep, key: Key, task: TwoStepTask, *, sees: bool = False) -> Array:
    """The expected rewards of one game of a player that maximises the next reward, [] float32.

    It filters its belief; with `sees` it observes which planet is good. If the two reward probabilities add up to 1,
    both planets are equally informative and this player is optimal. O(trials).
    """
    key, start_key = jax.random.split(key)
    state = environment.reset(start_key, task)[1]

    def trial(carry: tuple[State, Array], key: Key) -> tuple[tuple[State, Array], Array]:
        state, belief = carry
        belief = (state.good == 0).astype(float) if sees else belief
        worth = [reward_chance(belief, planet, task) for planet in range(PLANETS)]
        action = jnp.argmax(task.first * worth[0] + (1.0 - task.first) * worth[1])
        travel_key, collect_key = jax.random.split(key)
        arrived = environment.step(travel_key, state, action, task)
        collected = environment.step(collect_key, arrived.state, action, task)
        belief = filtered(belief, arrived.state.planet, collected.reward, task)
        return (collected.state, belief), collected.info["expected_reward"]

    start = (state, jnp.asarray(0.5, float))
    _, expected = jax.lax.scan(trial, start, jax.random.split(key, environment.trials))
    return jnp.sum(expected)


def grid() -> Array:
    """The beliefs on which values are kept, [BELIEFS]."""
    return jnp.linspace(0.0, 1.0, BELIEFS)


def reference_returns(environment: TwoStep, key: Key, task: TwoStepTask) -> Array:
    """The optimal expected return with known probabilities, [1]."""
    return jnp.full(environment.trial_episodes, belief_value(environment, task))
