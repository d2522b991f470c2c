"""Lives of MAML and their meta-gradient in float64: the library's side of the comparison with PyTorch."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from trees import double

from metarl_jax import make_algorithm, make_environment
from metarl_jax.core.life import unborn
from metarl_jax.core.types import Record
from metarl_jax.core.window import bound, entered, judged, live

GAMMA, INNER_LR = 0.9, 0.1
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "navigation-1": ("navigation", {"adaptations": 1}),
    "navigation-2": ("navigation", {"adaptations": 2}),
    "navigation-rates": ("navigation", {"adaptations": 2, "learned_rates": True}),
    "tabular-1": ("tabular", {"adaptations": 1, "steps": 8}),  # two episodes and the start of a third
    "tabular-2": ("tabular", {"adaptations": 2, "steps": 8}),
}
WORLDS: dict[str, dict[str, Any]] = {
    "navigation": {"steps": 10},
    "tabular": {"states": 3, "actions": 3, "steps": 3},
}
# What the loss reads of a record.
READS = (
    *("timestep.observation", "timestep.first", "action", "log_prob", "reward", "terminated", "truncated", "weight"),
)


@functools.cache
def setting(case: str) -> tuple[Any, Any, Any, Any]:
    """The window of a case, its objective, an unborn life and the φ with which it will be lived."""
    name, options = CASES[case]
    environment = make_environment(name, **WORLDS[name])
    algorithm = make_algorithm("maml", envs=6, hidden=(5, 4), gamma=GAMMA, inner_lr=INNER_LR, **options)
    recipe = algorithm.recipe(environment)
    window = recipe.window
    task_key, phi_key, noise_key, key = jax.random.split(jax.random.key(0), 4)
    task = environment.sample_task(task_key, "train")
    if name == "navigation":  # a corner that clipped strides reach, so that some episodes terminate
        task = environment.check_task({"goal": (0.1, 0.1)})
    phi = window.world.learner.meta_init(phi_key)
    noise = jax.random.normal(noise_key, (100,))  # away from zero biases and a flat head
    phi["params"] = jax.tree.map(lambda x: x + 0.3 * noise[: x.size].reshape(x.shape), phi["params"])
    return window, recipe.objective(jnp.int32(0)), unborn(task, key), phi


def seen_by(case: str, phi: Any) -> Any:
    """The record [K+1, T, E] of the life."""
    window, _, life, _ = setting(case)
    return live(window, phi, entered(window, phi, life)).seen


def lived(case: str) -> tuple[Any, Any]:
    """φ and the record [K+1, T, E] of a life, in float64."""
    phi = setting(case)[-1]
    seen = jax.jit(functools.partial(seen_by, case))(phi)
    with jax.enable_x64(True):
        return jax.device_get(double((phi, seen)))


def shapes(case: str) -> tuple[Any, Any]:
    """The abstract φ and record of a case, in float64."""
    phi = setting(case)[-1]
    like = jax.eval_shape(lambda phi: (phi, seen_by(case, phi)), phi)
    with jax.enable_x64(True):
        return jax.eval_shape(double, like)


def loss_and_gradient(case: str, phi: Any, seen: Any) -> tuple[Any, Any]:
    """The loss of the record and its meta-gradient, in float64."""
    window, objective, life, _ = setting(case)

    def loss(phi: Any, seen: Any) -> Any:
        past = Record(seen, jax.vmap(objective.loss.credited)(seen))
        return judged(window, objective, phi, bound(window, phi, life), past)[0]

    with jax.enable_x64(True):
        return jax.device_get(jax.jit(jax.value_and_grad(loss))(phi, seen))
