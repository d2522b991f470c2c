"""What Disco103 reads of a record (Oh et al. 2025, doi.org/10.1038/s41586-025-09761-x).

Own code after github.com/google-deepmind/disco_rl, update_rules/disco.py and value_fns/value_utils.py.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.algorithms.disco.agent import Heads
from metarl_jax.algorithms.disco.values import Moments, mean_value, normalised, retrace, updated
from metarl_jax.core.returns import Boundaries, boundaries
from metarl_jax.core.types import Array, Experience


class View(NamedTuple):
    """The outputs of an agent at a timestep, as probabilities."""

    policy: Array  # [T, E, A]
    y: Array  # [T, E, M]
    z: Array  # [T, E, A, M] given each action


class Worth(NamedTuple):
    """The worth of states and actions by the agent's action values."""

    value: Array  # [T, E] by the current parameters
    next_value: Array  # [T, E] of the true next state
    q: Array  # [T, E, A] by the slow parameters
    q_advantage: Array  # [T, E, A]
    normalised_q_advantage: Array  # [T, E, A] by the running moments of the advantage
    returns: Array  # [T, E] of the actions taken
    advantage: Array  # [T, E]
    normalised_advantage: Array  # [T, E]


class Reading(NamedTuple):
    """What the rule reads: the outputs of the agent and of its slow copy, and what was done."""

    now: View
    after: View  # at the true next observation
    slow_now: View
    slow_after: View
    behaviour: Array  # [T, E, A] the probabilities that the actions were drawn with
    action: Array  # [T, E, A] one-hot
    reward: Array  # [T, E]
    edges: Boundaries
    weight: Array  # [T, E] 1 where the step counts
    worth: Worth


def read(
    seen: Experience,
    agent: Experience,
    slow: Experience,
    moments: Moments,
    gamma: Array | float,
    lambda_: Array | float,
) -> tuple[Reading, Moments]:
    """The reading of a record, and the moments of the advantage with those of this record.

    Args:
        seen: the record.
        agent: the record with the outputs under the current parameters, see `revalue`.
        slow: the record with the outputs under the slow parameters.
        moments: of the advantage in the records before.
        gamma: discount.
        lambda_: trace decay of the returns.
    """
    now, after = agent.prediction, agent.next_prediction
    policy, next_policy, behaviour = (jax.nn.softmax(x) for x in (now.policy, after.policy, seen.distribution))
    action = jax.nn.one_hot(seen.action, policy.shape[-1])
    edges = boundaries(seen)
    value, next_value = expected(policy, mean_value(now.q)), expected(next_policy, mean_value(after.q))
    q, next_q = mean_value(slow.prediction.q), mean_value(slow.next_prediction.q)
    state_value = expected(policy, q)
    returns = retrace(
        reward=seen.reward,
        q=expected(action, q),
        next_value=edges.bootstrap * expected(next_policy, next_q),
        ratio=lambda_ * jnp.minimum(1.0, jnp.exp(expected(action, jax.nn.log_softmax(now.policy)) - seen.log_prob)),
        trace=edges.trace,
        gamma=gamma,
    )
    advantage, q_advantage = returns - state_value, q - state_value[..., None]
    moments = updated(moments, advantage, seen.weight)
    worth = Worth(
        value=value,
        next_value=next_value,
        q=q,
        q_advantage=q_advantage,
        normalised_q_advantage=normalised(moments, q_advantage),
        returns=returns,
        advantage=advantage,
        normalised_advantage=normalised(moments, advantage),
    )
    return (
        Reading(
            now=view(now),
            after=view(after),
            slow_now=view(slow.prediction),
            slow_after=view(slow.next_prediction),
            behaviour=behaviour,
            action=action,
            reward=seen.reward,
            edges=edges,
            weight=seen.weight,
            worth=worth,
        ),
        moments,
    )


def view(heads: Heads) -> View:
    """The outputs of an agent as probabilities."""
    return View(*(jax.nn.softmax(x) for x in (heads.policy, heads.y, heads.z)))


def expected(probabilities: Array, x: Array) -> Array:
    """The mean [T, E] over actions of x [T, E, A]; of the action taken, if it is given as one-hot."""
    return jnp.sum(probabilities * x, axis=-1)
