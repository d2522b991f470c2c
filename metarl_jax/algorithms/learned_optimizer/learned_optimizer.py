"""A learned optimiser: a recurrent network for each parameter of an agent (Goldie et al. 2024, arXiv:2407.07082)."""

import dataclasses
from typing import Annotated, ClassVar

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
from metarl_jax.algorithms.learned_optimizer.update_network import UpdateNetwork, update_network
from metarl_jax.core.checks import Between
from metarl_jax.core.environment import Environment
from metarl_jax.core.evolution import negative_return
from metarl_jax.core.learner import Learner, gradient_learner
from metarl_jax.core.losses import per_step, ppo
from metarl_jax.core.policy import Policy, mlp_policy

Decays = Annotated[tuple[float, ...], Between(0, 0.9999)]


@dataclasses.dataclass(frozen=True, kw_only=True)
class LearnedOptimizer(Improved, Adapting):
    """Learn the optimiser with which newborn actor-critics follow the gradient of PPO.

    φ = a recurrent network that maps the gradient of each parameter, its momenta and where it stands to its update; see
    update_network.py. It is in the spirit of OPEN, and of Optim4RL (Lan et al. 2023, arXiv:2302.01470): the network
    modifies an adaptive step rather than replacing it, so that evolution starts from an optimiser that learns.
    Unlike OPEN it adds no noise to the updates, and it does not read which units are dormant. Evolution improves it
    unless `estimator` says otherwise.

    Args:
        sweeps: updates on each rollout.
        inner_lr: step size of the newborn optimiser, which is nearly Adam.
        momenta: decays of the running means of the gradient that the network reads; the first is that of the step.
        width: units of the optimiser's recurrence.
        lifespan: meta-steps before an agent is reborn; the network reads the passed share of its life.
        hidden: widths of the policy's and the critic's layers.
        lambda_: trace decay of the advantages.
        entropy: weight of the entropy bonus.
        value_weight: weight of the critic's error.
        clip: clipping range of the ratio to the behaviour policy in PPO.
    """

    name: ClassVar[str] = "learned_optimizer"
    summary: ClassVar[str] = "a recurrent network that turns the gradients of a newborn agent into its updates"
    rule_reads: ClassVar[str] = "every parameter, its gradients and its layer, and the share of life that has passed"

    estimator: Gradient = "evolution"
    adaptations: Size = 16
    steps: Size = 32
    tasks: Count = 16
    meta_lr: Rate = 1e-2
    sweeps: Count = 4
    inner_lr: Amount = 3e-3
    momenta: Decays = (0.9, 0.99, 0.999)
    width: Count = 8
    lifespan: Count = 1
    hidden: Widths = (16, 16)
    lambda_: Share = 0.95
    entropy: Amount = 0.01
    value_weight: Amount = 0.5
    clip: Amount = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.momenta:
            raise ValueError(
                "momenta of learned_optimizer is empty; the step follows the first: choose 0.9, for example"
            )

    def recipe(self, environment: Environment) -> Recipe:
        steps, _ = rollout_steps(self, environment)
        policy = mlp_policy(environment, self.hidden, critic=True)
        updates = self.sweeps * max(1, self.adaptations) * self.lifespan
        network = update_network(self.width, self.momenta, self.inner_lr, self.sweeps, updates)
        learner = optimised(self, policy, network, steps)
        window = long_lived(self, environment, policy, learner, self.adaptations, self.lifespan)
        outer_loss = actor_loss(policy, self.gamma, self.lambda_, steps, normalise=True)
        fitness = negative_return(window.world, self.gamma)
        return improved(self, window, lambda remaining: outer_loss, fitness, lifespan=self.lifespan)


def optimised(options: LearnedOptimizer, policy: Policy, network: UpdateNetwork, steps: int) -> Learner:
    """Birth as a random network; adaptation by `sweeps` updates that φ computes from the gradient of PPO."""
    loss = ppo(
        policy,
        gamma=options.gamma,
        lambda_=options.lambda_,
        value_weight=options.value_weight,
        entropy=options.entropy,
        clip=options.clip,
        reward=per_step(options.gamma, steps),
    )
    return gradient_learner(
        policy,
        meta_init=lambda key: {"optimiser": network.init(key)},
        birth=lambda meta_params, key: policy.init(key),
        loss=lambda read: loss,
        optimiser=network.optimiser,
        sweeps=options.sweeps,
    )
