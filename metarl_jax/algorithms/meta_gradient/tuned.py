"""The rule whose hyper-parameters are meta-learned: an actor-critic (Xu et al. 2018, arXiv:1805.09801, eq. 1-4)."""

import math
from collections.abc import Callable
from typing import Any

import jax

from metarl_jax.algorithms.meta_gradient.context import SHARES, Context, Hyper, contextual, raw
from metarl_jax.algorithms.meta_gradient.outer_critic import beside, is_critic
from metarl_jax.core.learner import InnerOptimiser, Learner, gradient_learner, inner_optimiser
from metarl_jax.core.losses import Loss, actor_critic
from metarl_jax.core.policy import Policy
from metarl_jax.core.types import Array, Experience, Tree

# The option with the initial value of each hyper-parameter.
OPTIONS = {"gamma": "gamma", "lambda": "lambda_", "entropy": "entropy", "value": "value_weight", "rate": "inner_lr"}


def first(options: Any) -> Hyper:
    """The raw hyper-parameters of a newborn φ."""
    return {name: raw(name, getattr(options, option)) for name, option in OPTIONS.items()}


def check_starts(options: Any, tunes: tuple[str, ...]) -> None:
    """Raise ValueError if a hyper-parameter is to be tuned from a value that no step of φ can leave."""
    for tuned in tunes:
        option, most = OPTIONS[tuned], 1.0 if tuned in SHARES else math.inf
        value = getattr(options, option)
        if isinstance(value, int | float) and not 0.0 < value < most:
            bound = "above 0" if most > 1.0 else "above 0 and below 1"
            remedy = f"leave {tuned} out of tunes, or start {bound}"
            raise ValueError(f"{option} of {options.name} is {value}, and cannot be tuned from there; {remedy}")


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
