"""What the best possible agents get, beside the values that are published or were computed elsewhere.

    python scripts/oracles.py [--only bandit] [--slow] [--out benchmarks/results/oracles.json]

Prints a line an oracle: value, standard error, known value, difference, and `ok` or `OFF` where the two must agree.
Writes benchmarks/results/oracles.json; with --only the other rows of that file are kept. A new oracle is one `Entry`.
"""

import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from published import merge, parsed, table_parser

from metarl_jax.core.environment import Environment
from metarl_jax.core.types import Array, Key
from metarl_jax.envs import (
    ENVIRONMENTS,
    Assistant,
    Bandit,
    CartPole,
    DarkRoom,
    DiscountingChain,
    GridNavi,
    KeyToDoor,
    Maze,
    Navigation,
    RandomABC,
    RandomMDP,
    TwoStep,
    make,
)
from metarl_jax.envs.discounting_chain import published_task
from metarl_jax.experiment.results import Table
from metarl_jax.oracles import (
    assistant,
    bandit,
    cartpole,
    dark_room,
    gridnavi,
    maze,
    navigation,
    reference,
    tabular,
    two_colours,
    two_step,
)

TABLE = "oracles"
KEY = 20_260_102
TASKS = 2_000  # behind an estimate, unless it says otherwise


class Estimate(NamedTuple):
    """A mean over tasks and its standard error; no tasks where it is exact."""

    value: float
    error: float = 0.0
    tasks: int = 0


@dataclasses.dataclass(frozen=True)
class Entry:
    """One oracle: `row`, an agent, in `column`, a problem."""

    row: str
    column: str
    known: float | None  # what is published, or was computed elsewhere
    tolerance: (
        float | None
    )  # how far it may be off, beside three standard errors; None: another agent, a mere neighbour
    compute: Callable[[], Estimate | float]
    slow: bool = False
    note: str | None = None

    def estimate(self) -> Estimate:
        """The value; a plain number is exact."""
        found = self.compute()
        return found if isinstance(found, Estimate) else Estimate(float(found))

    def verdict(self, found: Estimate) -> str:
        """Whether the value is the known one, in a word; none where it need not be."""
        if self.known is None or self.tolerance is None:
            return ""
        return "ok" if abs(found.value - self.known) <= self.tolerance + 3.0 * found.error else "OFF"


def sampled(environment: Environment, measure: Callable[[Key, Any], Array], tasks: int = TASKS) -> Estimate:
    """The mean of `measure(key, task)` over tasks of the training law."""

    def one(key: Key) -> Array:
        task_key, key = jax.random.split(key)
        return measure(key, environment.draw_task(task_key, "train"))

    values = np.asarray(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(KEY), tasks)), np.float64)
    return Estimate(float(values.mean()), float(values.std() / np.sqrt(tasks)), tasks)


def referred(environment: Environment, tasks: int = TASKS) -> Estimate:
    """The reference agent's return of an episode."""
    return sampled(
        environment, lambda key, task: jnp.mean(reference(environment)(key, jax.tree.map(add_axis, task))), tasks
    )


def add_axis(leaf: Array) -> Array:
    return leaf[None]


# Bandits.

BAYES = {(10, 5): 6.66, (10, 10): 6.714, (10, 50): 6.714}
GITTINS = {
    (10, 5): (6.66, 0.005),
    (10, 10): (6.714, 0.005),
    (10, 50): (6.714, 0.005),
    (100, 5): (78.65, 0.03),
    (100, 10): (83.74, 0.045),
    (100, 50): (85.58, 0.06),
    (500, 5): (408.4, 0.3),
    (500, 10): (442.1, 0.36),
    (500, 50): (465.0, 0.48),
}
# Published for n = 10 and k = 5, then for n = 100 and k = 5: Duan et al. 2016, table 1.
PLAYERS: dict[str, tuple[Callable[[Bandit], bandit.Choose], float | None, float | None]] = {
    "thompson": (bandit.thompson, 5.7, 74.7),
    "optimistic-thompson": (functools.partial(bandit.thompson, optimistic=True), None, None),
    "ucb1": (functools.partial(bandit.ucb1, scale=0.2), 6.7, 78.0),
    "greedy": (bandit.epsilon_greedy, 6.6, 74.8),
    "epsilon-greedy": (functools.partial(bandit.epsilon_greedy, epsilon=0.1), None, None),
}
DEPENDENT = {"easy": 0.625, "medium": 1.0, "hard": 2.312, "uniform": 1.221}
BEST_ARM = {"easy": 0.9, "medium": 0.75, "hard": 0.6, "uniform": 0.75}


