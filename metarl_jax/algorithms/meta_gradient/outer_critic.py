"""A critic of the outer loss alone, at its discount (Bonnet et al. 2022, arXiv:2211.10550)."""

import jax

from metarl_jax.core.learner import InnerOptimiser, Learner, gradient_learner, inner_optimiser
from metarl_jax.core.losses import Loss
from metarl_jax.core.policy import Policy
from metarl_jax.core.types import Agent, Array, Experience, Key, Output, Tree


def is_critic(path: str) -> bool:
    """Whether a parameter of the policy at this path is the critic's."""
    return path.startswith("['critic']")


def by_prediction(policy: Policy) -> Policy:
    """The same policy with its first prediction as its value.

    A rule that adapts this view of the policy learns its own critic there, at its own discount. The recorded values,
    which an outer loss reads, are then free for a critic of their own.
    """

    def swapped(output: Output) -> Output:
        return output._replace(value=output.prediction[..., 0])

    def apply(params: Tree, memory: Tree, timestep: Tree) -> tuple[Tree, Output]:
        memory, output = policy.apply(params, memory, timestep)
        return memory, swapped(output)

    return policy._replace(apply=apply, unroll=lambda *inputs: swapped(policy.unroll(*inputs)))


def critic_learner(policy: Policy, optimiser: InnerOptimiser, lr: Array | float, loss: Loss) -> Learner:
    """The learner that moves only the policy's critic."""
    return gradient_learner(
        policy,
        meta_init=lambda key: (),
        birth=lambda meta_params, key: policy.init(key),
        loss=lambda read: loss,
        optimiser=inner_optimiser(optimiser, lr),
        adapts=is_critic,
    )


def beside(rule: Learner, critic: Learner) -> Learner:
    """A rule, and the learner of a critic that it neither reads nor moves: the meta-gradient passes it by."""

    def birth(meta_params: Tree, key: Key) -> Agent:
        agent = rule.birth(meta_params, key)
        own = critic.birth(meta_params, jax.random.fold_in(key, 1)).state  # in which nothing is drawn
        return Agent(agent.params, (agent.state, own))

    def adapt(meta_params: Tree, agent: Agent, seen: Experience, key: Key) -> Agent:
        state, own = agent.state
        judge = critic.adapt((), Agent(agent.params, own), seen, key)
        agent = rule.adapt(meta_params, Agent(agent.params, state), seen, key)
        judged = {**agent.params, "critic": jax.lax.stop_gradient(judge.params["critic"])}
        return Agent(judged, (agent.state, jax.lax.stop_gradient(judge.state)))

    return Learner(rule.meta_init, birth, adapt)
