"""The optimum of a finite Markov decision process that is known."""

import jax
import jax.numpy as jnp

from metarl_jax.core.types import Array, Key
from metarl_jax.envs.tabular import RandomMDP, TabularTask


def optimal_value(task: TabularTask, steps: int) -> Array:
    """The expected return of the best policy with `steps` to go, from every state, [S].

    Backward induction: V_0 = 0, V_h(s) = max_a r(s, a) + sum_s' P(s' | s, a) V_{h-1}(s'). By Bellman's principle no
    policy, whatever it remembers, does better. O(steps S^2 A).
    """

    def backup(value: Array, _: None) -> tuple[Array, None]:
        return jnp.max(task.reward_mean + task.transition @ value, axis=-1), None

    nothing = jnp.zeros(task.reward_mean.shape[0])
    value: Array = jax.lax.scan(backup, nothing, None, length=steps)[0]
    return value


def reference_returns(environment: RandomMDP, key: Key, task: TabularTask) -> Array:
    """The reference agent's expected return in each episode of a trial, [episodes]."""
    return jnp.full(environment.trial_episodes, optimal_value(task, environment.steps)[0])
