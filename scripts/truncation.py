"""What windows cut off the meta-gradient of a long life, and which estimators get it back.

    python scripts/truncation.py [--replicas 4096] [--out benchmarks/results/truncation.json]

A life in a known process of 4 states and 2 actions, in episodes of 6 steps: a table policy, newborn at 0, ascends the
expected return of a learned reward with a learned step size for 32 turns,

    θ ← θ + exp(φ_rate) ∇θ V(θ; φ_reward),     L(φ) = −mean_t V(θ_t; r),

so that nothing is random but the noise of evolution, and ∇L is known to the last digit. Rows: backpropagation through
windows of K turns (`backprop`), and evolution on single pairs that live such windows under φ ± σ ε, with fresh noise
(`es`), persistent noise (`pes`) and reused noise (`nres`). Columns, in units of ‖∇L‖, by K:

- `bias`,
- `variance` of the estimate from all windows of one life of one pair,
- `one`, that from one of its windows, averaged over its ages, as in a meta-step on lives of all ages,
- `p`, how likely an unbiased estimator is as far off (Hotelling's T²).

The script fails unless the t-tests find `es` and `backprop` biased in every window that is shorter than the life, and
`pes` and `nres` unbiased in all of them. Writes the table and docs/truncation.png.
"""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import optax
import scipy.stats
from matplotlib.figure import Figure
from published import parsed, table_parser

from metarl_jax.core.backprop import backprop
from metarl_jax.core.batching import Devices
from metarl_jax.core.evolution import negative_return
from metarl_jax.core.learner import Learner
from metarl_jax.core.life import Life, World, begin, unborn
from metarl_jax.core.objective import Objective
from metarl_jax.core.persistent import Noise, persistent
from metarl_jax.core.policy import mlp_policy
from metarl_jax.core.types import Agent, Array, Experience, Key, Tree
from metarl_jax.core.update import Lives, Now, Update
from metarl_jax.core.window import Window
from metarl_jax.envs.tabular import RandomMDP, TabularTask
from metarl_jax.experiment.results import Table
from metarl_jax.oracles.meta_gradient import draw_process

TABLE = "truncation"
KEY = 20_261_128
STATES, ACTIONS, STEPS, TURNS = 4, 2, 6, 32
WINDOWS = (1, 4, 16, 32)  # turns; the last is the whole life
SIGMA = 0.02
NOISES: tuple[Noise, ...] = ("es", "pes", "nres")
LIKELY, UNLIKELY = 1e-3, 1e-6
# Keep φ, and remember the gradient.
held = optax.GradientTransformation(
    lambda params: jax.tree.map(jnp.zeros_like, params),
    lambda gradient, state, params=None: (jax.tree.map(jnp.zeros_like, gradient), gradient),
)


@functools.cache
def process() -> TabularTask:
    return draw_process(jax.random.key(KEY), STATES, ACTIONS, concentration=1.0)


def value(theta: Array, reward: Array) -> Array:
    """The expected return of an episode from state 0."""
    policy, values = jax.nn.softmax(theta), jnp.zeros(STATES)
    for _ in range(STEPS):
        values = jnp.sum(policy * (reward + process().transition @ values), axis=1)
    return values[0]


def learn(φ: Tree, theta: Array) -> Array:
    """One turn."""
    return theta + jnp.exp(φ["rate"]) * jax.grad(value)(theta, φ["reward"])


def first() -> Tree:
    """A step size, and a reward that misjudges the process."""
    noise = jax.random.normal(jax.random.fold_in(jax.random.key(KEY), 1), (STATES, ACTIONS))
    return {"rate": jnp.log(jnp.float32(0.3)), "reward": process().reward_mean + 0.5 * noise}


def exact(turns: int = TURNS) -> Array:
    """∇L of the whole life, without the package's lives."""

    def loss(φ: Tree) -> Array:
        def turn(theta: Array, _: None) -> tuple[Array, Array]:
            theta = learn(φ, theta)
            return theta, -value(theta, process().reward_mean)

        return jnp.mean(jax.lax.scan(turn, jnp.zeros((STATES, ACTIONS)), length=turns)[1])

    return flat(jax.jit(jax.grad(loss))(first()))


def flat(φ: Tree) -> Array:
    return jnp.concatenate([jnp.ravel(x) for x in jax.tree.leaves(φ)])


def window_of(turns: int) -> Window:
    """The package's window on such lives; the table that learns is the agent's state."""
    environment = RandomMDP(states=STATES, actions=ACTIONS, steps=STEPS, episodes=1)
    policy = mlp_policy(environment, ())
    acting = policy.init(jax.random.key(0))

    def birth(φ: Tree, key: Key) -> Agent:
        return Agent(acting, jnp.zeros((STATES, ACTIONS)))

    def adapt(φ: Tree, agent: Agent, seen: Experience, key: Key) -> Agent:
        return agent._replace(state=learn(φ, agent.state))

    world = World(environment, policy, Learner(lambda key: first(), birth, adapt), envs=1, steps=1, fresh=False)
    return Window(world, turns, newborn=turns == TURNS)


def objective_of(window: Window) -> Objective:
    """The mean loss after each turn of a window."""
    loss = lambda φ, agent, lived: -value(agent.state, process().reward_mean)  # noqa: E731
    return Objective(negative_return(window.world, 1.0), loss, loss, lambda losses: jnp.mean(losses[1:]))


