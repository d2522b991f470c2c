"""PPO in PureJaxRL (Lu et al. 2022, github.com/luchris429/purejaxrl) at the shapes of `ppo-cartpole`.

PureJaxRL is a checkout, not a package: the environment variable PUREJAXRL names its folder. Many agents train at once,
as in rejax_ppo.py: gymnax's CartPole-v1, as many environments, steps and epochs, and no minibatches. The networks of
its ppo.py have our default widths, two layers of 64 for the policy and two for the critic. Ours has other physics for
each agent.

ppo.py makes one function of a whole training, which ends in a scan over updates. `meta_step` takes the body of that
scan, so that one update is timed, as for the others. Its environments keep a log and its transitions are shuffled
before each epoch, as always there. `jax_peer.older` gives it the five results of gymnax's `step` that it unpacks; brax
and navix, which its wrappers import for other environments, are left empty.
"""

import os
import pathlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import jax
import jax_peer
from speed import WORKLOADS

from metarl_jax.algorithms import PolicyGradient

FORMS = jax_peer.FORMS
WORKLOAD = WORKLOADS["ppo-cartpole"]
WIDTHS = (64, 64)  # written into ppo.py


def measure(form: str, agents: int, seconds: float) -> dict[str, Any]:
    sharding = jax_peer.prepare(form)
    options = PolicyGradient(tasks=agents, **WORKLOAD.options)
    assert options.hidden == WIDTHS
    step, state = meta_step(training(options, os.environ["PUREJAXRL"]), agents)
    if sharding is not None:
        state = jax.device_put(state, sharding)
    return jax_peer.timed(step, state, agents * options.envs * options.steps, seconds)


def meta_step(train: Callable[[Any], Any], agents: int) -> tuple[Callable[[Any, Any], Any], Any]:
    """The function (state, key) -> state, log, and a first state, in which each agent has a key of its own."""
    keys = jax.random.split(jax.random.PRNGKey(0), agents)
    update = jax_peer.scanned(train, keys[0])["metrics"]
    born = jax.jit(jax.vmap(lambda key: jax_peer.scanned(train, key)["runner_state"]))

    def step(state: Any, key: Any) -> Any:
        return jax.vmap(lambda agent: update(agent, None))(state)

    return step, jax_peer.as_it_goes_on(step, born(keys))


def training(options: PolicyGradient, folder: str, updates: int = 1) -> Callable[[Any], Any]:
    """PureJaxRL's training with our options: a function of a key."""
    import gymnax  # it starts JAX's devices, whose number must be settled before

    leave_out_what_is_not_used()
    jax_peer.reach(pathlib.Path(folder) / "purejaxrl")
    import ppo

    environment, params = gymnax.make(WORKLOAD.environment.removeprefix("gymnax/"))
    ppo.gymnax = SimpleNamespace(make=lambda name: (jax_peer.older(environment), params))
    config = {
        "ENV_NAME": WORKLOAD.environment,
        "NUM_ENVS": options.envs,
        "NUM_STEPS": options.steps,
        "UPDATE_EPOCHS": options.epochs,
        "NUM_MINIBATCHES": 1,
        "TOTAL_TIMESTEPS": options.envs * options.steps * updates,
        "LR": options.inner_lr,
        "ANNEAL_LR": False,
        "GAMMA": options.gamma,
        "GAE_LAMBDA": options.lambda_,
        "CLIP_EPS": options.clip,
        "ENT_COEF": options.entropy,
        "VF_COEF": 0.5,
        "MAX_GRAD_NORM": 0.5,
        "ACTIVATION": "tanh",
    }
    train: Callable[[Any], Any] = ppo.make_train(config)
    return train


def leave_out_what_is_not_used() -> None:
    """Put empty modules in the place of brax and navix, which PureJaxRL's wrappers import for other environments."""
    jax_peer.module("brax", envs=None)
    jax_peer.module("brax.envs.wrappers.training", EpisodeWrapper=object, AutoResetWrapper=object)
    jax_peer.module("navix")