def played(player: Callable[[Bandit], bandit.Choose], pulls: int, arms: int, tasks: int) -> Estimate:
    """A player's expected total; the best arm, pulls k / (k + 1) on average, is the control variate."""
    environment = Bandit(arms=arms, pulls=pulls)

    def regrets(keys: Key) -> Array:
        choose = player(environment)

        def one(key: Key) -> Array:
            task_key, key = jax.random.split(key)
            task = environment.draw_task(task_key, "train")
            return pulls * jnp.max(task.mean) - bandit.expected_return(environment, choose, key, task)

        return jax.vmap(one)(keys)

    regret = np.asarray(jax.jit(regrets)(jax.random.split(jax.random.key(KEY), tasks)), np.float64)
    return Estimate(float(pulls * arms / (arms + 1) - regret.mean()), float(regret.std() / np.sqrt(tasks)), tasks)


def gittins(environment: Bandit) -> bandit.Choose:
    return bandit.gittins(bandit.gittins_indices(environment.pulls))


def bandits() -> list[Entry]:
    """Independent arms, p ~ U[0, 1]; then two arms, as the regret of 100 pulls."""
    entries = [
        Entry("bayes", f"bandit,n={n},k={k}", known, 1e-4, functools.partial(bandit.bayes_value, k, n))
        for (n, k), known in BAYES.items()
    ]
    for (n, k), (known, tolerance) in GITTINS.items():
        compute = functools.partial(played, gittins, n, k, 20_000)
        entries.append(Entry("gittins", f"bandit,n={n},k={k}", known, tolerance, compute, slow=n == 500))
    for name, (player, ten, hundred) in PLAYERS.items():
        note = {"ucb1": "scale .2", "epsilon-greedy": "epsilon .1"}.get(name)
        for n, known in ((10, ten), (100, hundred)):
            compute = functools.partial(played, player, n, 5, 4_000)
            entries.append(Entry(name, f"bandit,n={n},k=5", known, None, compute, note=note))
    for law, known in DEPENDENT.items():
        regret = functools.partial(dependent_regret, law)
        entries.append(Entry("bayes-regret", f"two_arm,{law}", known, 6e-4, regret))
    independent = Entry(
        "bayes-regret", "bandit,n=100,k=2", 1.748, 6e-4, lambda: 200.0 / 3.0 - bandit.two_arms_value(100)
    )
    return [*entries, independent]


def dependent_regret(law: str) -> float:
    return 100.0 * BEST_ARM[law] - bandit.dependent_value(law, 100)


# Decision processes.

# Published: Duan et al. 2016, table 2. Ours come closer to it if they take the mean reward for N(0, 1), not N(1, 1).
LEARNERS = {
    "psrl": (tabular.posterior_sampling, {10: None, 25: None}),
    "psrl,prior=0": (functools.partial(tabular.posterior_sampling, prior_mean=0.0), {10: 138.1, 25: 408.8}),
    "opsrl": (functools.partial(tabular.posterior_sampling, draws=3), {10: None, 25: None}),
    "opsrl,prior=0": (
        functools.partial(tabular.posterior_sampling, draws=3, prior_mean=0.0),
        {10: 144.1, 25: 425.2},
    ),
    "bonus": (functools.partial(tabular.bonus, scale=0.5), {10: None, 25: None}),
    "greedy": (functools.partial(tabular.bonus, scale=0.0), {10: None, 25: None}),
}


def processes() -> list[Entry]:
    """Random processes of 10 states and 5 actions: an episode of the optimum, whole trials of learners."""
    entries = [Entry("reference", "tabular", 21.837, 0.048, lambda: referred(RandomMDP(), 10_000))]
    for name, (plan, published) in LEARNERS.items():
        for n, known in published.items():
            compute = functools.partial(learnt, plan, RandomMDP(episodes=n))
            entries.append(Entry(name, f"tabular,n={n}", known, None, compute))
    return entries


