"""LPG's meta-step in groove (Jackson et al. 2023, github.com/EmptyJackson/groove) at the shapes of `rule-grid`.

groove is a checkout, not a package: the environment variable GROOVE names its folder. It asks for JAX 0.4.13, Flax
0.6.11, gymnax 0.0.6 and evosax 0.1.4. What has gone from them since is put back here under its old name (`mend`); the
meta-step itself is groove's own. Its agents walk in our environment, and their networks are as wide as ours.

groove differs in what our workload does not have, or has otherwise: a GRU of the same width in place of the LSTM; a
critic trained beside the agents; one more rollout, which judges the last agent. Left out is what it does beside the
meta-step: returns for its log (cut to one step), and the rebirth of agents.
"""

import functools
import os
from typing import Any

import jax
import jax.numpy as jnp
import jax_peer
from flax import linen
from flax.training.train_state import TrainState
from speed import WORKLOADS

from metarl_jax.algorithms import LearnedRule
from metarl_jax.envs import make, to_gymnax

FORMS = {"usual": 16, "at once": 1, "devices": 1}  # minibatches of agents, one after another; groove's default is 16
WORKLOAD = WORKLOADS["rule-grid"]
EMBEDDING, META_LR, ENDLESS = 16, 1e-4, 10**9


def mend(width: int) -> None:
    """Put back what groove uses of older JAX, Flax and evosax."""
    jax.tree_map = jax.tree.map  # type: ignore[attr-defined]
    linen.GRUCell = functools.partial(linen.GRUCell, features=width)  # it took its width from its state
    jax_peer.module("jax.config", config=jax.config)
    unused = ("OpenES", "Strategy", "EvoParams", "EvoState")  # by the meta-step
    jax_peer.module("evosax", **dict.fromkeys(unused, object))


def measure(form: str, agents: int, seconds: float) -> dict[str, Any]:
    sharding = jax_peer.prepare(form)
    options = LearnedRule(tasks=agents, **WORKLOAD.options)
    mend(options.width)
    jax_peer.reach(os.environ["GROOVE"])
    step, state = meta_step(options, agents, min(FORMS[form], agents))
    if sharding is not None:
        whole = jax.sharding.NamedSharding(sharding.mesh, jax.sharding.PartitionSpec())
        state = jax.device_put(state[0], whole), *jax.device_put(state[1:], sharding)
    rollouts = options.adaptations + 1
    return jax_peer.timed(step, state, agents * options.envs * options.steps * rollouts, seconds)


def meta_step(options: LearnedRule, agents: int, parts: int) -> tuple[Any, Any]:
    """The function (state, key) -> state, metrics, and a first state."""
    import environments.rollout as rollouts
    from meta.train import lpg_meta_grad_train_step
    from util.data import LpgHyperparams

    ours = make(WORKLOAD.environment, **WORKLOAD.env)
    world = jax_peer.older(to_gymnax(ours, ours.sample_task(jax.random.key(0), "train")))
    rollouts.get_env = lambda name, options: world  # type: ignore[attr-defined]
    manager = rollouts.RolloutWrapper(WORKLOAD.environment, options.steps, eval_rollout_len=1)
    hypers = LpgHyperparams(
        num_agent_updates=options.adaptations,
        agent_target_coeff=options.prediction_weight,
        policy_entropy_coeff=options.entropy,
        target_entropy_coeff=options.prediction_entropy,
        policy_l2_coeff=options.policy_penalty,
        target_l2_coeff=options.target_penalty,
    )

    def step(state: Any, key: Any) -> tuple[Any, Any]:
        *state, metrics = lpg_meta_grad_train_step(key, *state, manager, parts, options.gamma, options.lambda_, hypers)
        return tuple(state), metrics

    born = functools.partial(births, options, ours, world, manager)
    return step, (rule(options), *jax.jit(jax.vmap(born))(jax.random.split(jax.random.key(2), agents)))


def rule(options: LearnedRule) -> Any:
    """groove's rule network and its Adam."""
    from models.lpg import LPG
    from models.optim import create_optimizer

    network = LPG(EMBEDDING, options.width, options.predictions, lifetime_conditioning=False)
    params = jax.jit(network.init)(jax.random.key(3), *map(jnp.asarray, network.get_init_vector()))["params"]
    return TrainState.create(apply_fn=network.apply, params=params, tx=create_optimizer("Adam", META_LR, 0.5))


def births(options: LearnedRule, ours: Any, world: Any, manager: Any, key: Any) -> tuple[Any, Any]:
    """An agent in a task of its own, and its critic."""
    from agents.agents import AgentHyperparams, create_agent, create_value_critic
    from util.data import AgentState, Level

    task_key, agent_key, critic_key, reset_key = jax.random.split(key, 4)
    params = world.default_params.replace(task=ours.sample_task(task_key, "train"))
    how = AgentHyperparams(options.hidden, options.inner_lr, options.hidden, options.inner_lr, "SGD", 1.0)
    how = how.replace(critic_dims=options.predictions)
    shape = ours.observation_space.shape
    actor, prediction = create_agent(agent_key, how, ours.action_space.n, shape)
    observation, state = manager.batch_reset(reset_key, params, options.envs)
    level = Level(params, jnp.int32(ENDLESS), jnp.int32(0))
    return AgentState(actor, prediction, level, observation, state), create_value_critic(critic_key, how, shape)
