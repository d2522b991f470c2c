"""Two Colours: one stream whose boxes exchange their rewards (Flennerhag et al. 2022, §5.1; Luketina et al. 2022).

    python scripts/two_colours.py [--rows meta-gradient ...] [--seeds 5] [--steps 5000000] [--trial 2000000]

The setting of arXiv:2109.04504: one agent and one environment in one episode of ten million steps, the colours swap
every 100,000, rollouts of 16 steps, γ = .99, SGD .1 inside. An entropy bonus is meta-learned by Adam with epsilon 1e-4,
through windows of 16 updates, or through 7 towards a target 9 updates later; a context holds the mean rewards of the
last 10 rollouts. The losses of the paper are in units of a reward: `SCALE` undoes the package's division by the
horizon. Here an agent lives on from the end of its window, so that the rollouts of a target come on top of the ten
million steps; in the paper it lives on from the target. Not published: two layers of 64, and the numbers that each row
chooses from `ROWS` by its reward in shorter streams, of other seeds, all of them side by side.

Writes benchmarks/results/two_colours.json: the reward of a step, a mean over the last rollout of every window, over the
first five million steps and over the last fifth of these. A reward of .1 a step is a million over ten million steps.
"""

import functools
import itertools
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
CALL = 2_000  # rollouts of one compiled call
COMMON: dict[str, Any] = {
    "envs": 1,
    "tasks": 1,
    "steps": ROLLOUT,
    "tunes": ("entropy",),
    "gamma": 0.99,
    "inner_lr": 0.1 * SCALE,
    "value_weight": 0.5 / SCALE,
}
WINDOW, TARGET = 16, {"adaptations": 7, "bootstrap_steps": 9, "target": "bootstrapped"}
CONTEXT = {"context": "reward"}
START = (0.2,)  # entropy bonus that is tuned
TUNED = {"entropy": START, "meta_lr": (1e-4, 3e-4, 1e-3, 3e-3, 1e-2)}
KEPT = {"entropy": START, "meta_lr": (1e-4,), "outer_entropy": (0.05, 0.1, 0.2, 0.4)}  # less of it ends exploration
ROWS: dict[str, tuple[dict[str, Any], dict[str, tuple[float, ...]]]] = {  # options; the numbers to choose from
    "q(lambda)": ({}, {"epsilon": (0.03, 0.1, 0.2), "rate": (0.01, 0.03, 0.1)}),
    "actor-critic": ({"adaptations": 1}, {"entropy": (0.05, 0.1, 0.15, 0.2, 0.3)}),
    "meta-gradient": ({"adaptations": WINDOW}, KEPT),
    "meta-gradient,context": ({"adaptations": WINDOW, **CONTEXT}, KEPT),
    "bootstrapped": (TARGET, TUNED),
    "bootstrapped,context": (TARGET | CONTEXT, TUNED),
}
TRIAL_SEEDS = 2
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


def built(row: str, numbers: dict[str, Any]) -> tuple[MetaLearner, int]:
    """One life in one stream, and its rollouts in a meta-step."""
    environment, options = Published(swap=SWAP, steps=STREAM), ROWS[row][0]
    turns = options.get("adaptations", 1)
    lifespan = STREAM // (turns * ROLLOUT)
    if row == "q(lambda)":
        window = Window(q_world(environment, **numbers), turns, newborn=False)
        return meta_learner(window, watch(window), 1, lifespan=lifespan), turns
    given = {**numbers, "entropy": numbers["entropy"] / SCALE}
    meta_lr = given.pop("meta_lr", None)
    recipe = MetaGradient(**COMMON, **options, **given, lifespan=lifespan).recipe(environment)
    assert recipe.objective is not None
    fixed = meta_lr is None  # φ stays
    update = watch(recipe.window) if fixed else backprop(recipe.window, recipe.objective, optax.adam(meta_lr, eps=1e-4))
    return meta_learner(recipe.window, update, 1, lifespan=lifespan), turns


def q_world(environment: Environment, epsilon: Any, rate: Any) -> World:
    """Q(λ) (Peng & Williams 1996) with an ε-greedy policy and SGD: value and prediction are max Q and Q."""
    network, actions = mlp(environment.observation_space.shape[0], (64, 64), 5), jnp.arange(5)

    def output(params: Tree, timestep: Timestep) -> Output:
        q = network.apply(params, timestep.observation)
        greedy = actions == jnp.argmax(q, axis=-1, keepdims=True)
        return Output(jnp.log(jnp.where(greedy, 1.0 - 0.8 * epsilon, 0.2 * epsilon)), jnp.max(q, axis=-1), q)

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
        optimiser=inner_optimiser("sgd", rate),
    )
    return World(environment, policy, learner, 1, ROLLOUT, fresh=False)


