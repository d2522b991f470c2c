"""VariBAD: act on a belief from variational inference (Zintgraf et al. 2020, arXiv:1910.08348)."""

import dataclasses
from typing import ClassVar, Literal

import jax
import optax

from metarl_jax.algorithms.base import Amount, Count, Rate, Recipe, Size, Widths, adam
from metarl_jax.algorithms.belief import Inference, RewardModel, detached, explain, inference, inferred
from metarl_jax.algorithms.privileged import with_task_in_view
from metarl_jax.algorithms.rl2 import TrialLearner, check_heads, trial_loss, trial_memory, trial_world, with_curriculum
from metarl_jax.core.backprop import backprop
from metarl_jax.core.environment import Environment
from metarl_jax.core.learner import frozen
from metarl_jax.core.memory import Memory
from metarl_jax.core.objective import Objective, final
from metarl_jax.core.policy import Policy, memory_policy, perception
from metarl_jax.core.types import Array, Key, Tree
from metarl_jax.core.update import chain
from metarl_jax.core.window import Window, fitting_chunk

HEADS = ("['actor']", "['critic']", "['log_std']")  # of the policy: what PPO updates


@dataclasses.dataclass(frozen=True, kw_only=True)
class VariBAD(TrialLearner):
    """Learn to infer a latent that explains whole trials, and a policy on the observation and the posterior.

    φ = the policy, the memory and the decoders. PPO updates only the policy; the memory and the decoders follow the
    ELBO of trials from a replay buffer, with their own step size. See algorithms/belief.py.

    Args:
        memory: the network that infers the latent.
        hidden: widths of the layers between the belief and the heads.
        latent: L, size of the latent.
        decoder: widths of the decoders' layers.
        reward_model: likelihood of a reward given the latent: normal, or Bernoulli for whether it is positive.
        pays_at_arrival: rewards depend only on the next observation, not on the last one or the action.
        decodes_states: decode the next observation too, not only the reward.
        kl_weight: weight of the divergence of a belief from the previous one.
        beliefs: most steps of a trial whose ELBO is computed, drawn at random; 0 for all, for which memory grows with
            the square of a trial's length.
        kept: trials in the replay buffer.
        trials: trials in a gradient step on the ELBO.
        updates: gradient steps on the ELBO in a meta-step.
        model_lr: step size of the Adam on the ELBO.
    """

    name: ClassVar[str] = "varibad"
    summary: ClassVar[str] = "a policy on a belief about the task, inferred by a memory that learns to explain trials"

    memory: Literal["gru", "lstm", "linear", "attention"] = "gru"
    hidden: Widths = (64,)
    latent: Count = 5
    decoder: Widths = (32, 32)
    reward_model: RewardModel = "gaussian"
    pays_at_arrival: bool = False
    decodes_states: bool = False
    kl_weight: Amount = 0.1
    beliefs: Size = 16
    kept: Count = 1024
    trials: Count = 64
    updates: Count = 4
    model_lr: Rate = 1e-3

    def __post_init__(self) -> None:
        super().__post_init__()
        check_heads(self, self.memory)
        if self.trials > self.kept or self.tasks * self.envs > self.kept:
            least = max(self.trials, self.tasks * self.envs)
            raise ValueError(
                f"kept of varibad is {self.kept}; it must hold the trials of one meta-step: choose at least {least}"
            )

    def recipe(self, environment: Environment) -> Recipe:
        environment = with_task_in_view(environment) if self.knows_task else environment
        policy, model = self.policy(environment), self.model(environment)

        def meta_init(key: Key) -> Tree:
            policy_key, decoder_key = jax.random.split(key)
            return policy.init(policy_key) | {"decoders": model.init(decoder_key)}

        world = trial_world(self, environment, policy)._replace(learner=frozen(meta_init))
        window = Window(world, 0, chunk=self.chunk or fitting_chunk(world))

        def objective(step: Array) -> Objective:
            remaining = self.remaining(step)
            aim = final(trial_loss(self, world, remaining))._replace(reach=lambda path: path.startswith(HEADS))
            return with_curriculum(self, world, aim, remaining)

        acting = backprop(window, objective, adam(self), self.passes)
        how = {"kept": self.kept, "trials": self.trials, "updates": self.updates}
        explaining = explain(model, optax.adam(self.model_lr), world, **how)
        return Recipe(window, chain(acting, explaining), objective=objective)

    def policy(self, environment: Environment, *, forgets: bool = False) -> Policy:
        """The acting policy; with `forgets` its memory is erased after each episode."""
        return memory_policy(
            environment,
            lambda inputs: detached(self.belief(environment, inputs)),
            self.hidden,
            forgets=forgets,
            critic_scale=self.critic_scale,
        )

    def belief(self, environment: Environment, inputs: int) -> Memory:
        """The memory that infers the latent."""
        return inferred(trial_memory(self, self.memory, environment, inputs), self.latent)

    def model(self, environment: Environment) -> Inference:
        """The decoders of trials given the latent, and their ELBO."""
        return inference(
            environment,
            self.belief(environment, perception(environment).size),
            self.decoder,
            rewards=self.reward_model,
            arrival=self.pays_at_arrival,
            states=self.decodes_states,
            divergence=self.kl_weight,
            beliefs=self.beliefs,
        )
