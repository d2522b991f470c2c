"""Random decision processes."""

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.envs import make


def test_tabular_states_follow_their_probabilities() -> None:
    environment, n = make("tabular", states=4, actions=2), 20_000
    task = environment.draw_task(jax.random.key(3), "extrapolation")
    _, state = environment.reset(jax.random.key(0), task)
    steps = jax.jit(jax.vmap(lambda key: environment.step(key, state, jnp.int32(1), task)))(
        jax.random.split(jax.random.key(0), n)
    )
    share, probability = np.asarray(steps.observation).mean(axis=0), np.asarray(task.transition[0, 1])
    assert np.all(np.abs(share - probability) <= 4 * np.sqrt(probability * (1 - probability) / n) + 1e-6)
    assert np.all(share[probability == 0] == 0)
    assert np.sum(probability > 0) == 2
