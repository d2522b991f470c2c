"""Trials of RL² and the gradient of PPO in float64: the library's side of the comparison with PyTorch."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from trees import double

from metarl_jax import begin, make_algorithm, make_environment
from metarl_jax.core.losses import standardised
from metarl_jax.core.policy import perception

TRIALS, WIDTH = 16, 5
WORLDS: dict[str, tuple[Any, int]] = {  # and the steps of a trial, 0 for all
    "bandit": (make_environment("bandit", arms=3, pulls=7), 0),
    "maze": (make_environment("maze", size=3, steps=6, episodes=2), 11),  # two episodes only if one finds the exit
}
# What the loss reads of a record.
READS = (
    *("timestep.observation", "timestep.previous_action", "timestep.previous_reward", "timestep.first"),
    *("action", "log_prob", "value", "next_value", "reward", "final", "weight", "onward"),
)


@functools.cache
def recipe(name: str) -> Any:
    environment, steps = WORLDS[name]
    return make_algorithm("rl2", tasks=TRIALS, width=WIDTH, steps=steps).recipe(environment)


def start(name: str) -> Any:
    """Parameters of those that act."""
    return recipe(name).window.world.policy.init(jax.random.key(0))


def acted(name: str, params: Any) -> tuple[Any, Any]:
    """Tasks [N] and their record [T, N]."""

    @jax.vmap
    def live(key: Any) -> Any:
        task_key, key = jax.random.split(key)
        task = WORLDS[name][0].sample_task(task_key, "train")
        return task, begin(recipe(name).window.world, params, task, key).seen

    task, seen = live(jax.random.split(jax.random.key(1), TRIALS))
    assert seen.memory is None  # blank
    record = jax.tree.map(lambda x: jnp.moveaxis(x[:, :, 0], 0, 1), seen._replace(earned=(), onward=()))
    return task, record._replace(onward=seen.onward[:, 0])


@functools.cache
def lived(name: str) -> tuple[Any, Any, Any]:
    """Tasks [N], parameters some way from those that acted, and the record [T, N], in float64."""
    params = start(name)
    task, record = jax.jit(functools.partial(acted, name))(params)
    noise = jax.random.normal(jax.random.key(2), (200,))
    params = jax.tree.map(lambda x: x + 0.3 * noise[: x.size].reshape(x.shape), params)
    with jax.enable_x64(True):
        return jax.device_get((task, *double((params, record))))


def shapes(name: str) -> tuple[Any, Any]:
    """The abstract parameters and record of a case, in float64."""
    params = start(name)
    like = jax.eval_shape(lambda params: (params, acted(name, params)[1]), params)
    with jax.enable_x64(True):
        return jax.eval_shape(double, like)


def loss_and_gradient(name: str, params: Any, record: Any) -> tuple[Any, Any]:
    """The loss of PPO on the record and its gradient, in float64."""

    def outer(params: Any, record: Any) -> Any:
        loss = recipe(name).objective(jnp.int32(0)).loss  # made here, or its weights would be of float32
        return loss.surrogate(params, record, standardised(loss.credit(record), record.weight))

    with jax.enable_x64(True):
        return jax.device_get(jax.jit(jax.value_and_grad(outer))(params, record))


def inputs(name: str, record: Any) -> np.ndarray:
    """What the memory perceives, [T, N, I]."""
    with jax.enable_x64(True):
        return np.asarray(perception(WORLDS[name][0]).features(record.timestep))


def theirs(params: Any) -> dict[str, np.ndarray]:
    """Our parameters, or a gradient in them, in the layout of PyTorch's GRU."""
    gates = [params["memory"]["gates"][name] for name in ("reset", "update", "candidate")]
    heads = [params[name]["head"] for name in ("actor", "critic")]
    own = params["memory"]["own"]
    return {
        "of_input": np.concatenate([gate["input"].T for gate in gates]),
        "input_bias": np.concatenate([gate["bias"] for gate in gates]),
        "of_memory": np.concatenate([gate["recurrent"].T for gate in gates]),
        "memory_bias": np.concatenate([np.zeros_like(own), np.zeros_like(own), own]),
        "head": np.concatenate([head["kernel"].T for head in heads]),
        "head_bias": np.concatenate([head["bias"] for head in heads]),
    }


def comparable(part: str) -> slice:
    """The numbers of a part that both have: of the memory's biases ours has that of the candidate alone."""
    return slice(2 * WIDTH, None) if part == "memory_bias" else slice(None)
