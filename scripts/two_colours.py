"""Two Colours: one stream whose boxes exchange their rewards (Flennerhag et al. 2022, §5.1; Luketina et al. 2022).

    python scripts/two_colours.py [--rows meta-gradient ...] [--seeds 5] [--steps 10000000]

The setting of arXiv:2109.04504: one agent and one environment in one episode of ten million steps, the colours swap
every 100,000, a meta-step for every rollout of 16 steps, γ = .99, SGD .1 inside, a meta-learned entropy bonus by Adam
with epsilon 1e-4, a context of the mean rewards of the last 10 rollouts. The losses of the papers are in units of a
reward: `SCALE` undoes the package's division by the horizon. Not published: two layers of 64 and the step sizes below.

Writes benchmarks/results/two_colours.json: reward a step, over the whole stream and over its last fifth. A reward of
.1 a step is a million over ten million steps.
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
from metarl_jax.core.distributions import distribution_of
from metarl_jax.core.environment import Environment
from metarl_jax.core.learner import gradient_learner, inner_optimiser
from metarl_jax.core.life import World
from metarl_jax.core.losses import Loss
from metarl_jax.core.meta import MetaLearner, meta_learner
from metarl_jax.core.networks import mlp
from metarl_jax.core.policy import Policy
from metarl_jax.core.returns import boundaries, gae
from metarl_jax.core.rollout import replay
from metarl_jax.core.types import Array, Credit, Experience, Key, Output, Split, Timestep, Tree
from metarl_jax.core.update import watch
from metarl_jax.core.window import Window
from metarl_jax.envs.two_colours import TwoColours, TwoColoursTask, published_task
from metarl_jax.experiment.results import Table
from metarl_jax.oracles.two_colours import average_reward

TABLE = "two_colours"
STREAM, SWAP, ROLLOUT = 10_000_000, 100_000, 16
SCALE = ROLLOUT  # the package divides rewards by the horizon, or by the rollout where that is shorter
CHUNK = 2_000  # meta-steps of one compiled call
COMMON: dict[str, Any] = {
    "envs": 1,
    "tasks": 1,
    "steps": ROLLOUT,
    "adaptations": 1,
    "tunes": ("entropy",),
    "gamma": 0.99,
    "entropy": 0.01 / SCALE,
    "inner_lr": 0.1 * SCALE,
    "value_weight": 0.5 / SCALE,
}
ROWS: dict[str, tuple[float, dict[str, Any]]] = {  # step size of the outer Adam, options
    "actor-critic": (0.0, {}),  # whose φ stays
    "meta-gradient": (1e-4, {}),
    "meta-gradient,context": (1e-4, {"context": "reward"}),
    "bootstrapped": (1e-4, {"target": "bootstrapped"}),
    "bootstrapped,context": (1e-4, {"target": "bootstrapped", "context": "reward"}),
}
EPSILON = 0.1  # of Q(λ)
PUBLISHED = {  # millions of reward in ten million steps
    "q(lambda)": 0.58,
    "actor-critic": 1.24,
    "meta-gradient": 1.29,
    "meta-gradient,context": 1.58,
    "bootstrapped": 1.32,
    "bootstrapped,context": 1.79,
}


class Published(TwoColours):
    """The environment with the task of the paper alone."""

    def draw_task(self, key: Key, split: Split) -> TwoColoursTask:
        return published_task()


def built(row: str) -> MetaLearner:
    """One life in one stream."""
    environment = Published(swap=SWAP, steps=STREAM)
    if row not in ROWS:
        window = Window(q_world(environment), 1, newborn=False)
        return meta_learner(window, watch(window), 1, lifespan=STREAM // ROLLOUT)
    meta_lr, options = ROWS[row]
    recipe = MetaGradient(**COMMON, **options, lifespan=STREAM // ROLLOUT).recipe(environment)
    assert recipe.objective is not None
    learning = backprop(recipe.window, recipe.objective, optax.adam(meta_lr, eps=1e-4))
    update = learning if meta_lr else watch(recipe.window)
    return meta_learner(recipe.window, update, 1, lifespan=STREAM // ROLLOUT)


def q_world(environment: Environment) -> World:
    """Q(λ) (Peng & Williams 1996) with an ε-greedy policy and SGD .1: value and prediction are max Q and Q."""
    network, actions = mlp(environment.observation_space.shape[0], (64, 64), 5), jnp.arange(5)

    def output(params: Tree, timestep: Timestep) -> Output:
        q = network.apply(params, timestep.observation)
        greedy = actions == jnp.argmax(q, axis=-1, keepdims=True)
        return Output(jnp.log(jnp.where(greedy, 1.0 - 0.8 * EPSILON, 0.2 * EPSILON)), jnp.max(q, axis=-1), q)

    policy = Policy(
        init=network.init,
        initial_memory=lambda shape: (),
        apply=lambda params, memory, timestep: (memory, output(params, timestep)),
        unroll=lambda params, memory, timesteps: output(params, timesteps),
        distribution=distribution_of(environment.action_space),
        critic=True,
        predicts=True,
    )

    def credit(seen: Experience) -> Credit:
        gain = gae(seen.reward, seen.value, seen.next_value, boundaries(seen), 0.99, 0.95)
        return Credit(gain, seen.value + gain)

    def error(params: Tree, seen: Experience, credit: Credit) -> Array:
        q = replay(policy, params, seen).prediction
        return 0.5 * jnp.mean((jnp.take_along_axis(q, seen.action[..., None], -1)[..., 0] - credit.target) ** 2)

    learner = gradient_learner(
        policy,
        meta_init=lambda key: {},
        birth=lambda meta_params, key: policy.init(key),
        loss=lambda read: Loss(credit, error),
        optimiser=inner_optimiser("sgd", 0.1),
    )
    return World(environment, policy, learner, 1, ROLLOUT, fresh=False)


def lived(meta: MetaLearner, seeds: int, steps: int) -> np.ndarray:
    """The reward of a step, mean over each compiled call, [seeds, calls]."""

    def step(state: Any, key: Key) -> tuple[Any, Array]:
        state, info = meta.step(state, key)
        return state, info["reward"]

    @jax.jit
    @jax.vmap
    def call(state: Any, key: Key) -> tuple[Any, Array]:
        state, rewards = jax.lax.scan(step, state, jax.random.split(key, CHUNK))
        return state, rewards.mean()

    keys = jax.random.split(jax.random.key(0), seeds)
    state, rewards = jax.jit(jax.vmap(meta.init))(keys), []
    for index in range(max(1, steps // (CHUNK * ROLLOUT))):
        state, reward = call(state, jax.vmap(jax.random.fold_in, (0, None))(keys, index))
        rewards.append(np.asarray(reward))
    return np.stack(rewards, axis=1)


def main() -> None:
    parser = table_parser(__doc__)
    parser.add_argument("--rows", nargs="*", default=list(PUBLISHED), choices=list(PUBLISHED))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=STREAM)
    given = parsed(parser, TABLE, rows=["q(lambda)", "bootstrapped,context"], seeds=1, steps=1)
    bound = average_reward(published_task().pay)
    for row in given.rows:
        start = time.perf_counter()
        rewards = lived(built(row), given.seeds, given.steps)
        steps = rewards.shape[1] * CHUNK * ROLLOUT
        made = {"wall_seconds": time.perf_counter() - start, "env_steps": steps}
        table = Table(TABLE, seeds=list(range(given.seeds)), tasks=1, **made)
        calls = rewards.shape[1]
        whole, late = rewards.mean(axis=1), rewards[:, min(-(-calls * 4 // 5), calls - 1) :].mean(axis=1)
        published = PUBLISHED[row] * 1e6 / STREAM if steps >= STREAM // 2 else None
        note = f"over {steps:,} steps of one stream; published over {STREAM:,}: {PUBLISHED[row]} million"
        table.add(row, "reward", whole.mean(), by_seed=whole, published=published, bound=bound, note=note)
        table.add(row, "reward,last-fifth", late.mean(), by_seed=late, bound=bound)
        write(merge(table, given.out), given.out)


if __name__ == "__main__":
    main()
