"""A learned intrinsic reward that increases the extrinsic return (Zheng et al. 2020, arXiv:1912.05500)."""

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from metarl_jax.algorithms.base import (
    Adapting,
    Amount,
    Count,
    Improved,
    Rate,
    Recipe,
    Share,
    Size,
    Widths,
    improved,
    long_lived,
    rollout_steps,
)
from metarl_jax.algorithms.intrinsic_reward.history import Reader, clock, history_reward, transition_reward
from metarl_jax.algorithms.intrinsic_reward.lifetime import Chronicle, lifetime_critic, lifetime_loss
from metarl_jax.core.checks import differs
from metarl_jax.core.environment import Environment
from metarl_jax.core.evolution import negative_return
from metarl_jax.core.learner import History, InnerOptimiser, Learner, gradient_learner, inner_optimiser
from metarl_jax.core.losses import Baseline, Loss, actor_critic, per_step, reinforce
from metarl_jax.core.objective import Objective
from metarl_jax.core.policy import Policy, mlp_policy
from metarl_jax.core.types import Array, Experience, Key, Tree


@dataclasses.dataclass(frozen=True, kw_only=True)
class IntrinsicReward(Improved, Adapting):
    """Learn a reward network r_φ that teaches a newborn agent faster than the task's own reward does.

    The agent is born as a random network and adapts by θ ← θ − lr ∇θ L(θ; c r + c' r_φ), an actor-critic loss, where c
    is `task_reward` and c' `reward_scale`. The outer loss is that of only the extrinsic reward. The agent's critic
    estimates the value of what teaches it, so advantages from it would reward the learned reward. The outer loss is
    REINFORCE with returns that end with the rollout or, judged by the lifetime, has advantages from a critic of the
    agent's history, part of φ. Gradients reach back to the start of the window.

    A reward that reads the history can be an exploration bonus: what is new depends on what was visited. Zheng et al.
    2020 is reads=history, judged_by=lifetime, task_reward=0; its online form (Zheng et al. 2018, arXiv:1804.06459) is
    reads=transition, judged_by=window, adaptations=1 in one long life.

    Args:
        reads: what r_φ is a function of: the transition (s, a, s'), or the whole history of the agent.
        judged_by: the return that φ maximises: to the end of the window, or to the end of the life.
        gain: factor of the extrinsic reward in an r_φ of the history before training, from which it is learned: agents
            that see only r_φ then begin as agents that see the task's reward, and meet what is worth exploring.
        task_reward: factor of the extrinsic reward in the agent's loss; 0 for agents that see only r_φ.
        reward_scale: factor of r_φ; 0 is the control without an intrinsic reward.
        inner_lr: step size of an adaptation.
        inner_optimiser: optimiser of the inner loop.
        lambda_: trace decay of the agent's advantages.
        entropy: weight of the agent's entropy bonus.
        value_weight: weight of the error of the agent's critic.
        outer_gamma: discount of the outer loss.
        outer_lambda: trace decay of the advantages of the lifetime.
        critic_weight: weight of the error of the lifetime critic.
        critic_lr: step size of the outer Adam on the lifetime critic, which has to follow what r_φ makes of the agents.
        baseline: subtracted from an environment's returns in the outer loss of a window: a linear regression on all
            environments (fitted), or on only the others (leave_one_out), which leaves the expected gradient unchanged.
        lifespan: meta-steps before an agent is reborn in another task.
        width: size of the memories of the reward network and the lifetime critic.
        hidden: widths of the layers of the policy, the critics and the reward network.
    """

    name: ClassVar[str] = "intrinsic_reward"
    summary: ClassVar[str] = "a reward network that teaches a newborn agent faster than the task's reward"
    rule_reads: ClassVar[str] = "observation, action and next observation, or a history of them"

    reads: Literal["transition", "history"] = "transition"
    judged_by: Literal["window", "lifetime"] = "window"
    adaptations: Size = 4
    steps: Size = 32
    tasks: Count = 32
    meta_lr: Rate = 3e-3
    gain: Amount = 0.0
    task_reward: Amount = 1.0
    reward_scale: Amount = 1.0
    inner_lr: Amount = 0.3
    inner_optimiser: InnerOptimiser = "sgd"
    lambda_: Share = 0.95
    entropy: Amount = 0.01
    value_weight: Amount = 0.5
    outer_gamma: Share = 0.99
    outer_lambda: Share = 0.95
    critic_weight: Amount = 0.5
    critic_lr: Rate = 3e-3
    baseline: Baseline = "fitted"
    lifespan: Count = 5
    width: Count = 32
    hidden: Widths = (64, 64)

    def __post_init__(self) -> None:
        super().__post_init__()
        lifetime = self.judged_by == "lifetime"
        if self.reads == "transition" and differs(self.gain, 0.0):
            raise ValueError(
                f"gain of intrinsic_reward is {self.gain} and reads transition, which does not see the task's reward; "
                "choose reads=history, or gain=0"
            )
        if lifetime and self.estimator == "evolution":
            raise ValueError(
                "judged_by of intrinsic_reward is lifetime and estimator evolution, which has no critic; "
                "choose judged_by=window, or estimator=backprop"
            )
        if lifetime and self.adaptations == 0:
            raise ValueError(
                "judged_by of intrinsic_reward is lifetime and adaptations 0, so that no agent has a history; "
                "choose adaptations=1 or more"
            )

    @property
    def records(self) -> int:
        """The rollouts of a life."""
        return self.lifespan * self.adaptations + 1

    def recipe(self, environment: Environment) -> Recipe:
        steps, _ = rollout_steps(self, environment)
        policy = mlp_policy(environment, self.hidden, critic=True)
        lifetime = self.judged_by == "lifetime"
        critic = lifetime_critic(environment, self.envs, self.width, self.hidden) if lifetime else None
        learner = taught_learner(self, policy, reward_reader(self, environment), critic, steps)
        window = long_lived(self, environment, policy, learner, self.adaptations, self.lifespan)
        reinforced = reinforce(policy, gamma=self.outer_gamma, baseline=self.baseline)
        outer_loss = actor_critic(policy, value_weight=0.0, entropy=0.0) if lifetime else reinforced

        def shape(objective: Objective, remaining: Array) -> Objective:
            return objective if critic is None else judged_by_lifetime(self, objective, critic, steps)

        fitness, eps = negative_return(window.world, self.outer_gamma), 1e-9 if lifetime else 1e-5
        loss = lambda remaining: outer_loss  # noqa: E731
        rates = {"critic": self.critic_lr} if lifetime else {}
        return improved(self, window, loss, fitness, shape=shape, eps=eps, rates=rates, lifespan=self.lifespan)