def gradients(window: Window, update: Update, key: Key) -> Array:
    """What an update takes for the gradient in each window of one life, [W, D]; their mean is that of the life."""
    φ = first()
    birth_key, key = jax.random.split(key)
    life = unborn(process(), birth_key)
    if not window.newborn:
        life = update.birth(lambda φ: begin(window.world, φ, life.task, life.key), φ, life)

    def step(lives: Life, key: Key) -> tuple[Life, Tree]:
        now = Now(jnp.int32(0), key, Devices())
        _, found, _, lived = update.improve(φ, update.init(φ), Lives(lives), now)
        return lives if window.newborn else lived.end, flat(found.gradient)

    lives = jax.tree.map(lambda x: x[None], life)
    return jax.lax.scan(step, lives, jax.random.split(key, TURNS // window.turns))[1]


def estimates(turns: int, noise: Noise, replicas: int) -> np.ndarray:
    """Estimates from the windows of single lives of single pairs, [R, W, D]."""
    window = window_of(turns)
    update = persistent(window, objective_of(window), held, noise=noise, pairs=1, sigma=SIGMA)
    run = jax.jit(jax.vmap(functools.partial(gradients, window, update)))
    keys = jax.random.split(jax.random.fold_in(jax.random.key(KEY), 100 * turns + NOISES.index(noise)), replicas)
    return np.asarray(run(keys), np.float64)


def chance(found: np.ndarray, expected: np.ndarray) -> float:
    """How likely the mean of unbiased estimates is as far off as this one (Hotelling's T²)."""
    off = found - expected
    count, size = off.shape
    squared = count * off.mean(axis=0) @ np.linalg.solve(np.cov(off.T), off.mean(axis=0))
    return float(scipy.stats.f.sf(squared * (count - size) / (size * (count - 1)), size, count - size))


def add(table: Table, noise: str, turns: int, found: np.ndarray, aim: np.ndarray) -> float:
    """One row's cells of a window length, and its p; the bias is that of the mean, less what noise adds to it."""
    by_window = found / np.linalg.norm(aim)
    scaled = by_window.mean(axis=1)
    error, spread = scaled.mean(axis=0) - aim / np.linalg.norm(aim), np.cov(scaled.T) / len(found)  # of the mean
    squared = np.sum(error**2) - np.trace(spread)
    wide = 1.96 * np.sqrt(4 * error @ spread @ error + 2 * np.sum(spread**2))
    bias, *ends = np.sqrt(np.maximum([squared, squared - wide, squared + wide], 0.0))
    table.add(noise, f"bias,window={turns}", bias, (ends[0], ends[1]))
    table.add(noise, f"variance,window={turns}", len(found) * np.trace(spread))
    table.add(noise, f"one,window={turns}", np.var(by_window, axis=0, ddof=1).sum(axis=1).mean())
    p = chance(found.mean(axis=1), aim)
    table.add(noise, f"p,window={turns}", p)
    return p


def check(noise: str, turns: int, p: float) -> None:
    """Fail unless the row is biased, or not, as theory says."""
    if noise == "es" and turns < TURNS:
        assert p < UNLIKELY, f"{noise} with windows of {turns} looks unbiased: p = {p}"
    else:
        assert p > LIKELY, f"{noise} with windows of {turns} is biased: p = {p}"


PANELS = {"bias": "bias", "variance": "variance, all windows of a life", "one": "variance, one window"}


def draw(table: Table) -> Figure:
    """Bias and variance by window length."""
    figure = Figure(figsize=(11, 3.4), layout="constrained")
    for panel, (column, label) in zip(figure.subplots(1, len(PANELS)), PANELS.items(), strict=True):
        for color, row in enumerate(("backprop", *NOISES)):
            if row != "backprop" or column == "bias":
                cells = [table.cell(row, f"{column},window={turns}").value for turns in WINDOWS]
                panel.plot(WINDOWS, cells, marker="o", markersize=3.5, label=row, color=f"C{color}")
        panel.set(xscale="log", xlabel="turns of a window", ylabel=label)
        panel.set_xticks(WINDOWS, [str(turns) for turns in WINDOWS])
        panel.minorticks_off()
        if column == "bias":
            panel.legend()
        else:
            panel.set_yscale("log")
    figure.suptitle(f"The meta-gradient of a life of {TURNS} turns, in units of its length")
    return figure


def main() -> None:
    parser = table_parser(__doc__)
    parser.add_argument("--replicas", type=int, default=4096)
    arguments = parsed(parser, TABLE, replicas=64)
    start, aim = time.perf_counter(), np.asarray(exact(), np.float64)
    table = Table(TABLE, seeds=[KEY], tasks=1)
    for turns in WINDOWS:
        window = window_of(turns)
        update = backprop(window, objective_of(window), held)
        found = np.asarray(jax.jit(functools.partial(gradients, window, update))(jax.random.key(0)), np.float64)
        bias = np.linalg.norm(found.mean(axis=0) - aim) / np.linalg.norm(aim)
        table.add("backprop", f"bias,window={turns}", bias)
        assert (bias > 0.01) == (turns < TURNS), f"backprop with windows of {turns} has bias {bias}"
    for turns in WINDOWS:
        for noise in NOISES if turns < TURNS else NOISES[:1]:
            found = estimates(turns, noise, arguments.replicas)
            for row in (noise,) if turns < TURNS else NOISES:  # a life of one window has no other noise
                p = add(table, row, turns, found, aim)
                if not arguments.quick:  # whose few lives tell nothing
                    check(row, turns, p)
            table.wall_seconds = round(time.perf_counter() - start, 1)
            table.write(arguments.out)
    draw(table).savefig(arguments.figure, dpi=110)
    print(table.to_markdown())


if __name__ == "__main__":
    main()
