"""RL²: the memory of a recurrent policy is the learner (Duan et al. 2016, arXiv:1611.02779; Wang et al. 2016)."""

import dataclasses
from typing import ClassVar

from metarl_jax.algorithms.base import Algorithm
from metarl_jax.core.backprop import Epochs
from metarl_jax.core.environment import Environment
from metarl_jax.core.learner import frozen
from metarl_jax.core.lifetime import Lifetime
from metarl_jax.core.losses import Loss, per_step, ppo
from metarl_jax.core.policy import gru_policy
from metarl_jax.core.types import Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class RL2(Algorithm):
    """Learn a recurrent policy whose memory outlasts the episodes of a trial, by PPO over whole trials.

    φ = the policy's parameters; the agent never adapts, its memory does.

    Args:
        across_episodes: let returns run on across the ends of episodes, so that what is found out in one is worth
            something in the next, and end a trial when the environment's quota of episodes is used up. Otherwise
            windows of `steps` count no episodes: right where every step is rewarded (CartPole), since a quota that
            early ends use up would leave little to learn from.
        lifespan: windows of `steps` that a trial lasts at most; gradients reach back to the start of a window.
        width: units of the recurrent memory.
        hidden: widths of the layers between memory and heads.
        lambda_: trace decay of the advantages.
        clip: how far the ratio to the acting policy may move the surrogate.
        entropy: weight of the entropy bonus.
        value_weight: weight of the critic's error.
        epochs: how often a batch of trials is relived.
        minibatches: in how many parts.
    """

    name: ClassVar[str] = "rl2"
    summary: ClassVar[str] = "a recurrent policy that learns in its memory, across the episodes of a trial"

    tasks: int = 256
    adaptations: int = 0
    envs: int = 1
    meta_lr: float = 1e-3
    max_gradient_norm: float = 0.5
    across_episodes: bool = True
    lifespan: int = 1
    width: int = 64
    hidden: tuple[int, ...] = ()
    lambda_: float = 0.95
    clip: float = 0.2
    entropy: float = 0.01
    value_weight: float = 0.5
    epochs: int = 4
    minibatches: int = 4

    @property
    def lives(self) -> int:
        return self.lifespan

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.adaptations != 0:
            raise ValueError(f"adaptations of rl2 is {self.adaptations}; it must be 0: its memory is what adapts")

    def lifetime(self, environment: Environment) -> Lifetime:
        policy = gru_policy(environment, self.width, self.hidden)
        steps, quota = self.rollout_steps(environment, environment.trial_episodes)
        quota = environment.trial_episodes if self.across_episodes else quota
        return Lifetime(environment, policy, frozen(policy.init), 0, self.envs, steps, quota, fresh=self.lifespan == 1)

    def loss(self, lifetime: Lifetime, entropy_share: Array) -> Loss:
        return ppo(
            lifetime.policy,
            gamma=self.gamma,
            lambda_=self.lambda_,
            clip=self.clip,
            value_weight=self.value_weight,
            entropy=self.entropy * entropy_share,
            trial=self.across_episodes,
            reward=per_step(self.gamma, lifetime.steps),
        )

    def relives(self) -> Epochs:
        return Epochs(self.epochs, self.minibatches)