def reward_reader(options: IntrinsicReward, environment: Environment) -> Reader:
    """The reward network that the options name."""
    if options.reads == "transition":
        return transition_reward(environment, options.hidden)
    return history_reward(environment, options.envs, options.width, options.hidden, options.gain)


def taught_learner(
    options: IntrinsicReward, policy: Policy, reward: Reader, critic: Reader | None, steps: int
) -> Learner:
    """Birth as a random network with a blank history; adaptation by a step on the rewards that teach it."""

    def meta_init(key: Key) -> Tree:
        first = {"reward": reward.init(key)}
        return first if critic is None else {**first, "critic": critic.init(jax.random.fold_in(key, 1))}

    def blank() -> Chronicle:
        return Chronicle(jnp.int32(0), reward.blank(), () if critic is None else critic.blank())

    def read(meta_params: Tree, memory: Chronicle, seen: Experience) -> tuple[Array, Chronicle]:
        now, judging = clock(memory.age, steps, options.records), memory.critic
        bonus, teaching = reward.read(meta_params["reward"], memory.reward, seen, now)
        if critic is not None:
            judging = critic.read(meta_params["critic"], judging, seen, now)[1]
        return bonus, Chronicle(memory.age + 1, teaching, judging)

    def loss(bonus: Array) -> Loss:
        taught = lambda seen: options.task_reward * seen.reward + options.reward_scale * bonus  # noqa: E731
        return actor_critic(
            policy,
            gamma=options.gamma,
            lambda_=options.lambda_,
            value_weight=options.value_weight,
            entropy=options.entropy,
            reward=per_step(options.gamma, steps, taught),
        )

    return gradient_learner(
        policy,
        meta_init=meta_init,
        birth=lambda meta_params, key: policy.init(key),
        loss=loss,
        history=History(blank, read),
        optimiser=inner_optimiser(options.inner_optimiser, options.inner_lr),
    )


def judged_by_lifetime(options: IntrinsicReward, objective: Objective, critic: Reader, steps: int) -> Objective:
    """The same reduction of the losses of agents that the lifetime critic judges."""
    reward = per_step(options.outer_gamma, steps * options.records)
    loss = lifetime_loss(
        critic,
        objective.loss,
        reward,
        options.records,
        gamma=options.outer_gamma,
        lambda_=options.outer_lambda,
        weight=options.critic_weight,
    )
    return objective._replace(last=loss, before=None if objective.before is None else loss)
