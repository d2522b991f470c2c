"""The bias of meta-gradients that judge by the inner critic: five chains that pay late (Bonnet et al. 2022, §4).

    python scripts/discounting_chain.py [--rows meta-gradient ...] [--seeds 10] [--updates 2000]

The setting of arXiv:2211.10550: one chain of five pays 1.1, after 30 steps, and the others 1; an actor linear in the
observation, the true values in place of a learned critic, 128 episodes an update, SGD .5 with entropy .005 inside, an
inner discount from .95 on that Adam .1 tunes through a sigmoid, outer discount 1, trace decay 0. Losses are sums over
an episode. The true value at the inner discount is a function of that discount, also for the meta-gradient.

Writes benchmarks/results/discounting_chain.json: the expected return of the policy and the inner discount in the end.
"""

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from published import merge, parsed, table_parser, write

from metarl_jax.algorithms.meta_gradient.meta_gradient import MetaGradient
from metarl_jax.core.backprop import backprop
from metarl_jax.core.environment import Environment
from metarl_jax.core.learner import Learner
from metarl_jax.core.meta import MetaLearner, meta_learner
from metarl_jax.core.policy import Policy, mlp_policy
from metarl_jax.core.types import Agent, Array, Experience, Key, Output, Split, Timestep, Tree
from metarl_jax.core.update import watch
from metarl_jax.envs.discounting_chain import DELAYS, DiscountingChain, DiscountingChainTask, published_task
from metarl_jax.experiment.results import Table

TABLE = "discounting_chain"
HORIZON, PAY = DELAYS[-1], published_task().pay
COMMON: dict[str, Any] = {
    "hidden": (),
    "steps": HORIZON,
    "envs": 128,
    "adaptations": 1,
    "tunes": ("gamma",),
    "gamma": 0.95,
    "lambda_": 0.0,
    "outer_gamma": 1.0,
    "outer_lambda": 0.0,
    "value_weight": 0.0,
    # The package's losses are means over steps of rewards per step: these are the same sums over an episode.
    "entropy": 0.005 / HORIZON,
    "inner_lr": 0.5 * HORIZON**2,
}
ROWS: dict[str, tuple[float, dict[str, Any]]] = {  # step size of the outer Adam, options
    "actor-critic": (0.0, {}),
    "meta-gradient": (0.1, {}),
    "bootstrapped": (0.1, {"target": "bootstrapped"}),
    "meta-gradient,outer-critic": (0.1, {"outer_critic": True}),
    "bootstrapped,outer-critic": (0.1, {"target": "bootstrapped", "outer_critic": True}),
}
PUBLISHED = {"actor-critic": 1.0, "meta-gradient": 1.0, "bootstrapped": 1.0, "meta-gradient,outer-critic": 1.1}


class Published(DiscountingChain):
    """The environment with the task of the paper alone."""

    def draw_task(self, key: Key, split: Split) -> DiscountingChainTask:
        return published_task()


def worth(time: Array, gamma: Array | float) -> Array:
    """What each chain is worth to one who is on it, [..., 5]: γ to the steps that are left, times its reward a step."""
    left = jnp.asarray(DELAYS) - 1 - time[..., None]
    return jnp.where(left >= 0, PAY / HORIZON * gamma ** jnp.maximum(left, 0), 0.0)


def knowing_policy(environment: Environment, outer_critic: bool) -> Policy:
    """A linear actor with its true values, at the discount in its parameters and, for the outer loss, at 1."""
    actor = mlp_policy(environment, ())

    def init(key: Key) -> Tree:
        return {**actor.init(key), "critic": {}, "gamma": jnp.float32(COMMON["gamma"])}

    def output(params: Tree, timestep: Timestep) -> Output:
        logits = actor.unroll(params, (), timestep).distribution
        clock, chain = jnp.round(timestep.observation[..., 0] * HORIZON), timestep.observation[..., 1:]
        chance = jnp.where(clock[..., None] == 0, jax.nn.softmax(logits), chain)
        inner, outer = (jnp.sum(chance * worth(clock, gamma), axis=-1) for gamma in (params["gamma"], 1.0))
        return Output(logits, outer if outer_critic else inner, inner[..., None])

    return actor._replace(
        init=init,
        apply=lambda params, memory, timestep: (memory, output(params, timestep)),
        unroll=lambda params, memory, timesteps: output(params, timesteps),
        critic=True,
        predicts=True,
    )


