"""Improve φ by differentiating through lifetimes: in one pass, or live once and relive the record in epochs."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from metarl_jax.core.batching import Devices, lane_groups, map_tasks, mean_gradient
from metarl_jax.core.hindsight import credit_hindsight
from metarl_jax.core.lifetime import Lifetime, first_rollout, run_lifetime
from metarl_jax.core.losses import standardised
from metarl_jax.core.meta import Info, Life, MetaLearner, Outer, Update, beginning, meta_learner, report
from metarl_jax.core.objective import Objective, Schedule, with_penalty
from metarl_jax.core.types import Array, Experience, Key, Split, Tree

FIRST_PENALTY = 5e-4  # first weight η of a penalty


class Epochs(NamedTuple):
    """How often a batch of lifetimes is relived, and in how many parts."""

    epochs: int = 1
    minibatches: int = 1


class Companion(NamedTuple):
    """What learns from the same lives by an objective of its own, after φ has moved by the first."""

    init: Callable[[Tree], Tree]  # φ -> what it remembers
    learn: Callable[[Tree, Tree, Experience, Key, Devices], tuple[Tree, Tree, Info]]  # φ, memory, record, key, devices


class Plan(NamedTuple):
    """What stays the same in a meta-step."""

    lifetime: Lifetime
    objective: Objective
    chunk: int | None
    devices: Devices = Devices()
    optimiser: optax.GradientTransformation = optax.identity()
    epochs: Epochs = Epochs()


def backprop(
    lifetime: Lifetime,
    objective: Schedule,
    optimiser: optax.GradientTransformation,
    tasks: int,
    *,
    epochs: Epochs = Epochs(),  # noqa: B008
    target: Array | float | None = None,
    companion: Companion | None = None,
    lifespan: int = 1,
    chunk: int | None = None,
    split: Split = "train",
    mesh: Mesh | None = None,
) -> MetaLearner:
    """Differentiate through the lifetimes.

    One epoch lives and differentiates in one pass. More epochs live first and then relive the record, each time
    with φ as it has become: PPO over lifetimes. With lives that outlast a meta-step the gradient reaches back to the
    start of the window.

    A `target` adds the penalty η E[KL(π_b ‖ π_{θ_k})] of the policies before adaptation. After each meta-step η is
    halved where the divergence fell short of target / 1.5, doubled where it exceeded 1.5 target (ProMP: Rothfuss et al.
    2019, arXiv:1810.06784, after Schulman et al. 2017, arXiv:1707.06347, §4). A `companion` learns from the same lives.

    Raises:
        ValueError: both a `target` and a `companion`.
    """
    if target is not None and companion is not None:
        raise ValueError("backprop is given a target and a companion; it keeps the state of one of them: leave one out")

    def init(meta_params: Tree) -> Tree:
        memory = optimiser.init(meta_params)
        if companion is not None:
            return memory, companion.init(meta_params)
        return memory if target is None else (memory, jnp.float32(FIRST_PENALTY))

    def improve(outer: Outer, lives: Life, key: Key, devices: Devices) -> Any:
        judged = objective(outer.step)
        plan = Plan(lifetime, judged, chunk, devices, optimiser, epochs)
        if companion is not None:
            return _accompanied(plan, companion, outer, lives, key)
        if target is not None:
            return _hold_on(plan, target, outer, lives, key)
        in_one = epochs == Epochs() and not lifetime.learner.shared and not judged.hindsight
        return (_one_pass if in_one else _several_epochs)(plan, outer, lives, key)

    return meta_learner(lifetime, Update(init, improve), tasks, lifespan=lifespan, split=split, mesh=mesh)


def live(plan: Plan, meta_params: Tree, life: Life, past: Experience | None = None, judged: bool = True) -> Any:
    """One life, lived or relived: its objective, its end and its record."""
    state, objective = beginning(plan.lifetime, meta_params, life), plan.objective
    last, before = (objective.last, objective.before) if judged else (None, None)
    state, losses, history = run_lifetime(plan.lifetime, last, meta_params, state, life[-1], past, before)
    return objective.reduce(losses), state, history


def credited_lives(plan: Plan, meta_params: Tree, lives: Life) -> tuple[Any, Experience, Info]:
    """Live, without a derivative: where lives end, their credited record [N, K+1, T, E], and what is logged."""
    loss = plan.objective.loss

    def record(*life: Any) -> Any:
        _, after, history = live(plan, meta_params, life, judged=False)
        return after, jax.vmap(loss.credit)(history), report(history)

    after, past, info = map_tasks(record, plan.chunk, *lives)
    past = past._replace(earned=(), onward=())  # credited and reported: nobody asks again
    if plan.objective.hindsight:
        past = credit_hindsight(loss, past, plan.devices)
    return after, _standardised(plan, past), info


def _standardised(plan: Plan, past: Experience) -> Experience:
    """Standard advantages: over the whole batch where all lives share φ, else over each record that was adapted to."""
    if not plan.objective.loss.normalise:
        return past
    if plan.lifetime.learner.shared:
        return standardised(past, plan.devices.mean)
    return past._replace(advantage=jax.vmap(jax.vmap(standardised))(past).advantage)


def _one_pass(plan: Plan, outer: Outer, lives: Life, key: Key) -> Any:
    """Live and differentiate together; only the first rollout of newborn agents is made by all tasks at once."""
    meta_params, memory, step = outer

    def act(*life: Any) -> Experience:
        return first_rollout(plan.lifetime, beginning(plan.lifetime, meta_params, life), life[-1])[1]

    def objective(meta_params: Tree, past: Experience | None, *life: Any) -> tuple[Array, Any]:
        value, state, history = live(plan, meta_params, life, past)
        return value, (state, report(history))

    newborn = lives[2] is None and plan.lifetime.fresh
    past = jax.vmap(act)(*lives) if newborn else None
    value, slope, (after, info) = mean_gradient(objective, plan.chunk, meta_params, past, *lives)
    value, slope = plan.devices.mean((value, slope))
    updates, memory = plan.optimiser.update(slope, memory, meta_params)
    info = {**jax.tree.map(jnp.mean, info), "loss": value, "gradient_norm": optax.tree.norm(slope)}
    return Outer(optax.apply_updates(meta_params, updates), memory, step), after, info


def _several_epochs(plan: Plan, outer: Outer, lives: Life, key: Key) -> Any:
    """Live once, then relive the record in shuffled minibatches of whole lifetimes."""
    after, past, info = credited_lives(plan, outer.meta_params, lives)
    outer, progress = _relive(plan, outer, lives, past, key)
    return outer, after, jax.tree.map(jnp.mean, {**info, **progress})


def _accompanied(plan: Plan, companion: Companion, outer: Outer, lives: Life, key: Key) -> Any:
    """`_several_epochs`, and then the companion on the same record."""
    meta_params, (memory, own), step = outer
    relive_key, own_key = jax.random.split(key)
    after, past, info = credited_lives(plan, meta_params, lives)
    outer, progress = _relive(plan, Outer(meta_params, memory, step), lives, past, relive_key)
    meta_params, own, more = companion.learn(outer.meta_params, own, past, own_key, plan.devices)
    outer = Outer(meta_params, (outer.optimiser, own), step)
    return outer, after, jax.tree.map(jnp.mean, {**info, **progress, **more})


def _hold_on(plan: Plan, target: Array | float, outer: Outer, lives: Life, key: Key) -> Any:
    """`_several_epochs` with a penalty on leaving the policies that acted before each adaptation."""
    meta_params, (memory, weight), step = outer
    policy = plan.lifetime.policy
    after, past, info = credited_lives(plan, meta_params, lives)
    penalised = plan._replace(objective=with_penalty(plan.objective, policy, weight))
    outer, progress = _relive(penalised, Outer(meta_params, memory, step), lives, past, key)

    def left(past: Experience, *life: Any) -> Array:
        """How far the agents of the new φ are from those that acted before each adaptation."""
        measured = plan._replace(objective=_divergence_alone(plan))
        return live(measured, outer.meta_params, life, past)[0]

    far = plan.devices.mean(jnp.mean(map_tasks(left, plan.chunk, past, *lives)))
    weight = jnp.where(far < target / 1.5, weight / 2, jnp.where(far > target * 1.5, weight * 2, weight))
    info = jax.tree.map(jnp.mean, {**info, **progress, "divergence": far, "penalty": weight})
    return outer._replace(optimiser=(outer.optimiser, weight)), after, info


def _divergence_alone(plan: Plan) -> Objective:
    """The mean divergence of the agents before each adaptation."""
    turns = max(1, plan.lifetime.adaptations)
    nothing = plan.objective._replace(last=lambda meta_params, agent, seen: jnp.zeros(()), before=None)
    return with_penalty(nothing, plan.lifetime.policy, jnp.float32(1.0 / turns))


def relived_slope(plan: Plan, meta_params: Tree, past: Experience, *lives: Any) -> tuple[Array, Tree]:
    """The objective of lives that are lived again, and its gradient in φ."""

    def objective(meta_params: Tree, share: Array, past: Experience, *life: Any) -> tuple[Array, Any]:
        return share * live(plan, meta_params, life, past)[0], ()

    chunk = 1 if plan.lifetime.learner.shared else plan.chunk
    value, slope, _ = mean_gradient(objective, chunk, meta_params, _shares(plan, past), past, *lives)
    return plan.devices.mean((value, slope))


def _relive(plan: Plan, outer: Outer, lives: Life, past: Experience, key: Key) -> tuple[Outer, Info]:
    """Improve φ minibatch by minibatch, epoch by epoch."""

    def improve(carry: tuple[Tree, Tree], batch: Any) -> tuple[tuple[Tree, Tree], Info]:
        meta_params, memory = carry
        value, slope = relived_slope(plan, meta_params, *batch)
        updates, memory = plan.optimiser.update(slope, memory, meta_params)
        info = {"loss": value, "gradient_norm": optax.tree.norm(slope)}
        return (optax.apply_updates(meta_params, updates), memory), info

    def epoch(carry: tuple[Tree, Tree], key: Key) -> tuple[tuple[Tree, Tree], Info]:
        batches = _minibatches(key, plan, (past, *lives))
        return jax.lax.scan(improve, carry, jax.vmap(_together)(batches) if plan.lifetime.learner.shared else batches)

    keys = jax.random.split(key, plan.epochs.epochs)
    (meta_params, memory), progress = jax.lax.scan(epoch, (outer.meta_params, outer.optimiser), keys)
    return Outer(meta_params, memory, outer.step), progress


def _minibatches(key: Key, plan: Plan, batch: Any) -> Any:
    """Deal the tasks to M minibatches, [N, ...] -> [M, N / M, ...]: of each M in a row one to each, in random order.

    A minibatch then holds the same tasks however many devices share them.
    """
    parts, devices = plan.epochs.minibatches, plan.devices
    rows = jax.tree.leaves(batch)[0].shape[0] // parts  # of this device
    keys = devices.share(jax.random.split(key, rows * devices.count))
    order = jax.vmap(lambda key: jax.random.permutation(key, parts))(keys)  # [N / M, M]
    places = (order + parts * jnp.arange(rows)[:, None]).T
    return jax.tree.map(lambda x: x[places], batch)


def _shares(plan: Plan, past: Experience) -> Array:
    """What each life weighs in the mean of all, [N]: lives that share their parameters by the steps that count."""
    if not plan.lifetime.learner.shared:
        return jnp.ones(past.weight.shape[0])
    steps = jnp.sum(past.weight, axis=(1, 2, 3))
    return steps / jnp.maximum(plan.devices.mean(jnp.mean(steps)), 1e-8)


def _together(batch: tuple[Any, ...]) -> tuple[Any, ...]:
    """Lives that share their parameters, several as one in more environments: one product where vmap makes small ones.

    [N, K+1, T, E, ...] -> [G, K+1, T, (N / G) E, ...]; nothing but the record is relived, so the first task of a group
    stands for all.
    """
    past, *lives = batch
    total, envs = past.weight.shape[0], past.weight.shape[-1]
    groups = lane_groups(total, envs)

    def fold(axis: int) -> Callable[[Array], Array]:
        def move(x: Array) -> Array:
            x = jnp.moveaxis(x.reshape(groups, total // groups, *x.shape[1:]), 1, axis)  # N / G just before E
            return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])

        return move

    folded = jax.tree.map(fold(3), past._replace(memory=()))._replace(memory=jax.tree.map(fold(2), past.memory))
    return folded, *jax.tree.map(lambda x: x[:: total // groups], lives)
