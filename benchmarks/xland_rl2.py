"""RL² in XLand-MiniGrid (Nikulin et al. 2023, github.com/corl-team/xland-minigrid) at the shapes of `rl2-maze`.

XLand-MiniGrid's training is a checkout, not part of its package: the environment variable XLAND names its folder. The
meta-step, its PPO and its GRU are its own. Its agents walk in our maze, through `Maze`, and perceive what ours do:
`Network` has that GRU, and heads of one layer, in place of convolutions over its images.

It does the same work: trials of as many steps in a batch of as many tasks, as many epochs of minibatches, and gradients
through the whole trial. Left out is its evaluation after each meta-step. Ours counts ten episodes of a trial and masks
what comes after them; it counts all.

As for PureJaxRL, the meta-step is the body of the scan that is its whole training. `pmap`, which divides that over
devices, is replaced by a `vmap` of the same axis, which JAX divides as it does ours. pyrallis, wandb and tqdm, which
its command line and its downloads need, are left empty.
"""

import importlib
import os
import pathlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import jax_peer
import optax
from flax import linen, struct
from flax.training.train_state import TrainState
from speed import WORKLOADS

from metarl_jax.algorithms import RL2
from metarl_jax.core.environment import Environment
from metarl_jax.envs import make, to_gymnax

FORMS = jax_peer.FORMS
WORKLOAD = WORKLOADS["rl2-maze"]


def measure(form: str, tasks: int, seconds: float) -> dict[str, Any]:
    sharding = jax_peer.prepare(form)
    options = RL2(tasks=tasks, **WORKLOAD.options)
    reach(os.environ["XLAND"])
    step, state = meta_step(options, make(WORKLOAD.environment, **WORKLOAD.env))
    if sharding is not None:
        state = jax.device_put(state, sharding)
    return jax_peer.timed(step, state, tasks * options.steps, seconds)


def reach(folder: str) -> None:
    """Let its training be imported. Python 3.11 refuses the arrays that are defaults in its utils.py: numbers serve."""
    jax_peer.module("pyrallis", wrap=lambda: lambda function: function)
    jax_peer.module("wandb")
    jax_peer.module("tqdm.auto", tqdm=None)
    for part in ("src", "training"):
        jax_peer.reach(pathlib.Path(folder) / part)
    importlib.import_module("xminigrid.environment")
    with mock.patch("jax.numpy.asarray", lambda number: number):
        importlib.import_module("utils")


def meta_step(options: RL2, environment: Environment) -> tuple[Callable[[Any, Any], Any], Any]:
    """The function (state, key) -> state, losses, and a first state, of which each device has a copy."""
    import train_meta_task as xland

    devices = jax.device_count()
    config = xland.TrainConfig(**settings(options, devices))
    network = Network(environment.action_space.n, options.width)
    blank = jnp.zeros((config.num_envs_per_device, options.layers, options.width))
    params = network.init(jax.random.key(3), *network.blank(environment.observation_space.shape), blank[:1])
    agent = TrainState.create(apply_fn=network.apply, params=params, tx=optimiser(options))
    maze, mazes = Maze(environment), SimpleNamespace(sample_ruleset=lambda key: environment.sample_task(key, "train"))
    with mock.patch("jax.pmap", lambda function, axis_name: function):
        train = xland.make_train(maze, Params(), mazes, config)
    body = jax_peer.scanned(train, jax.random.key(0), agent, blank)["loss_info"]

    def step(state: Any, key: Any) -> Any:
        return jax.vmap(lambda copy: body(copy, None), axis_name="devices")(state)

    agents = jax.tree.map(lambda x: jnp.broadcast_to(x, (devices, *jnp.shape(x))), agent)
    return step, (jax.random.split(jax.random.key(2), devices), agents)


def settings(options: RL2, devices: int) -> dict[str, Any]:
    """Our options under its names."""
    return {
        "num_envs": options.tasks,
        "num_steps_per_env": options.steps,
        "num_steps_per_update": options.steps,
        "total_timesteps": options.tasks * options.steps,
        "update_epochs": options.epochs,
        "num_minibatches": options.minibatches,
        "clip_eps": options.clip,
        "gamma": options.gamma,
        "gae_lambda": options.lambda_,
        "ent_coef": options.entropy,
        "vf_coef": options.value_weight,
        "eval_num_envs": devices,
        "eval_num_episodes": 0,
    }


def optimiser(options: RL2) -> optax.GradientTransformation:
    adam = optax.inject_hyperparams(optax.adam)(learning_rate=options.meta_lr)  # it logs the rate
    return optax.chain(optax.clip_by_global_norm(options.max_gradient_norm), adam)


class Network(linen.Module):
    """Its GRU, and heads that read the memory together with its inputs, as ours do."""

    actions: int
    width: int

    @linen.compact
    def __call__(self, inputs: dict[str, Any], memory: Any) -> tuple[Any, Any, Any]:
        import distrax
        from nn import BatchedRNNModel

        action = jax.nn.one_hot(inputs["prev_action"], self.actions)
        numbers = [inputs[name][..., None] for name in ("prev_reward", "obs_dir")]
        seen = jnp.concatenate([inputs["obs_img"], action, *numbers], axis=-1)
        remembered, memory = BatchedRNNModel(self.width, 1)(seen, memory)
        read = jnp.concatenate([remembered, seen], axis=-1)
        value = linen.Dense(1)(read)
        return distrax.Categorical(logits=linen.Dense(self.actions)(read)), value[..., 0], memory

    def blank(self, shape: tuple[int, ...]) -> tuple[dict[str, Any]]:
        """Inputs of one step of one trial."""
        numbers = {name: jnp.zeros((1, 1)) for name in ("obs_dir", "prev_reward")}
        return ({"obs_img": jnp.zeros((1, 1, *shape)), "prev_action": jnp.zeros((1, 1), jnp.int32), **numbers},)


class Params(struct.PyTreeNode):
    """What XLand-MiniGrid calls a ruleset is the task."""

    ruleset: Any = None


class TimeStep(struct.PyTreeNode):
    """Where a trial stands, under XLand-MiniGrid's names; its `direction` says whether an episode begins."""

    key: Any
    state: Any
    reward: Any
    observation: dict[str, Any]

    def last(self) -> Any:
        return self.observation["direction"] > 0


class Maze:
    """An environment of ours with XLand-MiniGrid's interface: an episode that is over is followed by another."""

    def __init__(self, environment: Environment) -> None:
        task = environment.sample_task(jax.random.key(0), "train")
        self.gymnax = jax_peer.older(to_gymnax(environment, task))

    def reset(self, params: Params, key: Any) -> TimeStep:
        key, reset_key = jax.random.split(key)
        seen, state = self.gymnax.reset(reset_key, self.params(params))
        return TimeStep(key, state, jnp.float32(0), {"img": seen, "direction": jnp.float32(1)})

    def step(self, params: Params, timestep: TimeStep, action: Any) -> TimeStep:
        key, step_key = jax.random.split(timestep.key)
        seen, state, reward, over, _ = self.gymnax.step(step_key, timestep.state, action, self.params(params))
        return TimeStep(key, state, reward, {"img": seen, "direction": over.astype(jnp.float32)})

    def params(self, params: Params) -> Any:
        return self.gymnax.default_params.replace(task=params.ruleset)
