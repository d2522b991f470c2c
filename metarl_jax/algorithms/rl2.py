"""RL²: the memory of a policy is the learner (Duan et al. 2016, arXiv:1611.02779; Wang et al. 2016)."""

import dataclasses
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from metarl_jax.algorithms.base import Algorithm, is_off
from metarl_jax.core.backprop import Epochs
from metarl_jax.core.environment import Environment
from metarl_jax.core.evolution import negative_return
from metarl_jax.core.learner import frozen
from metarl_jax.core.lifetime import Lifetime
from metarl_jax.core.losses import Loss, per_step, ppo
from metarl_jax.core.memories import make as make_memory
from metarl_jax.core.memories.attention import HEADS
from metarl_jax.core.memory import Memory
from metarl_jax.core.objective import Objective, growing
from metarl_jax.core.policy import Policy, memory_policy
from metarl_jax.core.privileged import numbers_of, with_task_in_view
from metarl_jax.core.types import Array, Experience

FIXED = ("belief", "none")  # memories without parameters: all that is learned stands between them and the heads


@dataclasses.dataclass(frozen=True, kw_only=True)
class RL2(Algorithm):
    """Learn a policy whose memory outlasts the episodes of a trial, by PPO over whole trials.

    φ = the policy's parameters; the agent never adapts, its memory does.

    Args:
        memory: what carries the trial: a GRU, an LSTM, a linear recurrence that is trained by an associative scan,
            attention with a cache, the exact posterior where the environment knows it (belief), or nothing (none): one
            memoryless policy for all tasks, the lower reference.
        layers: memories upon each other.
        window: steps that attention looks back; 0 for the whole rollout.
        knows_task: see the hidden numbers of the task, the upper reference.
        critic_knows_task: let the critic, and it alone, see the hidden numbers of the task and read them through two
            layers of `width`. How lucky a task is then counts neither for nor against what was done in it: the
            gradient is the same on average, with less noise (Pinto et al. 2017, arXiv:1710.06542; unbiased since the
            critic sees the memory too, Baisero and Amato 2022, arXiv:2105.11674).
        separate: give the critic a memory of its own.
        across_episodes: let returns run on across the ends of episodes, so that what is found out in one is worth
            something in the next, and end a trial when the environment's quota of episodes is used up. Otherwise
            windows of `steps` count no episodes: right where every step is rewarded (CartPole), since a quota that
            early ends use up would leave little to learn from.
        expected_reward: learn from what an action pays on average instead of what was drawn, where the environment
            says so: the same gradient on average, with less noise. The policy still perceives what was drawn.
        curriculum: share of the annealing over which trials grow from a tenth to their whole length.
        lifespan: windows of `steps` that a trial lasts at most; gradients reach back to the start of a window.
        width: units of the memory.
        hidden: widths of the layers between memory and heads; by default none, or two of `width` where the memory has
            nothing to learn (belief, none).
        lambda_: trace decay of the advantages.
        clip: how far the ratio to the acting policy may move the surrogate.
        entropy: weight of the entropy bonus.
        value_weight: weight of the critic's error.
        critic_scale: of the weights of the critic's head at birth, whose guesses are the first credit.
        epochs: how often a batch of trials is relived.
        minibatches: in how many parts.
    """

    name: ClassVar[str] = "rl2"
    summary: ClassVar[str] = "a policy that learns in its memory, across the episodes of a trial"

    tasks: int = 256
    adaptations: int = 0
    envs: int = 1
    meta_lr: float = 1e-3
    max_gradient_norm: float = 0.5
    memory: Literal["gru", "lstm", "linear", "attention", "belief", "none"] = "gru"
    layers: int = 1
    window: int = 0
    knows_task: bool = False
    critic_knows_task: bool = False
    separate: bool = False
    across_episodes: bool = True
    expected_reward: bool = False
    curriculum: float = 0.0
    lifespan: int = 1
    width: int = 64
    hidden: tuple[int, ...] = ()
    lambda_: float = 0.95
    clip: float = 0.2
    entropy: float = 0.01
    value_weight: float = 0.5
    critic_scale: float = 0.01
    epochs: int = 4
    minibatches: int = 4

    @property
    def lives(self) -> int:
        return self.lifespan

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.adaptations != 0:
            raise ValueError(
                f"adaptations of {self.name} is {self.adaptations}; it must be 0: its memory is what adapts"
            )
        if self.memory == "attention" and self.width % HEADS:
            rule = f"attention has {HEADS} heads: choose {-(-self.width // HEADS) * HEADS}"
            raise ValueError(f"width of {self.name} is {self.width}; {rule}")
        if not is_off(self.curriculum) and (self.anneal == 0 or self.lifespan > 1):
            rule = "it is a share of the annealing of trials in one window: choose anneal=-1 and lifespan=1"
            raise ValueError(f"curriculum of {self.name} is {self.curriculum}; {rule}")

    def refuses(self, environment: Environment) -> str | None:
        if self.memory == "belief" and environment.belief() is None:
            return "its posterior is not known: choose another memory"
        if self.expected_reward and not _says_expected_reward(environment):
            return "it does not say what an action pays on average: leave expected_reward off"
        return None

    def lifetime(self, environment: Environment) -> Lifetime:
        shown = self.knows_task or self.critic_knows_task
        environment = with_task_in_view(environment) if shown else environment
        policy = self.policy(environment)
        steps, quota = self.rollout_steps(environment, environment.trial_episodes)
        quota = environment.trial_episodes if self.across_episodes else quota
        return Lifetime(environment, policy, frozen(policy.init), 0, self.envs, steps, quota, fresh=self.lifespan == 1)

    def policy(self, environment: Environment, *, forgets: bool = False) -> Policy:
        """What acts in the environment of a lifetime; with its memory erased after each episode if it `forgets`."""
        hidden = self.hidden or (self.width, self.width) * (self.memory in FIXED)
        told = numbers_of(environment) if self.critic_knows_task and not self.knows_task else 0
        return memory_policy(
            environment,
            lambda inputs: self.remember(environment, inputs),
            hidden,
            forgets=forgets,
            separate=self.separate,
            told=told,
            critic_hidden=(self.width, self.width) if told else (),
            critic_scale=self.critic_scale,
        )

    def remember(self, environment: Environment, inputs: int) -> Memory:
        """The memory of a policy in that environment."""
        belief = environment.belief() if self.memory == "belief" else None
        window = self.window or self.rollout_steps(environment, environment.trial_episodes)[0]
        return belief or make_memory(self.memory, inputs, self.width, self.layers, window)

    def loss(self, lifetime: Lifetime, entropy_share: Array) -> Loss:
        return ppo(
            lifetime.policy,
            gamma=self.gamma,
            lambda_=self.lambda_,
            clip=self.clip,
            value_weight=self.value_weight,
            entropy=self.entropy * entropy_share,
            trial=self.across_episodes,
            reward=per_step(self.gamma, lifetime.steps, self._paid),
        )

    def _paid(self, seen: Experience) -> Array:
        """The rewards that the outer loss counts, [T, E]."""
        return seen.expected_reward if self.expected_reward else seen.reward

    def fitness(self, lifetime: Lifetime) -> Loss:
        return negative_return(lifetime, self.gamma, trial=self.across_episodes, reward=self._paid)

    def judged(self, lifetime: Lifetime, remaining: Array) -> Objective:
        objective = super().judged(lifetime, remaining)
        if is_off(self.curriculum):
            return objective
        share = jnp.asarray(self.curriculum)
        progress = jnp.where(share > 0, (1.0 - remaining) / jnp.maximum(share, 1e-30), jnp.inf)
        return growing(objective, lifetime.steps, progress)

    @property
    def passes(self) -> Epochs:
        return Epochs(self.epochs, self.minibatches)


def _says_expected_reward(environment: Environment) -> bool:
    def one() -> object:
        key = jax.random.key(0)
        task = environment.draw_task(key, "train")
        action = jnp.zeros(environment.action_space.shape, environment.action_space.dtype)
        return environment.step(key, environment.reset(key, task)[1], action, task).info

    return "expected_reward" in jax.eval_shape(one)
