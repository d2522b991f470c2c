"""Hyper-parameters as functions of φ: numbers, or networks of observation or reward (Xu et al. 2018, arXiv:1805.09801).

The context of recent rewards is that of Flennerhag et al. 2022, arXiv:2109.04504, §5.1.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.core.environment import Environment
from metarl_jax.core.learner import Learner, logit
from metarl_jax.core.losses import weighted_mean
from metarl_jax.core.networks import Network, mlp
from metarl_jax.core.types import Agent, Array, Experience, Key, Tree

Hyper = dict[str, Array]  # hyper-parameters by name, [] or [T, E]; where they are raw, any real number is legal
SHARES = ("gamma", "lambda")  # between 0 and 1, by a sigmoid; all others are above 0, by an exponential
WIDTH = 32  # of the hidden layer of a context network


class Context(NamedTuple):
    """What hyper-parameters depend on."""

    init: Callable[[Key], Tree]  # key -> φ
    read: Callable[[Tree, Experience, Tree], Hyper]  # φ, what is adapted to, recent rewards -> raw hyper-parameters
    history: int = 0  # rollouts whose mean rewards are read


def context_of(
    kind: Literal["none", "observation", "reward"],
    environment: Environment,
    first: Hyper,
    tunes: tuple[str, ...],
    history: int,
) -> Context:
    """The context of that kind, in which the raw hyper-parameters `tunes` start at `first` and the others stay there.

    Without a context φ holds the hyper-parameters themselves. Otherwise it holds a network whose head starts at zero
    and which moves them: of the `observation` at each step, or of the mean rewards of the last `history` rollouts.
    """
    if kind == "none":
        return Context(
            init=lambda key: {name: first[name] for name in tunes},
            read=lambda meta_params, seen, recent: {**first, **meta_params},
        )
    inputs = environment.observation_space.shape[0] if kind == "observation" else history
    network = mlp(inputs, (WIDTH,), len(tunes), head_scale=0.0)
    read = _of_observation if kind == "observation" else _of_reward

    def moved(meta_params: Tree, seen: Experience, recent: Tree) -> Hyper:
        moves = read(network, tunes, meta_params, seen, recent)
        return {name: value + moves.get(name, 0.0) for name, value in first.items()}

    return Context(network.init, moved, history if kind == "reward" else 0)


def _of_observation(network: Network, tunes: tuple[str, ...], params: Tree, seen: Experience, recent: Tree) -> Hyper:
    """Discount and trace decay of the next observation, weights of this one, [T, E]; a step size of all of them, []."""
    here, following = (network.apply(params, x) for x in (seen.timestep.observation, seen.next_observation))
    moves = {name: (following if name in SHARES else here)[..., i] for i, name in enumerate(tunes)}
    return moves | {"rate": weighted_mean(moves["rate"], seen.weight)} if "rate" in moves else moves


def _of_reward(network: Network, tunes: tuple[str, ...], params: Tree, seen: Experience, recent: Tree) -> Hyper:
    return dict(zip(tunes, network.apply(params, recent), strict=True))


def contextual(rule: Learner, context: Context) -> Learner:
    """The learner whose φ is that of the context, and who follows the `rule` of hyper-parameters.

    Where the context reads recent rewards, the agent's state keeps them, zero at birth.
    """

    def birth(meta_params: Tree, key: Key) -> Agent:
        agent = rule.birth((), key)
        return Agent(agent.params, (agent.state, jnp.zeros(context.history) if context.history else ()))

    def adapt(meta_params: Tree, agent: Agent, seen: Experience, key: Key) -> Agent:
        state, recent = agent.state
        if context.history:
            recent = jnp.append(recent[1:], weighted_mean(seen.reward, seen.weight))
        hyper = legal(context.read(meta_params, seen, recent))
        agent = rule.adapt(hyper, agent._replace(state=state), seen, key)
        return Agent(agent.params, (agent.state, recent))

    return Learner(context.init, birth, adapt)


def raw(name: str, value: Array | float) -> Array:
    """The number that is meta-learned in place of a hyper-parameter."""
    return logit(value) if name in SHARES else jnp.log(jnp.asarray(value, float))


def legal(hyper: Hyper) -> Hyper:
    """The hyper-parameters in the units of the loss: shares in (0, 1), all others above 0."""
    return {name: jax.nn.sigmoid(x) if name in SHARES else jnp.exp(x) for name, x in hyper.items()}
