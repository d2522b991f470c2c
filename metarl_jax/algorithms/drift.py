"""A learned drift function of PPO (Lu et al. 2022, Discovered policy optimisation, arXiv:2210.05639)."""

import dataclasses
import functools
from typing import ClassVar

import jax
import jax.numpy as jnp

from metarl_jax.algorithms.base import (
    Adapting,
    Amount,
    Count,
    Gradient,
    Improved,
    Rate,
    Recipe,
    Share,
    Size,
    Widths,
    actor_loss,
    improved,
    long_lived,
    rollout_steps,
)
from metarl_jax.core.drifts import Drift
from metarl_jax.core.environment import Environment
from metarl_jax.core.evolution import negative_return
from metarl_jax.core.learner import InnerOptimiser, gradient_learner, inner_optimiser
from metarl_jax.core.losses import Loss
from metarl_jax.core.networks import Network, mlp
from metarl_jax.core.policy import mlp_policy
from metarl_jax.core.types import Array, Tree

FEATURES = 8
MARGIN = 1e-6  # ξ: so much must the network exceed 0 for a drift


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnedDrift(Improved, Adapting):
    """Learn what PPO subtracts from ρ A in place of its clip.

    The drift is f_φ(ρ, A) = ReLU(network_φ(features) − ξ). Neither the network nor its features, which are multiples of
    1 − ρ or log ρ, has a constant part, so f_φ meets the conditions of mirror learning for any φ: it is never negative,
    and at ρ = 1 it is 0 with a gradient of 0. Agents are actor-critics that are born as random networks and take
    several gradient steps on each rollout, as otherwise ρ would always be 1. φ is improved by evolution on their return
    unless `estimator` says otherwise.

    Args:
        width: units of the drift network.
        inner_lr: step size of the inner optimiser.
        inner_optimiser: optimiser of the inner loop.
        inner_epochs: gradient steps on each rollout.
        lambda_: trace decay of the advantages.
        entropy: weight of the agents' entropy bonus.
        value_weight: weight of the error of the agents' critics.
        lifespan: meta-steps before an agent is reborn in another task.
        hidden: widths of the policy's and the critic's layers.
    """

    name: ClassVar[str] = "drift"
    summary: ClassVar[str] = "a drift function that takes the place of PPO's clip, learned across tasks"
    rule_reads: ClassVar[str] = "ratio to the behaviour policy, and advantage"

    estimator: Gradient = "evolution"
    adaptations: Size = 16
    steps: Size = 32
    tasks: Count = 8
    pairs: Count = 8
    meta_lr: Rate = 1e-2
    width: Count = 32
    inner_lr: Amount = 1e-2
    inner_optimiser: InnerOptimiser = "adam"
    inner_epochs: Count = 4
    lambda_: Share = 0.95
    entropy: Amount = 0.01
    value_weight: Amount = 0.5
    lifespan: Count = 1
    hidden: Widths = (32,)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.inner_epochs < 2:
            remedy = "the first step on a rollout is at ρ = 1, where every drift is 0: choose 2 or more"
            raise ValueError(f"inner_epochs of drift is {self.inner_epochs}; {remedy}")

    def recipe(self, environment: Environment) -> Recipe:
        steps, _ = rollout_steps(self, environment)
        policy = mlp_policy(environment, self.hidden, critic=True)
        network = drift_network(self.width)
        loss = functools.partial(actor_loss, policy, self.gamma, self.lambda_, steps, normalise=True)

        def inner_loss(meta_params: Tree) -> Loss:
            drift = learned_drift(network, meta_params)
            return loss(drift=drift, entropy=self.entropy, value_weight=self.value_weight)

        learner = gradient_learner(
            policy,
            meta_init=network.init,
            birth=lambda meta_params, key: policy.init(key),
            loss=inner_loss,
            reads=lambda meta_params: meta_params,
            optimiser=inner_optimiser(self.inner_optimiser, self.inner_lr),
            sweeps=self.inner_epochs,
        )
        window = long_lived(self, environment, policy, learner, self.adaptations, self.lifespan)
        outer_loss = loss()
        fitness = negative_return(window.world, self.gamma)
        return improved(self, window, lambda remaining: outer_loss, fitness, eps=1e-9, lifespan=self.lifespan)


def drift_network(width: int) -> Network:
    """The network of a drift, [..., 8] -> [..., 1], without biases."""
    return mlp(FEATURES, (width,), 1, head_scale=0.01, bias=False)


def learned_drift(network: Network, params: Tree) -> Drift:
    """ReLU(network(x) − ξ) of the features x: 1 − ρ, log ρ, their squares, and all these times A, [..., 8]."""

    def drift(log_ratio: Array, advantage: Array) -> Array:
        apart = -jnp.expm1(log_ratio)
        alone = jnp.stack([apart, apart**2, log_ratio, log_ratio**2], axis=-1)
        features = jnp.concatenate([alone, alone * advantage[..., None]], axis=-1)
        return jax.nn.relu(network.apply(params, features)[..., 0] - MARGIN)

    return drift
