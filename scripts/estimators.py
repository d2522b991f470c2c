"""How accurate the estimators of the meta-gradient are, beside the exact one of a known process.

    python scripts/estimators.py [--out benchmarks/results/estimators.json]

The setting of Tang et al. 2021 (arXiv:2106.13125, §5): processes of 20 states and 5 actions whose transitions are all
but deterministic, γ = .8, rewards without noise, a table policy, one inner step; two for `truncated`, which
differentiates the last. An estimate adapts to N trajectories. It is made twice: with the exact gradient after
adaptation, which leaves the Jacobian of the adaptation alone to be estimated (columns `jacobian,...`), and with one
sampled from N more trajectories. Errors, biases and variances are in units of the exact vector's length.

The rows take the exact values of θ as the baseline, except `lvc,fitted` and `lvc,leave_one_out`, which have the linear
baselines of `metarl train maml`. The rows `none`, `fitted`, `leave_one_out` and `...,normalised` compare these in a
policy gradient of newborn policies, in the environments of `NEWBORN`: share of the unbiased gradient, direction of the
mean, variance, cosine and error of one estimate, and error of the mean over a meta-step of 20 tasks. Writes the table
and docs/estimators.png.
"""

import dataclasses
import functools
import math
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from published import parsed, table_parser

from metarl_jax.algorithms.hindsight import credit_hindsight, with_hindsight
from metarl_jax.core.learner import ESTIMATORS, Estimator, gradient_learner
from metarl_jax.core.life import World, unborn
from metarl_jax.core.losses import BASELINES, Baseline, Loss, actor_critic, reinforce
from metarl_jax.core.objective import AgentLoss, final
from metarl_jax.core.policy import Policy, mlp_policy
from metarl_jax.core.returns import episode_time
from metarl_jax.core.rollout import opening, rollout
from metarl_jax.core.types import Agent, Array, Credit, Experience, Key, Record, Step, Tree
from metarl_jax.core.window import Window, bound, entered, judged
from metarl_jax.core.window import live as live_window
from metarl_jax.envs.tabular import RandomMDP, State, TabularTask
from metarl_jax.experiment.config import defaults
from metarl_jax.experiment.results import Table
from metarl_jax.experiment.statistics import confidence_interval
from metarl_jax.oracles.meta_gradient import (
    Process,
    adapted,
    draw_process,
    limit,
    meta_gradient,
    policy_gradient,
    state_values,
    value,
)

TABLE = "estimators"
KEY = 20_260_310
PROCESSES = 8
LIVES = 8  # in a batch
BATCHES = {4: 16, 16: 16, 64: 16, 256: 16, 1024: 2}  # of lives in each process, by N
PLENTY = 256  # the N by which bias is measured
SIGMA = 0.1  # of evolution
MODES = ("jacobian", "sampled")
NEWBORN = {("navigation", 20): 192, ("navigation", 10): 256, ("tabular", 10): 1024, ("tabular", 4): 1024}  # estimates
ELSEWHERE = 2000  # trajectories that the baseline of the unbiased gradient is fitted to
MEAN_OF = 20  # tasks in a meta-step


class Endless(RandomMDP):
    """The environment with its mean rewards, and a clock that cuts episodes without ending them."""

    def step(self, key: Key, state: State, action: Array, task: TabularTask) -> Step:
        step = super().step(key, state, action, task)
        never = jnp.zeros_like(step.terminated)
        return step._replace(reward=step.info["expected_reward"], terminated=never, truncated=step.terminated)


@dataclasses.dataclass(frozen=True)
class Setting:
    """Sizes. Episodes are cut after `steps`, with γ^40 = .01 % of all weight to come; `rate` is α."""

    states: int = 20
    actions: int = 5
    steps: int = 40
    gamma: float = 0.8
    rate: float = 10.0
    concentration: float = 1e-3  # of the transitions' Dirichlet law

    @property
    def environment(self) -> RandomMDP:
        return Endless(states=self.states, actions=self.actions, steps=self.steps, episodes=1)

    @property
    def policy(self) -> Policy:
        """Tables of logits and of values, read by the one-hot state."""
        return mlp_policy(self.environment, (), critic=True)

    @property
    def weights(self) -> float:
        """Σ_t γ^t: what a mean over the steps of an episode divides a return by."""
        return (1 - self.gamma**self.steps) / (1 - self.gamma)

    def process(self, task: TabularTask) -> Process:
        return Process(task, self.gamma)


