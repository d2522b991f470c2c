"""Improve φ by differentiating through lives: in one pass, or recorded once and relived in epochs."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

from metarl_jax.core.batching import Devices, chunks, lane_groups, map_tasks, mean_gradient
from metarl_jax.core.diagnostics import followed, unmoved, variance
from metarl_jax.core.life import Life
from metarl_jax.core.losses import Loss, standardised
from metarl_jax.core.objective import Objective, Schedule, with_penalty
from metarl_jax.core.types import Array, Key, Record, Tree
from metarl_jax.core.update import Lives, Now, Update, chain, recorded
from metarl_jax.core.window import Info, Window, averaged, bound, entered, judged, live, report, target

FIRST_PENALTY = 5e-4  # first weight η of a penalty


class Passes(NamedTuple):
    """How often a batch of lives is relived, and in how many parts."""

    epochs: int = 1
    minibatches: int = 1

    @property
    def updates(self) -> int:
        """Steps of the optimiser in a meta-step."""
        return self.epochs * self.minibatches


Hindsight = Callable[[Loss, Record, Devices], Record]  # credits what came after an adaptation, see algorithms/


def backprop(
    window: Window,
    objective: Schedule | Objective,
    optimiser: optax.GradientTransformation,
    passes: Passes = Passes(),  # noqa: B008
) -> Update:
    """Step along the meta-gradient ∇φ E_task[ L(f_φ(task)) ] of the window.

    One pass lives and differentiates together. Where lives share their parameters, or for several passes, they are
    recorded first and then relived, each time with the current φ: PPO over lifetimes. Lives that outlast a meta-step
    are differentiated back to the start of the window.
    """
    schedule = scheduled(objective)
    if passes == Passes() and not window.world.learner.shared:
        return in_one_pass(window, schedule, optimiser)
    return chain(record(window, schedule), relive(window, schedule, optimiser, passes))


def scheduled(objective: Schedule | Objective) -> Schedule:
    """An objective as a function of the meta-steps taken."""
    return (lambda step: objective) if isinstance(objective, Objective) else objective


def in_one_pass(window: Window, objective: Schedule, optimiser: optax.GradientTransformation) -> Update:
    """Live and differentiate together; newborn agents act alike in all tasks, so that their products are one."""

    def improve(meta_params: Tree, memory: Tree, lives: Lives, now: Now) -> tuple[Tree, Tree, Info, Lives]:
        aim = objective(now.step)
        started = jax.vmap(lambda life: entered(window, meta_params, life))(lives.start)

        def value_of(meta_params: Tree, life: Life) -> tuple[Array, Any]:
            value, lived = judged(window, aim, meta_params, bound(window, meta_params, life))
            return value, (_kept(window, lived.end), report(lived.seen))

        value, gradient, found, (end, info) = _meta_gradient(value_of, window.chunk, meta_params, now.devices, started)
        meta_params, memory, more = followed(optimiser, gradient, meta_params, memory, aim.reach)
        return meta_params, memory, averaged(info) | {"loss": value} | more | found, lives._replace(end=end)

    return Update(functools.partial(unmoved, optimiser), improve)


def record(window: Window, objective: Schedule, hindsight: Hindsight | None = None) -> Update:
    """Live, without a derivative, and credit what was lived; φ stays.

    Advantages are standardised over the whole batch where all lives share φ, else over each rollout.
    """

    def improve(meta_params: Tree, memory: Tree, lives: Lives, now: Now) -> tuple[Tree, Tree, Info, Lives]:
        aim, shared = objective(now.step), window.world.learner.shared

        def one(life: Life) -> Any:
            lived = live(window, meta_params, entered(window, meta_params, life))
            seen = jax.vmap(aim.counts)(lived.seen)
            past = Record(seen, jax.vmap(aim.loss.credit)(seen), target(window, aim, meta_params, lived.end))
            return _kept(window, lived.end), past, report(lived.seen)

        end, past, info = map_tasks(one, window.chunk, lives.start)
        past = past._replace(seen=past.seen._replace(earned=(), onward=()))  # read only by the credit and the report
        past = past if hindsight is None else hindsight(aim.loss, past, now.devices)
        past = _standardised(past, now.devices if shared else None) if aim.loss.normalise else past
        return meta_params, memory, averaged(info), Lives(lives.start, end, past)

    return Update(lambda meta_params: (), improve)


def relive(
    window: Window,
    objective: Schedule,
    optimiser: optax.GradientTransformation,
    passes: Passes = Passes(),  # noqa: B008
) -> Update:
    """Relive the record in shuffled minibatches of whole lives, epoch by epoch, with a step along each gradient."""

    def improve(meta_params: Tree, memory: Tree, lives: Lives, now: Now) -> tuple[Tree, Tree, Info, Lives]:
        aim, past = objective(now.step), recorded(lives)
        grouped = window.world.learner.shared
        together = functools.partial(_together, lanes=window.world.policy.lanes)

        def step(carry: tuple[Tree, Tree], batch: tuple[Record, Life]) -> tuple[tuple[Tree, Tree], Info]:
            value, gradient, found = relived_gradient(window, aim, carry[0], *batch, now.devices)
            meta_params, memory, more = followed(optimiser, gradient, *carry, aim.reach)
            return (meta_params, memory), {"loss": value} | more | found

        def epoch(carry: tuple[Tree, Tree], key: Key) -> tuple[tuple[Tree, Tree], Info]:
            batches = _minibatches(key, passes.minibatches, (past, lives.start), now.devices)
            return jax.lax.scan(step, carry, jax.vmap(together)(batches) if grouped else batches)

        keys = jax.random.split(now.key, passes.epochs)
        (meta_params, memory), info = jax.lax.scan(epoch, (meta_params, memory), keys)
        return meta_params, memory, averaged(info), lives

    return Update(functools.partial(unmoved, optimiser), improve, windows=0, parts=passes.minibatches)


def penalised(
    window: Window,
    objective: Schedule,
    optimiser: optax.GradientTransformation,
    passes: Passes,
    target: Array | float,
) -> Update:
    """`relive` with an adaptive penalty η E[KL(π_b ‖ π_{θ_k})] on leaving the policies that acted before adaptation.

    After each meta-step η is halved where the divergence fell short of target / 1.5, and doubled where it exceeded
    1.5 target (ProMP: Rothfuss et al. 2019, arXiv:1810.06784, after Schulman et al. 2017, arXiv:1707.06347, §4).
    """
    policy = window.world.policy

    def held(weight: Array) -> Update:
        return relive(window, lambda step: with_penalty(objective(step), policy, weight), optimiser, passes)

    def improve(meta_params: Tree, memory: Tree, lives: Lives, now: Now) -> tuple[Tree, Tree, Info, Lives]:
        own, weight = memory
        meta_params, own, info, lives = held(weight).improve(meta_params, own, lives, now)
        distance = _moved(window, objective(now.step), meta_params, lives, now.devices)
        weight = jnp.where(distance < target / 1.5, weight / 2, jnp.where(distance > target * 1.5, weight * 2, weight))
        return meta_params, (own, weight), info | {"divergence": distance, "penalty": weight}, lives

    init = lambda meta_params: (unmoved(optimiser, meta_params), jnp.asarray(FIRST_PENALTY, float))  # noqa: E731
    return Update(init, improve, windows=0, parts=passes.minibatches)


def _moved(window: Window, objective: Objective, meta_params: Tree, lives: Lives, devices: Devices) -> Array:
    """The mean divergence of the agents of φ, before each adaptation, from those that acted."""
    nothing = objective._replace(last=lambda meta_params, agent, lived: jnp.zeros(()), before=None)
    distance = with_penalty(nothing, window.world.policy, jnp.asarray(1.0 / max(1, window.turns), float))

    def one(past: Record, life: Life) -> Array:
        return judged(window, distance, meta_params, bound(window, meta_params, life), past)[0]

    return devices.mean(jnp.mean(map_tasks(one, window.chunk, recorded(lives), lives.start)))


def relived_gradient(
    window: Window, objective: Objective, meta_params: Tree, past: Record, lives: Life, devices: Devices
) -> tuple[Array, Tree, Info]:
    """The objective of recorded lives [N, ...], its gradient in φ, and the variance of that over tasks."""

    def value_of(meta_params: Tree, share: Array, past: Record, life: Life) -> tuple[Array, Any]:
        return share * judged(window, objective, meta_params, bound(window, meta_params, life), past)[0], ()

    shared = window.world.learner.shared
    chunk = 1 if shared else window.chunk
    shares = _shares(past, devices) if shared else jnp.ones(past.seen.weight.shape[0])
    together = past.seen.weight.shape[-1] // window.world.envs  # tasks that are relived as one
    return _meta_gradient(value_of, chunk, meta_params, devices, shares, past, lives, each=together)[:3]


def _meta_gradient(
    function: Callable[..., tuple[Array, Any]],
    chunk: int | None,
    meta_params: Tree,
    devices: Devices,
    *lives: Tree,
    each: int = 1,
) -> tuple[Array, Tree, Info, Any]:
    """`mean_gradient` over all devices, and its variance over tasks, where each of the `lives` stands for several."""
    value, gradient, moment, aux = mean_gradient(function, chunk, meta_params, *lives)
    value, gradient, moment = devices.mean((value, gradient, moment))
    here = jax.tree.leaves(lives)[0].shape[0]
    count, groups = here * devices.count, chunks(here, chunk) * devices.count
    return value, gradient, variance(gradient, each * moment, each * count, groups), aux


def _kept(window: Window, end: Life) -> Any:
    """A life at the end of its window, where it continues."""
    return () if window.newborn else end


def _standardised(past: Record, devices: Devices | None) -> Record:
    """The record with standard advantages, over all that the devices have or, without them, over each rollout."""
    if devices is not None:
        return past._replace(credit=standardised(past.credit, past.seen.weight, devices.mean))
    credit = jax.vmap(jax.vmap(standardised))(past.credit, past.seen.weight)
    return past._replace(credit=past.credit._replace(advantage=credit.advantage))


def _minibatches(key: Key, parts: int, batch: Any, devices: Devices) -> Any:
    """Deal the tasks to M minibatches, [N, ...] -> [M, N / M, ...]: of each M in a row one to each, in random order.

    A minibatch then holds the same tasks however many devices share them.
    """
    rows = jax.tree.leaves(batch)[0].shape[0] // parts  # of this device
    keys = devices.share(jax.random.split(key, rows * devices.count))
    order = jax.vmap(lambda key: jax.random.permutation(key, parts))(keys)  # [N / M, M]
    places = (order + parts * jnp.arange(rows)[:, None]).T
    return jax.tree.map(lambda x: x[places], batch)


def _shares(past: Record, devices: Devices) -> Array:
    """The weight of each life in the mean of all, [N]: lives that share their parameters count by their steps."""
    steps = jnp.sum(past.seen.weight, axis=(1, 2, 3))
    return steps / jnp.maximum(devices.mean(jnp.mean(steps)), 1e-8)


def _together(batch: tuple[Record, Life], lanes: int) -> tuple[Record, Life]:
    """Lives that share their parameters, several as one in more environments: one product where vmap makes small ones.

    [N, K+1, T, E, ...] -> [G, K+1, T, (N / G) E, ...]; nothing but the record is relived, so the first task of a group
    stands for all.
    """
    past, lives = batch
    total, envs = past.seen.weight.shape[0], past.seen.weight.shape[-1]
    groups = lane_groups(total, envs, lanes)

    def fold(axis: int) -> Callable[[Array], Array]:
        def move(x: Array) -> Array:
            x = jnp.moveaxis(x.reshape(groups, total // groups, *x.shape[1:]), 1, axis)  # N / G just before E
            return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])

        return move

    seen = jax.tree.map(fold(3), past.seen._replace(memory=()))
    seen = seen._replace(memory=jax.tree.map(fold(2), past.seen.memory))
    folded = Record(seen, jax.tree.map(fold(3), past.credit))  # agents that are φ itself have no other target
    return folded, jax.tree.map(lambda x: x[:: total // groups], lives)