def learnt(plan: Callable[[RandomMDP], tabular.Plan], environment: RandomMDP) -> Estimate:
    return sampled(
        environment,
        lambda key, task: jnp.sum(tabular.learning_returns(environment, plan(environment), key, task)),
        500,
    )


# Two-step, assistant.


def beliefs() -> list[Entry]:
    """The two-step task with the paper's odds, and a session of the assistant."""
    paper, desk = TwoStep(), Assistant()

    def filtered(sees: bool) -> Estimate:
        return sampled(paper, lambda key, task: two_step.filter_return(paper, key, task, sees=sees), 10_000)

    def session(recommend: assistant.Recommend) -> Estimate:
        return sampled(desk, lambda key, task: assistant.session_return(desk, recommend, key, task))

    return [
        Entry("reference", "two_step", None, None, lambda: referred(paper, 2), note="belief optimum"),
        Entry("filter", "two_step", 70.5856, 0.0, lambda: filtered(False), note="known: the belief optimum"),
        Entry("planet-shown", "two_step", 74.0, 0.0, lambda: filtered(True), note="known: .8 .9 + .2 .1"),
        Entry("reference", "assistant", None, None, lambda: referred(desk), note="known preferences"),
        Entry("thompson", "assistant", None, None, lambda: session(assistant.thompson)),
        Entry("popularity", "assistant", None, None, lambda: session(assistant.popular(desk))),
        Entry("random", "assistant", None, None, lambda: session(assistant.at_random)),
    ]


# Control and walks.

NOMINAL = {("mild", False): 424.0, ("wide", False): 213.0, ("mild", True): 221.0, ("wide", True): 115.0}


def control() -> list[Entry]:
    """Navigation and CartPole; the figures of the nominal controllers depend on their weights."""
    goals = np.random.RandomState(1).uniform(-0.5, 0.5, (40, 2))

    def published_goals() -> float:
        best = functools.partial(navigation.best_return, Navigation())
        return float(jnp.mean(jax.vmap(lambda goal: best(Navigation.Task(goal)))(jnp.asarray(goals, jnp.float32))))

    entries = [
        Entry("reference", "navigation,published", -0.544, 5e-4, published_goals),
        Entry("reference", "navigation", -0.510, 5e-4, lambda: referred(Navigation(), 20_000)),
        Entry("reference", "cartpole,mild", 500.0, 0.01, functools.partial(balanced, "mild", False, False)),
        Entry("reference", "cartpole,wide", 491.2, None, functools.partial(balanced, "wide", False, False)),
    ]
    for (physics, flip), known in NOMINAL.items():
        compute = functools.partial(balanced, physics, flip, True)
        entries.append(Entry("nominal", f"cartpole,{physics}{',flip' * flip}", known, None, compute))
    return entries


def balanced(physics: Any, flip: bool, nominal: bool) -> Estimate:
    """An episode of CartPole under the linear controller for the known or for the nominal physics."""
    environment = CartPole(physics=physics, flip=flip, episodes=1)

    def episode(key: Key, task: Any) -> Array:
        return cartpole.control_return(environment, cartpole.nominal_task() if nominal else task, key, task)

    return sampled(environment, episode)


def mazes() -> list[Entry]:
    """Steps to the exit over the shortest path, the published kind of maze."""
    environment = Maze()

    def explorer(attempt: int) -> Estimate:
        def ratio(key: Key, task: Any) -> Array:
            return maze.explorer_steps(environment, task)[attempt - 1] / maze.shortest_steps(task)

        return sampled(environment, ratio)

    def lost() -> Estimate:
        return sampled(environment, lambda key, task: maze.random_walk(environment, key, task).terminated)

    return [
        Entry("depth-first-explorer", "maze,attempt=1", None, None, lambda: explorer(1)),
        Entry("depth-first-explorer", "maze,attempt=3", None, None, lambda: explorer(3)),
        Entry("random", "maze,success", None, None, lost),
    ]