class Setup(NamedTuple):
    """A process, the policy at which its meta-gradient is estimated, and what an estimator is given."""

    task: TabularTask
    theta: Array  # [S, A]
    values: Array  # [S] V(s) of θ, the critic
    gradients: Array  # [2, S, A] ∇V after one and after two exact adaptations


@dataclasses.dataclass(frozen=True)
class Method:
    """One row: an estimator, the trace decay of its advantages, and how often its agents adapt."""

    name: str
    estimator: Estimator
    note: str
    lambda_: float = 1.0
    adaptations: int = 1
    linear: Baseline | None = None  # takes the place of the exact values, before and after adaptation

    def inner_loss(self, setting: Setting) -> Loss:
        """The package's loss of an adaptation; with a baseline its critic has the exact values of θ."""
        how: dict[str, Any] = {"gamma": setting.gamma, "normalise": False, "curvature": self.estimator.curvature}
        if self.linear:
            loss = reinforce(setting.policy, baseline=self.linear, **how)
        elif self.estimator.baseline:
            loss = actor_critic(setting.policy, lambda_=self.lambda_, value_weight=0.0, entropy=0.0, **how)
        else:
            loss = reinforce(setting.policy, baseline=False, **how)
        return discounted(loss, setting.gamma)

    def window(self, setting: Setting, count: int) -> Window:
        """The package's gradient learner with a table of logits, on `count` episodes an adaptation."""
        policy, loss = setting.policy, self.inner_loss(setting)
        learner = gradient_learner(
            policy,
            lambda key: {"params": policy.init(key)},
            lambda meta_params, key: meta_params["params"],
            lambda read: loss,
            optax.sgd(setting.rate * setting.weights),  # of a loss that is a mean over steps
            adapts=is_logits,
        )
        world = World(setting.environment, policy, learner, count, setting.steps, quota=1)
        return Window(world, self.adaptations, estimator=self.estimator)


METHODS = (
    Method("first_order", ESTIMATORS["first_order"], "the adaptation taken for a constant step"),
    Method("naive", ESTIMATORS["naive"], "log π; returns less exact values"),
    Method("naive,returns", Estimator(None, baseline=False), "log π; returns"),
    Method("lvc", ESTIMATORS["lvc"], "ratio; returns less exact values"),
    Method("lvc,fitted", ESTIMATORS["lvc"], "ratio; returns less a regression on the same returns", linear="fitted"),
    Method(
        "lvc,leave_one_out",
        ESTIMATORS["lvc"],
        "ratio; returns less a regression on those of the other trajectories",
        linear="leave_one_out",
    ),
    Method("loaded_dice", ESTIMATORS["loaded_dice"], "decay .9; λ = .95 advantages of exact values", lambda_=0.95),
    Method("control_variates", ESTIMATORS["control_variates"], "decay 1; returns less exact values"),
    Method("dice", ESTIMATORS["dice"], "decay 1; returns"),
    Method("e_maml", ESTIMATORS["e_maml"], "naive, with hindsight; other lives of a batch of 8 are the baseline"),
    Method("truncated", Estimator(1.0, depth=1), "the last of two adaptations, as control_variates", adaptations=2),
)
EVOLVED = Method("evolution", ESTIMATORS["first_order"], "about √N members that adapt to √N trajectories, σ = .1")
Estimates = dict[tuple[str, str], Array]  # row, mode -> [..., S, A]


def is_logits(path: str) -> bool:
    """Whether a parameter is the table of logits."""
    return "actor" in path and "kernel" in path


def parameters(theta: Array, values: Array) -> Tree:
    """φ with these tables."""
    actor = {"kernel": theta, "bias": jnp.zeros(theta.shape[1])}
    return {"params": {"actor": {"head": actor}, "critic": {"head": {"kernel": values[:, None], "bias": jnp.zeros(1)}}}}


def logits(params: Tree) -> Array:
    """The table of logits among an agent's parameters, [S, A]."""
    return params["actor"]["head"]["kernel"]