def lived(row: str, numbers: dict[str, Array], seeds: Array, steps: int) -> np.ndarray:
    """The reward of a step, mean over each compiled call, [lanes, calls]: lanes of numbers and seeds, side by side."""

    turns = built(row, {name: values[0] for name, values in ROWS[row][1].items()})[1]

    @jax.jit
    @jax.vmap
    def begin(numbers: dict[str, Array], seed: Array) -> Any:
        return built(row, numbers)[0].init(jax.random.key(seed))

    @jax.jit
    @functools.partial(jax.vmap, in_axes=(0, 0, 0, None))
    def call(state: Any, numbers: dict[str, Array], seed: Array, index: Array) -> tuple[Any, Array]:
        def step(state: Any, key: Key) -> tuple[Any, Array]:
            state, info = built(row, numbers)[0].step(state, key)
            return state, info["reward"]

        keys = jax.random.split(jax.random.fold_in(jax.random.key(seed), index), CALL // turns)
        state, rewards = jax.lax.scan(step, state, keys)
        return state, rewards.mean()

    state, rewards = begin(numbers, seeds), []
    for index in range(round(steps / (CALL // turns * turns * ROLLOUT))):
        state, reward = call(state, numbers, seeds, jnp.int32(index))
        rewards.append(np.asarray(reward))
    return np.stack(rewards, axis=1)


def chosen(row: str, steps: int) -> tuple[dict[str, float], str]:
    """The numbers of the row with the most reward over trial streams, and what was chosen from."""
    names, values = zip(*ROWS[row][1].items(), strict=True)
    grid = list(itertools.product(*values))
    lanes = [jnp.repeat(jnp.array(column), TRIAL_SEEDS) for column in zip(*grid, strict=True)]
    seeds = jnp.tile(1000 + jnp.arange(TRIAL_SEEDS), len(grid))
    rewards = lived(row, dict(zip(names, lanes, strict=True)), seeds, steps).mean(axis=1)
    score = rewards.reshape(len(grid), TRIAL_SEEDS).mean(axis=1)
    for point, reward in zip(grid, score, strict=True):
        print(row, dict(zip(names, point, strict=True)), f"{reward:.4f}", flush=True)
    best = dict(zip(names, grid[int(np.argmax(score))], strict=True))
    found = ", ".join(f"{name} {value:g}" for name, value in best.items())
    return best, f"{found}: the best of {len(grid)} in {TRIAL_SEEDS} streams of {steps:,} steps"


def main() -> None:
    parser = table_parser(__doc__)
    parser.add_argument("--rows", nargs="*", default=list(PUBLISHED), choices=list(PUBLISHED))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=STREAM // 2)
    parser.add_argument("--trial", type=int, default=STREAM // 5, help="steps of the streams that choose numbers")
    given = parsed(parser, TABLE, rows=["actor-critic"], seeds=1, steps=CALL * ROLLOUT, trial=CALL * ROLLOUT)
    bound = average_reward(published_task().pay)
    for row in given.rows:
        numbers, choice = chosen(row, given.trial)
        start, seeds = time.perf_counter(), jnp.arange(given.seeds)
        lanes = {name: jnp.full(given.seeds, value) for name, value in numbers.items()}
        rewards = lived(row, lanes, seeds, given.steps)
        made = {"wall_seconds": time.perf_counter() - start, "env_steps": given.steps}
        table = Table(TABLE, seeds=list(range(given.seeds)), tasks=1, **made)
        calls = rewards.shape[1]
        whole, late = rewards.mean(axis=1), rewards[:, min(-(-calls * 4 // 5), calls - 1) :].mean(axis=1)
        published = PUBLISHED[row] * 1e6 / STREAM if given.steps >= STREAM // 2 else None
        note = (
            f"over {given.steps:,} steps of one stream; published over {STREAM:,}: {PUBLISHED[row]} million; {choice}"
        )
        table.add(row, "reward", whole.mean(), by_seed=whole, published=published, bound=bound, note=note)
        table.add(row, "reward,last-fifth", late.mean(), by_seed=late, bound=bound)
        write(merge(table, given.out), given.out)


if __name__ == "__main__":
    main()