def informed(learner: Learner) -> Learner:
    """The learner whose agents know the discount that they are judged by."""

    def adapt(meta_params: Tree, agent: Agent, seen: Experience, key: Key) -> Agent:
        params = {**agent.params, "gamma": jax.nn.sigmoid(meta_params["gamma"])}
        return learner.adapt(meta_params, agent._replace(params=params), seen, key)

    return learner._replace(adapt=adapt)


def built(meta_lr: float, options: dict[str, Any], updates: int) -> MetaLearner:
    """One life of that many meta-steps, an update each."""
    environment, algorithm = Published(), MetaGradient(**COMMON, **options, lifespan=updates + 1, tasks=1)
    recipe = algorithm.recipe_of(environment, knowing_policy(environment, algorithm.outer_critic))
    world = recipe.window.world
    window = recipe.window._replace(world=world._replace(learner=informed(world.learner)))
    assert recipe.objective is not None
    update = backprop(window, recipe.objective, optax.adam(meta_lr)) if meta_lr else watch(window)
    return meta_learner(window, update, 1, lifespan=updates + 1)


def learned(meta: MetaLearner, seeds: int, updates: int) -> tuple[np.ndarray, np.ndarray]:
    """The expected return of the policy, and the inner discount, after each meta-step, [seeds, updates] each."""

    def step(state: Any, key: Key) -> tuple[Any, tuple[Array, Array]]:
        state, _ = meta.step(state, key)
        assert state.lives is not None
        first = state.lives.agent.params["actor"]["head"]["bias"][0]  # the first observation is 0
        return state, (jax.nn.softmax(first) @ PAY, jax.nn.sigmoid(state.meta_params["gamma"]))

    def one(key: Key) -> tuple[Array, Array]:
        born, lived = jax.random.split(key)
        return jax.lax.scan(step, meta.init(born), jax.random.split(lived, updates))[1]

    returns, gammas = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), seeds))
    return np.asarray(returns), np.asarray(gammas)


def main() -> None:
    parser = table_parser(__doc__)
    parser.add_argument("--rows", nargs="*", default=list(ROWS), choices=list(ROWS))
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--updates", type=int, default=2000)
    given = parsed(parser, TABLE, rows=["actor-critic", "bootstrapped,outer-critic"], seeds=2, updates=20)
    for row in given.rows:
        meta, start = built(*ROWS[row], given.updates), time.perf_counter()
        returns, gammas = learned(meta, given.seeds, given.updates)
        made = {"wall_seconds": time.perf_counter() - start, "env_steps": meta.env_steps * given.updates}
        table = Table(TABLE, seeds=list(range(given.seeds)), tasks=1, **made)
        note = f"after {given.updates} updates; return from {returns[:, -1].min():.4f} to {returns[:, -1].max():.4f}"
        table.add(
            row,
            "return",
            returns[:, -1].mean(),
            by_seed=returns[:, -1],
            published=PUBLISHED.get(row),
            bound=float(PAY.max()),
            note=note,
        )
        note = f"from {gammas[:, -1].min():.4f} to {gammas[:, -1].max():.4f}"
        table.add(row, "gamma", gammas[:, -1].mean(), by_seed=gammas[:, -1], note=note)
        write(merge(table, given.out), given.out)
        for at in np.linspace(0, given.updates - 1, 11, dtype=int):
            print(at, returns[:, at].mean(), gammas[:, at].min(), gammas[:, at].max())


if __name__ == "__main__":
    main()