def discounted(loss: Loss, gamma: float) -> Loss:
    """The loss with weights γ^t, without which its gradient is not that of a discounted return."""

    def surrogate(params: Tree, seen: Experience, credit: Credit) -> Array:
        return loss.surrogate(params, weighted(seen, gamma), credit)

    return loss._replace(surrogate=surrogate)


def weighted(seen: Experience, gamma: float) -> Experience:
    """The record with weights γ^t, time in front."""
    return seen._replace(weight=seen.weight * gamma ** episode_time(seen.timestep.first))


def outer_loss(setting: Setting, linear: Baseline | None = None) -> Loss:
    """The loss after adaptation, with the critic of before, or a linear baseline."""
    critic = actor_critic(setting.policy, gamma=setting.gamma, lambda_=1.0, value_weight=0.0, entropy=0.0)
    if linear:
        critic = reinforce(setting.policy, gamma=setting.gamma, baseline=linear, normalise=False)
    return discounted(critic, setting.gamma)


def exact_loss(method: Method, setting: Setting, setup: Setup) -> AgentLoss:
    """The loss whose gradient after adaptation is exact.

    That at the exactly adapted policy; with hindsight V itself, for the credit is what V is worth.
    """

    def loss(meta_params: Tree, agent: Agent, lived: Record) -> Array:
        table = logits(agent.params)
        if method.estimator.hindsight:
            return -value(setting.process(setup.task), table) / setting.weights
        return -jnp.vdot(setup.gradients[method.adaptations - 1], table) / setting.weights

    return loss


def live(method: Method, setting: Setting, setup: Setup, count: int, key: Key) -> tuple[Experience, Array]:
    """A life of K + 1 rollouts, [K+1, T, N], and the logits in the end."""
    window, meta_params = method.window(setting, count), parameters(setup.theta, setup.values)
    lived = live_window(window, meta_params, entered(window, meta_params, unborn(setup.task, key)))
    return lived.seen, logits(lived.end.agent.params)


def credited(method: Method, setting: Setting, lives: Experience, worth: Array | None = None) -> Record:
    """Lives [B, K+1, T, N] with their credit; `worth` [B] stands for the sampled returns after adaptation."""
    loss = outer_loss(setting, method.linear)
    credit = jax.vmap(jax.vmap(loss.credit))(lives)
    if not method.estimator.hindsight:
        return Record(lives, credit)
    counted = credit if worth is None else credit._replace(target=credit.target.at[:, -1].set(worth[:, None, None]))
    discounts = jax.vmap(jax.vmap(functools.partial(weighted, gamma=setting.gamma)))(lives)
    hindsight = credit_hindsight(loss, Record(discounts, counted)).credit.hindsight
    return Record(lives, credit._replace(hindsight=hindsight))


def gradient(method: Method, setting: Setting, setup: Setup, last: AgentLoss | None, past: Record) -> Array:
    """The estimate of ∇θ V(θ_K) from a recorded life, [S, A]; `last` stands for the sampled loss after adaptation."""
    window = method.window(setting, past.seen.reward.shape[-1])
    objective = final(outer_loss(setting, method.linear))
    objective = objective if last is None else objective._replace(last=last)
    objective = with_hindsight(objective, setting.policy) if method.estimator.hindsight else objective
    life = unborn(setup.task, jax.random.key(0))  # nothing is drawn where all has been lived

    def loss(theta: Array) -> Array:
        meta_params = parameters(theta, setup.values)
        return judged(window, objective, meta_params, bound(window, meta_params, life), past)[0]

    return -setting.weights * jax.grad(loss)(setup.theta)


def estimates(methods: tuple[Method, ...], setting: Setting, setup: Setup, count: int, keys: Key) -> Estimates:
    """An estimate from each of several lives [B], by each of several methods whose agents live alike, [B, S, A].

    The lives are a batch as in meta-training: with hindsight, what the others gained is the baseline.
    """
    lives, tables = jax.vmap(functools.partial(live, methods[0], setting, setup, count))(keys)
    worth = jax.vmap(functools.partial(value, setting.process(setup.task)))(tables)
    found: Estimates = {}
    for method in methods:
        by = functools.partial(gradient, method, setting, setup)
        exact, sampled = credited(method, setting, lives, worth), credited(method, setting, lives)
        found[method.name, "jacobian"] = jax.vmap(functools.partial(by, exact_loss(method, setting, setup)))(exact)
        found[method.name, "sampled"] = jax.vmap(functools.partial(by, None))(sampled)
    return found