def rooms() -> list[Entry]:
    """GridNavi, Dark Room and Key-to-Door, by trial."""
    board = GridNavi()
    entries = [
        Entry("bayes", "gridnavi", 37.214, 1e-3, lambda: float(gridnavi.bayes_returns(board).sum())),
        Entry(
            "posterior-sampling",
            "gridnavi",
            11.58,
            0.02,
            lambda: sampled(
                board, lambda key, task: jnp.sum(gridnavi.posterior_sampling_returns(board, key, task)), 20_000
            ),
        ),
        Entry(
            "random",
            "gridnavi",
            4 * -1.16,
            0.03,
            lambda: sampled(board, lambda key, task: 4 * gridnavi.random_return(board, key, task), 20_000),
        ),
        Entry("reference", "gridnavi,episode", 44.286 / 4, 2e-4, lambda: referred(board, 20_000)),
        Entry("reference", "dark_room,episode", 16.543, 1e-3, lambda: referred(DarkRoom(), 20_000)),
        Entry("reference", "key_to_door,episode", 2.0, 1e-6, lambda: referred(KeyToDoor())),
    ]
    for episodes, known in {1: 2.59, 2: 9.58, 5: 49.9, 10: 132.6}.items():
        compute = functools.partial(searched, episodes)
        entries.append(Entry("search", f"dark_room,n={episodes}", known, None, compute, note="known: a lower bound"))
    return entries


def rewards() -> list[Entry]:
    """The worlds of learnt rewards and discounts."""
    chain = DiscountingChain()

    def best_chain() -> float:
        return float(reference(chain)(jax.random.key(KEY), jax.tree.map(add_axis, published_task()))[0, 0])

    def best_boxes() -> float:
        return two_colours.average_reward(jnp.array([1.0, -1.0]))

    note = "of a step; known: the bad box stays where it lies by chance, the optimum moves it into a corner"
    return [
        Entry("reference", "discounting_chain,published", 1.1, 1e-6, best_chain),
        Entry("reference", "random_abc", 0.3958, 5e-5, lambda: referred(RandomABC(), 20_000)),
        Entry("optimum", "two_colours", 0.269, None, best_boxes, note=note),
    ]


def searched(episodes: int) -> float:
    return float(dark_room.search_returns(DarkRoom(episodes=episodes), width=50).sum())


def others(entries: list[Entry]) -> list[Entry]:
    """The reference agent of every family that has no entry of its own."""
    covered = {entry.column.split(",")[0] for entry in entries}
    return [
        Entry("reference", name, None, None, functools.partial(referred, make(name), 200), note=kind.reference)
        for name, kind in ENVIRONMENTS.items()
        if name not in covered
    ]


def all_entries() -> list[Entry]:
    """The whole table."""
    own = [*bandits(), *processes(), *beliefs(), *control(), *mazes(), *rooms(), *rewards()]
    return own + others(own)


def main() -> None:
    parser = table_parser(__doc__)
    parser.add_argument("--only", default="", help="entries whose row or column contains this")
    parser.add_argument("--slow", action="store_true", help="the bandits of 500 pulls as well, tens of minutes")
    arguments = parsed(parser, TABLE, only="gridnavi")
    table, off = Table(TABLE, seeds=[KEY], tasks=TASKS), 0
    print(f"{'':22s} {'':24s} {'value':>10s} {'error':>8s} {'known':>10s} {'difference':>10s}")
    for entry in all_entries():
        if (entry.slow and not arguments.slow) or arguments.only not in f"{entry.row} {entry.column}":
            continue
        start = time.perf_counter()
        found = entry.estimate()
        off += entry.verdict(found) == "OFF"
        print(line(entry, found, time.perf_counter() - start), flush=True)
        half = 1.96 * found.error
        interval = (found.value - half, found.value + half) if found.tasks else None
        note = "; ".join(filter(None, [entry.note, f"{found.tasks} tasks" if found.tasks else "exact"]))
        made = {"tasks": found.tasks} if found.tasks else None
        table.add(entry.row, entry.column, found.value, interval, published=entry.known, note=note, made=made)
        merge(table, arguments.out).write(arguments.out)  # at once: one that fails takes no other with it
    if off:
        raise SystemExit(f"{off} of the values are not what they should be")


def line(entry: Entry, found: Estimate, seconds: float) -> str:
    """One line of the printed table."""
    known = "" if entry.known is None else f"{entry.known:10.4f} {found.value - entry.known:+10.4f}"
    error = f"{found.error:8.4f}" if found.tasks else f"{'exact':>8s}"
    return (
        f"{entry.row:22s} {entry.column:24s} {found.value:10.4f} {error} {known:21s} {entry.verdict(found):3s} "
        f"{seconds:6.1f} s"
    )


if __name__ == "__main__":
    main()
