"""The delayed chain and the discounting chain."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from walks import walk_through

from metarl_jax.core.types import Array
from metarl_jax.envs import make
from metarl_jax.envs.discounting_chain import DELAYS, published_task
from metarl_jax.oracles import chains


def test_only_the_first_action_decides_a_delayed_chain() -> None:
    environment = make("delayed_chain")
    task = environment.check_task({"length": 6, "pay": [1.0, -1.0]})
    for first, pay in ((0, 1.0), (1, -1.0)):
        steps = walk_through(environment, task, [first, 1, 0, 1, 0, 1])
        assert [float(step.reward) for step in steps] == [0.0] * 5 + [pay]
        assert [bool(step.terminated) for step in steps] == [False] * 5 + [True]


def test_a_discounting_chain_pays_once_after_its_delay() -> None:
    environment = make("discounting_chain")
    play_all = jax.jit(jax.vmap(lambda chain: chain_rewards(environment, chain)))
    rewards = np.asarray(play_all(jnp.arange(len(DELAYS))))  # [5, 100]
    for chain, (delay, pay) in enumerate(zip(DELAYS, [1.0, 1.0, 1.0, 1.1, 1.0], strict=True)):
        assert np.flatnonzero(rewards[chain]).tolist() == [delay - 1]
        np.testing.assert_allclose(rewards[chain, delay - 1], pay, rtol=1e-6)
    np.testing.assert_allclose(
        chains.discounting_chain_returns(environment, jax.random.key(0), published_task()), 1.1, rtol=1e-6
    )


def chain_rewards(environment: Any, chain: Array) -> Array:
    def advance(state: Any, _: None) -> tuple[Any, Array]:
        step = environment.step(jax.random.key(0), state, chain, published_task())
        return step.state, step.reward

    return jax.lax.scan(advance, environment.reset(jax.random.key(0), published_task())[1], None, length=100)[1]