def evolved(setting: Setting, setup: Setup, count: int, key: Key) -> Estimates:
    """Antithetic evolution strategies, N trajectories in all: about √N members, each of which adapts to √N of them."""
    members = 2 ** math.ceil(math.log2(count) / 2)
    direction_key, life_key = jax.random.split(key)
    directions = jax.random.normal(direction_key, (members // 2, *setup.theta.shape))

    def fitness(direction: Array, key: Key) -> Array:
        moved = setup._replace(theta=setup.theta + SIGMA * direction)
        history, theta = live(EVOLVED, setting, moved, count // members, key)
        last = jax.tree.map(lambda x: x[-1], history)
        returns = jnp.sum(last.reward * weighted(last, setting.gamma).weight, axis=0)
        return jnp.stack([value(setting.process(setup.task), theta), jnp.mean(returns)])

    keys = jax.random.split(life_key, members // 2)
    both = jnp.stack([directions, -directions])
    ahead, behind = jax.vmap(lambda side: jax.vmap(fitness)(side, keys))(both)  # [pairs, modes]
    found = jnp.einsum("pm,psa->msa", ahead - behind, directions) / (SIGMA * members)
    return {(EVOLVED.name, mode): estimate for mode, estimate in zip(MODES, found, strict=True)}


def lives_alike(methods: Iterable[Method]) -> list[tuple[Method, ...]]:
    """The methods by what their agents live: what weighs the inner gradient, and how often they adapt."""
    groups: dict[Any, list[Method]] = {}
    for method in methods:
        weighs = (method.estimator.baseline, method.linear, method.lambda_)
        groups.setdefault((weighs, method.adaptations), []).append(method)
    return [tuple(group) for group in groups.values()]


def program(setting: Setting, count: int, methods: Sequence[Method]) -> Any:
    """The compiled function (setup, keys [R, B]) -> estimates [R, B, S, A], a batch of lives at a time.

    Of the methods, and of evolution.
    """
    groups = lives_alike(methods)

    def batch(setup: Setup, keys: Key) -> Estimates:
        found: Estimates = {}
        *alike, last = jax.vmap(lambda key: jax.random.split(key, len(groups) + 1), out_axes=1)(keys)
        for group, life_keys in zip(groups, alike, strict=True):
            found |= estimates(group, setting, setup, count, life_keys)
        return found | jax.vmap(functools.partial(evolved, setting, setup, count))(last)

    return compiled(lambda setup, keys: jax.lax.map(functools.partial(batch, setup), keys))


def compiled(function: Any) -> Any:
    """Compiled in half the time: the higher levels make none of these programs faster."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 1})


class Drawn(NamedTuple):
    """A setup, and what is known of it to the last digit."""

    setup: Setup
    exact: np.ndarray  # [2, S, A] the meta-gradient through one and through two adaptations
    limits: dict[str, np.ndarray]  # [S, A] of each row


def draw_setup(setting: Setting, key: Key) -> Drawn:
    """A process and a policy: logits ~ N(0, 1)."""
    with jax.enable_x64(True):
        drawn = _draw(setting, key)
        setup = jax.tree.map(lambda x: x.astype(jnp.float32), drawn.setup)
        return jax.tree.map(np.asarray, drawn)._replace(setup=setup)


@functools.partial(jax.jit, static_argnums=0)
def _draw(setting: Setting, key: Key) -> Drawn:
    task_key, policy_key = jax.random.split(key)
    task = draw_process(task_key, setting.states, setting.actions, setting.concentration)
    theta = jax.random.normal(policy_key, (setting.states, setting.actions))
    process, rate = setting.process(task), setting.rate
    gradients = jnp.stack([policy_gradient(process, adapted(process, theta, rate, steps)) for steps in (1, 2)])
    exact = jnp.stack([meta_gradient(process, theta, rate, steps) for steps in (1, 2)])
    limits = {row.name: limit(process, theta, rate, row.estimator, row.adaptations) for row in METHODS}
    return Drawn(Setup(task, theta, state_values(process, theta), gradients), exact, limits | {EVOLVED.name: exact[0]})


class Accuracy(NamedTuple):
    """How far estimates are from the exact vector, in units of its length."""

    cosine: float
    error: float  # mean length of the error
    bias: float  # squared length of the mean error, less what noise adds to it
    variance: float  # trace of the covariance
    noise: float  # squared length of the mean's standard error


def accuracy(found: Array, exact: np.ndarray) -> Accuracy:
    """Of estimates [..., S, A] of one vector [S, A]."""
    aim = exact.ravel() / np.linalg.norm(exact)
    scaled = np.asarray(found, np.float64).reshape(-1, aim.size) / np.linalg.norm(exact)
    error, variance = scaled - aim, np.var(scaled, axis=0, ddof=1).sum()
    return Accuracy(
        cosine=np.mean(scaled @ aim / np.maximum(np.linalg.norm(scaled, axis=1), 1e-12)),  # 0 of an estimate that is 0
        error=np.mean(np.linalg.norm(error, axis=1)),
        bias=np.sum(error.mean(axis=0) ** 2) - variance / len(scaled),
        variance=variance,
        noise=variance / len(scaled),
    )


def measure(
    setting: Setting, setups: list[Drawn], count: int, batches: int, methods: Sequence[Method]
) -> dict[tuple[str, str], Accuracy]:
    """The accuracy [P] of every row and mode at N trajectories, by process."""
    run, measured = program(setting, count, methods), []
    for index, drawn in enumerate(setups):
        keys = jax.random.split(jax.random.fold_in(jax.random.key(KEY + count), index), (batches, LIVES))
        found = run(drawn.setup, keys)
        measured.append(
            {
                (row.name, mode): accuracy(found[row.name, mode], drawn.exact[row.adaptations - 1])
                for row in (*methods, EVOLVED)
                for mode in MODES
            }
        )
    return jax.tree.map(lambda *parts: np.stack(parts), *measured)


def seconds(
    setting: Setting, setup: Setup, attempts: int, methods: Sequence[Method], count: int = 64
) -> dict[str, float]:
    """What one estimate costs a processor by each row, acting included, in a batch of lives."""
    keys = jax.random.split(jax.random.key(KEY), LIVES)

    def sampled(method: Method, setup: Setup, keys: Key) -> Array:
        return estimates((method,), setting, setup, count, keys)[method.name, "sampled"]

    def evolve(setup: Setup, keys: Key) -> Array:
        return jax.vmap(lambda key: evolved(setting, setup, count, key)[EVOLVED.name, "sampled"])(keys)

    runs = {method.name: functools.partial(sampled, method) for method in methods} | {EVOLVED.name: evolve}
    return {name: quickest(compiled(run), setup, keys, attempts=attempts) / LIVES for name, run in runs.items()}


def quickest(run: Any, *arguments: Any, attempts: int) -> float:
    """The shortest of several times of the processor, without compilation."""
    jax.block_until_ready(run(*arguments))
    times = []
    for _ in range(attempts):
        start = time.process_time()
        jax.block_until_ready(run(*arguments))
        times.append(time.process_time() - start)
    return min(times)


class Newborn(NamedTuple):
    """A policy gradient of newborn policies: who acts, for how long, and what is estimated."""

    world: World
    gamma: float

    @classmethod
    def of(cls, environment: str, envs: int) -> "Newborn":
        """As `metarl train maml` makes it."""
        config = defaults("maml", environment, "default")
        algorithm = dataclasses.replace(config.algorithm, envs=envs)
        return cls(algorithm.recipe(config.environment).window.world, algorithm.gamma)

    def act(self, params: Tree, task: Tree, key: Key, envs: int) -> Experience:
        world, (opening_key, key) = self.world, jax.random.split(key)
        scene = opening(world.environment, world.policy, task, opening_key, envs)
        return rollout(world.environment, world.policy, params, task, scene, key, world.steps, world.quota)[1]

    def loss(self, baseline: Baseline | Literal[False], normalise: bool = False) -> Loss:
        return reinforce(self.world.policy, gamma=self.gamma, baseline=baseline, normalise=normalise)

    def elsewhere(self, params: Tree, task: Tree, key: Key) -> tuple[Array, Array]:
        """A regression of the returns of plenty of trajectories, and the deviation of what is left."""
        seen = jax.jit(functools.partial(self.act, envs=ELSEWHERE))(params, task, key)
        found = regressors(seen), self.loss(False).credit(seen).target
        x, returns = (np.asarray(y, np.float64)[np.asarray(seen.weight) > 0] for y in found)
        weights = np.linalg.lstsq(x, returns)[0]
        return jnp.asarray(weights, jnp.float32), jnp.float32(np.std(returns - x @ weights))

    def gradients(self, params: Tree, task: Tree, known: tuple[Array, Array], key: Key) -> Array:
        """Estimates from one record, by the baseline from elsewhere and by each of `baselines()`, [1 + V, P]."""
        seen, (weights, deviation) = self.act(params, task, key, self.world.envs), known
        plain = self.loss(False)
        returns = plain.credit(seen).target
        found = [jax.grad(plain.surrogate)(params, seen, Credit(returns - regressors(seen) @ weights, returns))]
        for baseline, normalise in baselines():
            found.append(jax.grad(self.loss(baseline, normalise))(params, seen))
        units = jnp.stack([jnp.ones(()), *(deviation if normalise else jnp.ones(()) for _, normalise in baselines())])
        return units[:, None] * jnp.stack([ravel_pytree(x)[0] for x in found])


def baselines() -> list[tuple[Baseline | Literal[False], bool]]:
    """Each baseline, with plain and with standardised advantages."""
    return [(baseline, normalise) for normalise in (False, True) for baseline in (False, *BASELINES)]


def regressors(seen: Experience) -> Array:
    """What the linear baselines read, [T, E, F]."""
    observation, time = seen.timestep.observation, episode_time(seen.timestep.first)[..., None] / 100.0
    return jnp.concatenate([observation, observation**2, time, time**2, time**3, jnp.ones_like(time)], axis=-1)


class Remainder(NamedTuple):
    """What a baseline leaves of the unbiased gradient g: estimates e beside it, in units of its length."""

    share: float  # <E e, g> / <g, g>
    direction: float  # the cosine of E e and g
    variance: float
    cosine: float  # mean over estimates
    error: float  # mean length
    error_of_mean: float  # root mean square, of a mean of `MEAN_OF` estimates


def remainders(found: np.ndarray) -> list[Remainder]:
    """Of estimates [R, 1 + V, P] whose first is unbiased. Products of means are those of different estimates alone."""
    repeats, aim = len(found), found[:, 0].mean(axis=0)
    mean, squares = found.mean(axis=0), np.mean(found @ np.swapaxes(found, 1, 2), axis=0)
    product = (repeats * mean @ mean.T - squares) / (repeats - 1)
    unit, listed = product[0, 0], []
    for index in range(1, found.shape[1]):
        own, with_aim = product[index, index], product[index, 0]
        variance, bias = (squares[index, index] - own) / unit, (own - 2 * with_aim + unit) / unit
        lengths = np.linalg.norm(found[:, index], axis=1) * np.linalg.norm(aim)
        listed.append(
            Remainder(
                share=with_aim / unit,
                direction=with_aim / math.sqrt(own * unit),
                variance=variance,
                cosine=np.mean(found[:, index] @ aim / np.maximum(lengths, 1e-12)),
                error=np.mean(np.linalg.norm(found[:, index] - aim, axis=1)) / math.sqrt(unit),
                error_of_mean=length(bias + variance / MEAN_OF),
            )
        )
    return listed


def compare_baselines(table: Table, environment: str, envs: int, repeats: int, tasks: int) -> None:
    """Add the cells of one environment, in which `envs` trajectories make an estimate."""
    newborn = Newborn.of(environment, envs)
    world, batch = newborn.world, 4 if environment == "navigation" else 64
    run = compiled(lambda keys, *given: jax.lax.map(lambda key: newborn.gradients(*given, key), keys, batch_size=batch))
    measured = []
    for key in jax.random.split(jax.random.fold_in(jax.random.key(KEY), envs), tasks):
        task_key, policy_key, elsewhere_key, key = jax.random.split(key, 4)
        task, params = world.environment.sample_task(task_key, "train"), world.policy.init(policy_key)
        known = newborn.elsewhere(params, task, elsewhere_key)
        found = run(jax.random.split(key, repeats), params, task, known)
        measured.append(remainders(np.asarray(found, np.float64)))
    for index, (baseline, normalise) in enumerate(baselines()):
        row = f"{baseline or 'none'}{',normalised' * normalise}"
        for column in Remainder._fields:
            values = np.array([getattr(one[index], column) for one in measured])
            table.add(row, f"{environment},{column},n={envs}", np.mean(values), confidence_interval(values))


def price_baselines(table: Table, attempts: int) -> None:
    """Add what each baseline costs a processor in 2D navigation: the credit of a batch of records, and a meta-step."""
    config = defaults("maml", "navigation", "default")
    algorithm, newborn = config.algorithm, Newborn.of("navigation", config.algorithm.envs)
    task_key, policy_key, key = jax.random.split(jax.random.key(KEY), 3)
    keys = jax.random.split(task_key, (2, algorithm.tasks))
    tasks = jax.vmap(lambda key: newborn.world.environment.sample_task(key, "train"))(keys[0])
    act = functools.partial(newborn.act, newborn.world.policy.init(policy_key), envs=algorithm.envs)
    seen = jax.jit(jax.vmap(act))(tasks, keys[1])

    def advantages(baseline: Baseline, seen: Experience) -> Array:
        return jax.vmap(lambda one: newborn.loss(baseline).credit(one).advantage)(seen)

    runs: dict[tuple[str, str], Callable[[], Any]] = {}
    for baseline in BASELINES:
        learner = dataclasses.replace(algorithm, baseline=baseline).build(config.environment)
        runs[baseline, "credit"] = functools.partial(jax.jit(functools.partial(advantages, baseline)), seen)
        runs[baseline, "meta-step"] = functools.partial(jax.jit(learner.step), learner.init(key), key)
    costs: dict[tuple[str, str], list[float]] = {name: [] for name in runs}
    for _ in range(attempts):
        for name, run in runs.items():  # in turn, so that whatever else the machine does meets all alike
            start = time.process_time()
            jax.block_until_ready(run())
            costs[name].append(time.process_time() - start)
    for (row, what), times in costs.items():
        note = f"of one core, {algorithm.tasks} tasks, {algorithm.envs} environments"
        table.add(row, f"navigation,seconds,{what}", min(times), note=note)


def fill(table: Table, count: int, measured: dict[tuple[str, str], Accuracy]) -> None:
    """Add the cells of one N: means over processes, with intervals over them."""
    for (row, mode), found in measured.items():
        prefix = "" if mode == "sampled" else f"{mode},"
        for column, values in (("cosine", found.cosine), ("error", found.error), ("variance", found.variance)):
            table.add(row, f"{prefix}{column},n={count}", np.mean(values), confidence_interval(values))
        if mode == "jacobian" and count == PLENTY:
            low, high = confidence_interval(found.bias)
            table.add(row, "bias", length(np.mean(found.bias)), (length(low), length(high)))
            table.add(row, "bias,noise", length(np.mean(found.noise)))


def length(square: Any) -> float:
    """The length whose square was estimated, by chance perhaps below zero."""
    return math.sqrt(max(0.0, square))


def predict(table: Table, setups: list[Drawn], methods: Sequence[Method]) -> None:
    """Add what theory says of many trajectories: root mean square of the bias over processes, and mean error."""
    for row in (*methods, EVOLVED):
        exact = [drawn.exact[row.adaptations - 1] for drawn in setups]
        limits = [drawn.limits[row.name] for drawn in setups]
        off = [np.linalg.norm(x - e) / np.linalg.norm(e) for x, e in zip(limits, exact, strict=True)]
        table.add(row.name, "bias,predicted", math.sqrt(np.mean(np.square(off))), note=row.note)
        table.add(row.name, "error,predicted", np.mean(off))


def draw(table: Table, counts: list[int], methods: Sequence[Method]) -> Figure:
    """Cosine and relative error by N, both gradients sampled; dotted, the error that theory leaves in the end."""
    figure = Figure(figsize=(11, 4.6), layout="constrained")
    panels = figure.subplots(1, 2)
    names = [row.name for row in METHODS if not row.linear] + [EVOLVED.name]
    for row in (*methods, EVOLVED):
        left = table.cell(row.name, "error,predicted").value
        style = {"color": f"C{names.index(row.name.split(',')[0] if row.linear else row.name)}"}
        style["linestyle"] = {"fitted": "-.", "leave_one_out": ":", None: "--" if left > 1e-6 else "-"}[row.linear]
        curve(panels[0], table, counts, row.name, "cosine", lambda x: 1 - x, style)
        curve(panels[1], table, counts, row.name, "error", lambda x: x, style)
        if left > 1e-6 and not row.linear:
            panels[1].axhline(left, color=style["color"], linestyle=":", linewidth=1)
    panels[0].set(ylabel="1 − cosine")
    panels[1].set(ylabel="relative error")
    panels[1].legend(
        title="dashed: biased,\nthin dots: its limit", fontsize="small", loc="center left", bbox_to_anchor=(1, 0.5)
    )
    figure.suptitle(f"Estimates of the meta-gradient beside the exact one, {table.tasks} random processes")
    return figure


def curve(
    panel: Axes, table: Table, counts: list[int], row: str, column: str, flip: Callable[[float], float], style: dict
) -> None:
    """One quantity of one row by N, with its intervals."""
    cells = [table.cell(row, f"{column},n={count}") for count in counts]
    ends = [[flip(cell.interval[side]) for cell in cells] for side in (0, 1)]
    panel.plot(counts, [flip(cell.value) for cell in cells], label=row, marker="o", markersize=3.5, **style)
    panel.fill_between(counts, *ends, color=style["color"], alpha=0.15, linewidth=0)
    panel.set(xscale="log", yscale="log", xlabel="trajectories N")
    panel.set_xticks(counts, [str(count) for count in counts])
    panel.minorticks_off()


def main() -> None:
    parser = table_parser(__doc__)
    names = [method.name for method in METHODS]
    parser.add_argument("--methods", nargs="*", default=names, choices=names, help="beside evolution")
    parser.add_argument("--processes", type=int, default=PROCESSES)
    parser.add_argument("--counts", type=int, nargs="*", default=list(BATCHES), choices=list(BATCHES), help="by N")
    parser.add_argument("--repeats", type=int, default=max(NEWBORN.values()), help="estimates, at most")
    parser.add_argument("--newborns", type=int, default=len(NEWBORN), help="settings in which baselines are compared")
    parser.add_argument("--attempts", type=int, default=20, help="timings, of which the shortest counts; 0: none")
    quick = {"methods": ["lvc"], "processes": 2, "counts": [4], "repeats": 64, "newborns": 1, "attempts": 0}
    given = parsed(parser, TABLE, **quick)
    methods = [method for method in METHODS if method.name in given.methods]
    start, setting = time.perf_counter(), Setting()
    setups = [draw_setup(setting, key) for key in jax.random.split(jax.random.key(KEY), given.processes)]
    table = Table(TABLE, seeds=[KEY], tasks=given.processes)
    predict(table, setups, methods)
    for count in given.counts:
        batches = BATCHES[count]
        fill(table, count, measure(setting, setups, count, batches, methods))
        repeats = given.processes * batches * LIVES
        print(f"N = {count}: {repeats} repeats, {time.perf_counter() - start:.0f} s", flush=True)
    for (environment, envs), repeats in list(NEWBORN.items())[: given.newborns]:
        compare_baselines(table, environment, envs, min(repeats, given.repeats), given.processes)
        print(f"{environment}, {envs} trajectories: {time.perf_counter() - start:.0f} s", flush=True)
    if given.attempts:
        price_baselines(table, given.attempts)
        for row, cost in seconds(setting, setups[0].setup, given.attempts, methods).items():
            table.add(row, "seconds", cost, note=f"of one core, an estimate of 64 trajectories in a batch of {LIVES}")
    table.wall_seconds = time.perf_counter() - start
    table.write(given.out)
    draw(table, given.counts, methods).savefig(given.figure, dpi=120)
    print(table.to_markdown())


if __name__ == "__main__":
    main()
