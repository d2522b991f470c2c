"""The rule whose hyper-parameters are meta-learned: an actor-critic (Xu et al. 2018, arXiv:1805.09801, eq. 1-4)."""

from collections.abc import Callable

import jax

from metarl_jax.algorithms.context import Context, Hyper, contextual
from metarl_jax.algorithms.outer_critic import beside, is_critic
from metarl_jax.core.learner import InnerOptimiser, Learner, gradient_learner, inner_optimiser
from metarl_jax.core.losses import Loss, actor_critic
from metarl_jax.core.policy import Policy
from metarl_jax.core.types import Array, Experience, Tree


def inner_loss(policy: Policy, reward: Callable[[Experience], Array]) -> Callable[[Hyper], Loss]:
    """The actor-critic loss of hyper-parameters, each a number or a value for each step [T, E]."""

    def loss(hyper: Hyper) -> Loss:
        return actor_critic(
            policy,
            gamma=hyper["gamma"],
            lambda_=hyper["lambda"],
            value_weight=hyper["value"],
            entropy=hyper["entropy"],
            reward=reward,
        )

    return loss


def tuned_learner(
    policy: Policy,
    optimiser: InnerOptimiser,
    loss: Callable[[Hyper], Loss],
    context: Context,
    critic: Learner | None = None,
) -> Learner:
    """Birth as a random network, and steps along the gradient of a loss whose hyper-parameters φ gives in context.

    A `critic` with a learner of its own is left to that.
    """
    if critic is None:
        return contextual(follower(policy, optimiser, loss, adapts=lambda path: True), context)
    return contextual(
        beside(follower(policy, optimiser, loss, adapts=lambda path: not is_critic(path)), critic), context
    )


def follower(
    policy: Policy,
    optimiser: InnerOptimiser,
    loss: Callable[[Hyper], Loss],
    adapts: Callable[[str], bool],
) -> Learner:
    """The learner whose φ is the hyper-parameters of the loss, and the size `rate` of its steps."""

    def scale(hyper: Hyper, updates: Tree) -> Tree:
        return jax.tree.map(lambda update: hyper["rate"] * update, updates)

    return gradient_learner(
        policy,
        meta_init=lambda key: (),
        birth=lambda hyper, key: policy.init(key),
        loss=loss,
        reads=lambda hyper: hyper,
        scale=scale,
        optimiser=inner_optimiser(optimiser, 1.0),  # the step size is φ's
        adapts=adapts,
    )
