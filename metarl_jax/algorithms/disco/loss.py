"""The loss of an agent on the targets that Disco103 proposes (Oh et al. 2025, doi.org/10.1038/s41586-025-09761-x).

Own code after github.com/google-deepmind/disco_rl, disco_rl/update_rules/disco.py.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.algorithms.disco.network import Targets
from metarl_jax.algorithms.disco.values import two_hot
from metarl_jax.core.learner import InnerLoss
from metarl_jax.core.losses import weighted_mean
from metarl_jax.core.policy import Policy
from metarl_jax.core.returns import boundaries
from metarl_jax.core.rollout import replay
from metarl_jax.core.types import Array, Experience, Tree

VALUE_WEIGHT = 0.2


class Goal(NamedTuple):
    """What the outputs of an agent are drawn to; constants of the inner gradient."""

    targets: Targets
    next_policy: Array  # [T, E, A] logits at the true next observation
    returns: Array  # [T, E]


def disco_loss(policy: Policy) -> InnerLoss:
    """The loss (θ, goal, record) -> [] of an agent.

        L(θ) = E[ KL(π̂ ‖ π) + KL(ŷ ‖ y) + KL(ẑ ‖ z_a) + b KL(π' ‖ p_a) + .2 CE(two-hot(G), q_a) ]

    The rule proposes π̂, ŷ and ẑ. The head p_a predicts the policy π' at the next observation, unless the episode
    terminated (b = 0), and q_a the return G of the action.
    """
    kl = policy.distribution.divergence

    def loss(params: Tree, goal: Goal, seen: Experience) -> Array:
        heads = replay(policy, params, seen).prediction
        action = jax.nn.one_hot(seen.action, policy.distribution.size)[..., None]
        z, next_policy, q = (jnp.sum(x * action, axis=-2) for x in (heads.z, heads.next_policy, heads.q))
        proposed = kl(goal.targets.policy, heads.policy) + kl(goal.targets.y, heads.y) + kl(goal.targets.z, z)
        model = boundaries(seen).bootstrap * kl(goal.next_policy, next_policy)
        value = -jnp.sum(two_hot(goal.returns) * jax.nn.log_softmax(q), axis=-1)
        return weighted_mean(proposed + model + VALUE_WEIGHT * value, seen.weight)

    return loss
