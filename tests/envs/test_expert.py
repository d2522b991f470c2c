"""Experts: an agent that knows the task and acts as its environment says earns what the oracle says is best."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from samples import draw

from metarl_jax.core.environment import Environment
from metarl_jax.core.types import Array, Key
from metarl_jax.envs import ENVIRONMENTS, make
from metarl_jax.oracles import reference, tabular

SMALL = {
    "dark_room": make("dark_room", radius=2, steps=6, episodes=1),
    "dark_room,hard": make("dark_room", radius=2, hard=True, steps=6, episodes=1),
    "gridnavi": make("gridnavi", side=4, steps=5, episodes=1),
    "bandit": make("bandit", arms=3, pulls=4),
    "two_arm": make("two_arm", pulls=4),
}


def earned(environment: Environment, task: Any, key: Key) -> Array:
    """The expected return of an episode of the expert."""
    expert = environment.expert()
    assert expert is not None

    def act(carry: tuple[Array, Any], now: tuple[Array, Key]) -> tuple[tuple[Array, Any], Array]:
        (observation, state), (time, key) = carry, now
        act_key, step_key = jax.random.split(key)
        likely = expert(task, observation, time)
        step = environment.step(step_key, state, jax.random.categorical(act_key, jnp.log(likely)), task)
        return (step.observation, step.state), step.info.get("expected_reward", step.reward)

    keys = jax.random.split(key, environment.horizon)
    return jnp.sum(jax.lax.scan(act, environment.reset(key, task), (jnp.arange(environment.horizon), keys))[1])


@pytest.mark.parametrize("name", SMALL)
def test_the_expert_earns_what_the_known_task_is_worth(name: str) -> None:
    environment, key = SMALL[name], jax.random.key(0)
    tasks = draw(environment, 40, "train")
    found = jax.jit(jax.vmap(lambda task, key: earned(environment, task, key)))(tasks, jax.random.split(key, 40))
    known = reference(environment)
    assert known is not None
    np.testing.assert_allclose(found, known(key, tasks)[:, 0], rtol=1e-5)


def test_the_expert_of_a_decision_process_is_its_optimal_policy() -> None:
    """Its value, by backward induction over what it does in every state with every number of steps to go."""
    environment = make("tabular", states=4, actions=3, steps=5)
    expert = environment.expert()
    for task in (jax.tree.map(lambda x, i=i: x[i], draw(environment, 3)) for i in range(3)):
        value = jnp.zeros(4)
        for time in reversed(range(5)):
            likely = expert(task, jnp.eye(4), jnp.full(4, time))  # [S, A]
            value = jnp.sum(likely * (task.reward_mean + task.transition @ value), axis=-1)
        np.testing.assert_allclose(value, tabular.optimal_value(task, 5), rtol=1e-5)


def test_equally_good_moves_are_equally_likely() -> None:
    environment = make("dark_room")
    task = environment.check_task({"goal": (1, -2), "radius": 4})
    start, _ = environment.reset(jax.random.key(0), task)
    likely = environment.expert()(task, start, jnp.int32(0))
    np.testing.assert_allclose(likely, [0, 0, 0, 0.5, 0.5])  # down or left


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_an_expert_answers_for_any_number_of_places(name: str) -> None:
    environment = make(name)
    expert = environment.expert()
    if expert is None:
        return
    task = environment.sample_task(jax.random.key(0), "train")
    seen = jnp.broadcast_to(environment.reset(jax.random.key(1), task)[0], (2, 3, *environment.observation_space.shape))
    likely = expert(task, seen, jnp.zeros((2, 3), jnp.int32))
    assert likely.shape == (2, 3, environment.action_space.n)
    np.testing.assert_allclose(likely.sum(axis=-1), 1.0, rtol=1e-6)
