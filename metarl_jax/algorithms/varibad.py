"""VariBAD: act on a belief that is inferred by variational inference (Zintgraf et al. 2020, arXiv:1910.08348)."""

import dataclasses
from typing import ClassVar, Literal

import jax
import optax

from metarl_jax.algorithms.rl2 import RL2
from metarl_jax.core.backprop import Companion
from metarl_jax.core.belief import Inference, RewardModel, detached, explaining, inference, inferred
from metarl_jax.core.environment import Environment
from metarl_jax.core.learner import frozen
from metarl_jax.core.lifetime import Lifetime
from metarl_jax.core.memory import Memory
from metarl_jax.core.policy import perception
from metarl_jax.core.types import Key, Tree


@dataclasses.dataclass(frozen=True, kw_only=True)
class VariBAD(RL2):
    """Learn to infer a latent that explains whole trials, and a policy on (observation, mean and variance of it).

    φ = the policy, the memory that infers and the decoders. PPO moves the policy alone; memory and decoders follow the
    ELBO of trials kept from earlier meta-steps, with a step size of their own. See `core/belief.py`.

    Args:
        latent: L, numbers that describe a task.
        decoder: widths of the decoders' layers.
        reward_model: the law of a reward given the latent: normal, or (bernoulli) of whether it is positive.
        pays_at_arrival: rewards depend on where a step leads alone, not on where it began or on the action.
        decodes_states: explain what follows a step too, not only what it pays.
        kl_weight: weight of the divergence of a belief from the one before.
        beliefs: steps of a trial whose ELBO is taken, drawn at random, at most; 0 for all, in memory that grows with
            the square of a trial's length.
        kept: trials that are kept.
        trials: trials of a step on the ELBO.
        updates: steps on the ELBO in a meta-step.
        model_lr: step size of the Adam on the ELBO.
    """

    name: ClassVar[str] = "varibad"
    summary: ClassVar[str] = "a policy on a belief about the task, inferred by a memory that learns to explain trials"

    memory: Literal["gru", "lstm", "linear", "attention"] = "gru"  # fewer than RL²
    hidden: tuple[int, ...] = (64,)
    latent: int = 5
    decoder: tuple[int, ...] = (32, 32)
    reward_model: RewardModel = "gaussian"
    pays_at_arrival: bool = False
    decodes_states: bool = False
    kl_weight: float = 0.1
    beliefs: int = 16
    kept: int = 1024
    trials: int = 64
    updates: int = 4
    model_lr: float = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.estimator != "backprop":
            raise ValueError(f"estimator of varibad is {self.estimator}; its ELBO needs gradients: choose backprop")
        if self.lifespan > 1:
            raise ValueError(f"lifespan of varibad is {self.lifespan}; it explains whole trials: choose lifespan=1")
        if self.separate or self.critic_knows_task:
            option = "separate" if self.separate else "critic_knows_task"
            raise ValueError(f"{option} of varibad is True; policy and critic share a belief: leave it off")
        if self.trials > self.kept or self.tasks * self.envs > self.kept:
            least = max(self.trials, self.tasks * self.envs)
            raise ValueError(f"kept of varibad is {self.kept}; it must hold what one meta-step adds and reads: {least}")

    def remember(self, environment: Environment, inputs: int) -> Memory:
        return detached(inferred(super().remember(environment, inputs), self.latent))

    def lifetime(self, environment: Environment) -> Lifetime:
        lifetime = super().lifetime(environment)
        decoders = self._inference(lifetime.environment).init

        def meta_init(key: Key) -> Tree:
            policy_key, decoder_key = jax.random.split(key)
            return lifetime.policy.init(policy_key) | {"decoders": decoders(decoder_key)}

        return lifetime._replace(learner=frozen(meta_init))

    def _inference(self, environment: Environment) -> Inference:
        inputs = perception(environment).size
        return inference(
            environment,
            inferred(super().remember(environment, inputs), self.latent),
            self.decoder,
            rewards=self.reward_model,
            arrival=self.pays_at_arrival,
            states=self.decodes_states,
            divergence=self.kl_weight,
            beliefs=self.beliefs,
        )

    def companion(self, lifetime: Lifetime) -> Companion:
        return explaining(
            self._inference(lifetime.environment),
            optax.adam(self.model_lr),
            lifetime,
            kept=self.kept,
            trials=self.trials,
            updates=self.updates,
        )
