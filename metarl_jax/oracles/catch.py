"""The exact optimum of Catch when the game is known."""

import jax
import jax.numpy as jnp

from metarl_jax.core.types import Array, Key
from metarl_jax.envs.catch import Catch, CatchTask, State, payoff


def optimal_values(environment: Catch, task: CatchTask) -> tuple[Array, Array]:
    """The best expected payoff [rows, C, C] by row, ball and paddle of the state, and the optimal action.

    Backward induction. A landed ball is worth its payoff; before that V(s) = max over actions of
    |wind| V(s' blown) + (1 - |wind|) V(s' still), and s' is always lower, so one pass from the bottom up is exact.
    O(rows columns^2).
    """
    columns, actions = (jnp.arange(count, dtype=jnp.int32) for count in (environment.columns, 3))
    ball, paddle, action = jnp.meshgrid(columns, columns, actions, indexing="ij")  # [C, C, 3] each
    bottom = environment.rows - 1

    def lift(i: Array, carry: tuple[Array, Array]) -> tuple[Array, Array]:
        value, best = carry
        row = jnp.asarray(bottom - 1 - i, jnp.int32)

        def ahead(blown: bool) -> Array:
            new = environment.advance(State(row, ball, paddle), action, jnp.array(blown), task)
            return value[new.row, new.ball, new.paddle]

        chance = jnp.abs(task.wind)
        worth = chance * ahead(True) + (1.0 - chance) * ahead(False)
        return value.at[row].set(worth.max(axis=-1)), best.at[row].set(worth.argmax(axis=-1).astype(jnp.int32))

    value = jnp.zeros((environment.rows, *ball.shape[:2])).at[bottom].set(payoff(ball, paddle, task)[..., 0])
    best = jnp.zeros(value.shape, jnp.int32)
    optimum: tuple[Array, Array] = jax.lax.fori_loop(0, bottom, lift, (value, best))
    return optimum


def best_return(environment: Catch, task: CatchTask) -> Array:
    """The optimal expected payoff of a ball, averaged over its first column, [] float32."""
    value, _ = optimal_values(environment, task)
    return jnp.mean(value[0, :, environment.columns // 2])


def reference_returns(environment: Catch, key: Key, task: CatchTask) -> Array:
    """The expected return of optimal play in each episode of a trial, [episodes]."""
    return jnp.full(environment.episodes, best_return(environment, task))
