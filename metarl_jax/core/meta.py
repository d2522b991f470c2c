"""The outer loop: φ ← φ − α ∇φ E_task[L(f_φ(task))], by backpropagation or by evolution."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree
from jax.sharding import Mesh

from metarl_jax.core.batching import Reduce, across_devices, map_tasks, mean_gradient
from metarl_jax.core.lifetime import Lifetime, LifetimeState, begin_lifetime, first_rollout, run_lifetime
from metarl_jax.core.losses import Loss, standardise
from metarl_jax.core.objective import Objective, final
from metarl_jax.core.types import Agent, Array, Experience, Key, Split, Tree

Info = dict[str, Array]
LossSchedule = Callable[[Array], Loss]  # meta-steps taken -> the outer loss


class MetaState(NamedTuple):
    """Everything that changes from one meta-step to the next."""

    meta_params: Tree  # φ
    optimiser: Tree
    step: Array  # [] meta-steps taken
    lifetimes: LifetimeState | None = None  # [N, ...] lives that outlast a meta-step
    lived: Tree = None  # [N] meta-steps that these lives have seen


class MetaLearner(NamedTuple):
    """A meta-learner as two pure functions; both can be jitted, vmapped over keys and scanned."""

    init: Callable[[Key], MetaState]
    step: Callable[[MetaState, Key], tuple[MetaState, Info]]
    lifetime: Lifetime
    env_steps: int  # environment steps of one meta-step


class Epochs(NamedTuple):
    """How often a batch of lifetimes is relived, and in how many parts."""

    epochs: int = 1
    minibatches: int = 1


def backprop(
    lifetime: Lifetime,
    loss: LossSchedule,
    optimiser: optax.GradientTransformation,
    tasks: int,
    *,
    objective: Objective = final,
    epochs: Epochs = Epochs(),  # noqa: B008
    lifespan: int = 1,
    chunk: int | None = None,
    split: Split = "train",
    mesh: Mesh | None = None,
) -> MetaLearner:
    """Differentiate through the lifetimes.

    One epoch lives and differentiates in one pass. More epochs live first and then relive the record, each time
    with φ as it has become: PPO over lifetimes. Agents live for `lifespan` meta-steps, or until their quota of
    episodes is used up: with more than one, a meta-step is a window on a longer life, and its gradient reaches back to
    the window's start.
    """
    persistent = lifespan > 1
    live = _one_pass if epochs == Epochs() and not lifetime.learner.shared else _several_epochs

    def init(key: Key) -> MetaState:
        meta_key, life_key = jax.random.split(key)
        meta_params = lifetime.learner.meta_init(meta_key)
        state = MetaState(meta_params, optimiser.init(meta_params), jnp.int32(0))
        if not persistent:
            return state
        ages = jnp.arange(tasks, dtype=jnp.int32) * lifespan // tasks  # of all ages, so that no two batches differ
        return state._replace(lifetimes=_births(lifetime, split, meta_params, life_key, tasks), lived=ages)

    def update(reduce: Reduce, shared: tuple[Any, ...], lives: tuple[Any, ...]) -> tuple[Any, Any]:
        meta_params, optimiser_state, step, key = shared
        plan = _Plan(lifetime, loss(step), objective, optimiser, epochs, chunk, reduce)
        meta_params, optimiser_state, after, info = live(plan, meta_params, optimiser_state, lives, key)
        return (meta_params, optimiser_state, reduce(info)), _without_shared(lifetime, after) if persistent else ()

    def step(state: MetaState, key: Key) -> tuple[MetaState, Info]:
        birth_key, live_key, shuffle_key = jax.random.split(key, 3)
        keys = jax.random.split(live_key, tasks)
        if persistent:
            state = _reborn(lifetime, split, state, birth_key, tasks, lifespan)
            lives: tuple[Any, ...] = (None, None, state.lifetimes, keys)
        else:
            task_keys, birth_keys = jax.random.split(birth_key, (2, tasks))
            lives = (jax.vmap(lambda k: lifetime.environment.sample_task(k, split))(task_keys), birth_keys, None, keys)
        shared = (state.meta_params, state.optimiser, state.step, shuffle_key)
        (meta_params, optimiser_state, info), after = across_devices(mesh, update)(shared, lives)
        state = state._replace(meta_params=meta_params, optimiser=optimiser_state, step=state.step + 1)
        return (state._replace(lifetimes=after) if persistent else state), info

    return MetaLearner(init, step, lifetime, tasks * _env_steps(lifetime))


def evolution(
    lifetime: Lifetime,
    optimiser: optax.GradientTransformation,
    tasks: int,
    *,
    pairs: int = 32,
    sigma: Array | float = 0.05,
    chunk: int | None = None,
    split: Split = "train",
    mesh: Mesh | None = None,
) -> MetaLearner:
    """Evolution strategies on the return of the last rollout (Salimans et al. 2017, arXiv:1703.03864).

        ∇φ ≈ − 1/(2 n σ) Σ_i [u(φ + σ ε_i) − u(φ − σ ε_i)] ε_i

    u are centred ranks over the population. All members live the same tasks with the same keys, so that a pair
    differs in φ alone. Needs no derivative of anything.
    """

    def fitness(meta_params: Tree, task: Tree, birth_key: Key, key: Key) -> tuple[Array, Info]:
        state = begin_lifetime(lifetime, meta_params, task, birth_key)
        _, _, history = run_lifetime(lifetime, None, meta_params, state, key)
        return mean_return(_turn(history, -1)), _report(history)

    def init(key: Key) -> MetaState:
        meta_params = lifetime.learner.meta_init(key)
        return MetaState(meta_params, optimiser.init(meta_params), jnp.int32(0))

    def evaluate(reduce: Reduce, shared: tuple[Tree, Array], tasks: tuple[Any, ...]) -> tuple[Any, Any]:
        meta_params, directions = shared  # directions [n, D]
        flat, unravel = ravel_pytree(meta_params)

        def member(direction: Array) -> tuple[Array, Info]:
            member_params = unravel(flat + sigma * direction)
            scores, info = map_tasks(lambda *task: fitness(member_params, *task), chunk, *tasks)
            return jnp.mean(scores), jax.tree.map(jnp.mean, info)

        both = jnp.concatenate([directions, -directions])
        scores, info = jax.lax.map(member, both) if chunk else jax.vmap(member)(both)
        return reduce((scores, jax.tree.map(jnp.mean, info))), ()

    def step(state: MetaState, key: Key) -> tuple[MetaState, Info]:
        noise_key, task_key, birth_key, live_key = jax.random.split(key, 4)
        sampled = jax.vmap(lambda k: lifetime.environment.sample_task(k, split))(jax.random.split(task_key, tasks))
        lives = (sampled, jax.random.split(birth_key, tasks), jax.random.split(live_key, tasks))
        flat, unravel = ravel_pytree(state.meta_params)
        directions = jax.random.normal(noise_key, (pairs, flat.size), flat.dtype)
        (scores, info), _ = across_devices(mesh, evaluate)((state.meta_params, directions), lives)
        utility = centred_ranks(scores)
        ascent = (utility[:pairs] - utility[pairs:]) @ directions / (2 * pairs * sigma)
        slope = unravel(-ascent)
        updates, optimiser_state = optimiser.update(slope, state.optimiser, state.meta_params)
        meta_params = optax.apply_updates(state.meta_params, updates)
        info = {**info, "loss": -jnp.mean(scores), "gradient_norm": optax.tree.norm(slope)}
        return state._replace(meta_params=meta_params, optimiser=optimiser_state, step=state.step + 1), info

    return MetaLearner(init, step, lifetime, 2 * pairs * tasks * _env_steps(lifetime))


def centred_ranks(scores: Array) -> Array:
    """Ranks scaled to [−½, ½]; ties share the mean of their ranks, so that equal scores weigh nothing."""
    below = jnp.sum(scores[:, None] > scores[None, :], axis=1)
    tied = jnp.sum(scores[:, None] == scores[None, :], axis=1)
    return (below + (tied - 1) / 2) / jnp.maximum(scores.size - 1, 1) - 0.5


def mean_return(experience: Experience) -> Array:
    """Reward per episode begun, over the steps that count: of one rollout [T, E]."""
    episodes = jnp.sum(experience.timestep.first * experience.weight)
    return jnp.sum(experience.reward * experience.weight) / jnp.maximum(episodes, experience.reward.shape[1])


class _Plan(NamedTuple):
    lifetime: Lifetime
    loss: Loss
    objective: Objective
    optimiser: optax.GradientTransformation
    epochs: Epochs
    chunk: int | None
    reduce: Reduce


def _live(
    plan: _Plan, meta_params: Tree, life: tuple[Any, ...], past: Experience | None = None, judged: bool = True
) -> Any:
    """One life (task, birth key, state in progress, key), lived or relived: its objective, its end and its record."""
    state, key = _beginning(plan, meta_params, life), life[-1]

    def judge(meta_params: Tree, agent: Agent, seen: Experience) -> Array:
        return plan.loss(agent.params, seen)

    loss = judge if judged else None
    state, losses, history = run_lifetime(plan.lifetime, loss, meta_params, state, key, past, plan.objective.reads_all)
    return plan.objective.reduce(losses), state, history


def _beginning(plan: _Plan, meta_params: Tree, life: tuple[Any, ...]) -> LifetimeState:
    """The state from which a life goes on: a birth, or where it stood."""
    task, birth_key, state, key = life
    if state is None:
        return begin_lifetime(plan.lifetime, meta_params, task, birth_key)
    if plan.lifetime.learner.shared:
        return state._replace(agent=plan.lifetime.learner.birth(meta_params, key))
    return state


def _one_pass(plan: _Plan, meta_params: Tree, optimiser_state: Tree, lives: tuple[Any, ...], key: Key) -> Any:
    """Live and differentiate together; only the first rollout of newborn agents is made by all tasks at once."""

    def act(*life: Any) -> Experience:
        return first_rollout(plan.lifetime, _beginning(plan, meta_params, life), life[-1])[1]

    def objective(meta_params: Tree, past: Experience | None, *life: Any) -> tuple[Array, Any]:
        value, state, history = _live(plan, meta_params, life, past)
        return value, (state, _report(history))

    newborn = lives[2] is None and plan.lifetime.fresh
    past = jax.vmap(act)(*lives) if newborn else None
    value, slope, (after, info) = mean_gradient(objective, plan.chunk, meta_params, past, *lives)
    value, slope = plan.reduce((value, slope))
    updates, optimiser_state = plan.optimiser.update(slope, optimiser_state, meta_params)
    info = {**jax.tree.map(jnp.mean, info), "loss": value, "gradient_norm": optax.tree.norm(slope)}
    return optax.apply_updates(meta_params, updates), optimiser_state, after, info


def _several_epochs(plan: _Plan, meta_params: Tree, optimiser_state: Tree, lives: tuple[Any, ...], key: Key) -> Any:
    """Live once, then relive the record in shuffled minibatches of whole lifetimes."""

    def record(*life: Any) -> Any:
        _, after, history = _live(plan, meta_params, life, judged=False)
        return after, jax.vmap(plan.loss.credit)(history), _report(history)

    after, past, info = map_tasks(record, plan.chunk, *lives)
    if plan.loss.normalise:
        past = past._replace(advantage=standardise(past.advantage, past.weight, plan.reduce))

    def objective(meta_params: Tree, past: Experience, *life: Any) -> tuple[Array, Any]:
        return _live(plan, meta_params, life, past)[0], ()

    def improve(carry: tuple[Tree, Tree], batch: Any) -> tuple[tuple[Tree, Tree], Info]:
        meta_params, optimiser_state = carry
        value, slope, _ = mean_gradient(objective, plan.chunk, meta_params, *batch)
        value, slope = plan.reduce((value, slope))
        updates, optimiser_state = plan.optimiser.update(slope, optimiser_state, meta_params)
        info = {"loss": value, "gradient_norm": optax.tree.norm(slope)}
        return (optax.apply_updates(meta_params, updates), optimiser_state), info

    def epoch(carry: tuple[Tree, Tree], key: Key) -> tuple[tuple[Tree, Tree], Info]:
        batches = _minibatches(key, plan.epochs.minibatches, (past, *lives))
        return jax.lax.scan(improve, carry, jax.vmap(_as_one)(batches) if plan.lifetime.learner.shared else batches)

    keys = jax.random.split(key, plan.epochs.epochs)
    (meta_params, optimiser_state), progress = jax.lax.scan(epoch, (meta_params, optimiser_state), keys)
    return meta_params, optimiser_state, after, jax.tree.map(jnp.mean, {**info, **progress})


def _minibatches(key: Key, count: int, batch: Any) -> Any:
    """Shuffle along the task axis and cut in `count` parts: [N, ...] -> [count, N / count, ...]."""
    total = jax.tree.leaves(batch)[0].shape[0]
    order = jax.random.permutation(key, total).reshape(count, total // count)
    return jax.tree.map(lambda x: x[order], batch)


def _as_one(batch: tuple[Any, ...]) -> tuple[Any, ...]:
    """Lives that share their parameters as one life in N E environments: one product where vmap makes N small ones.

    [N, K+1, T, E, ...] -> [1, K+1, T, N E, ...]; nothing but the record is relived, so the first task stands for all.
    """

    def fold(axis: int) -> Callable[[Array], Array]:
        def move(x: Array) -> Array:
            x = jnp.moveaxis(x, 0, axis - 1)  # N just before E
            return x.reshape(1, *x.shape[: axis - 1], -1, *x.shape[axis + 1 :])

        return move

    past, *lives = batch
    folded = jax.tree.map(fold(3), past._replace(memory=()))._replace(memory=jax.tree.map(fold(2), past.memory))
    return folded, *jax.tree.map(lambda x: x[:1], lives)


def _births(lifetime: Lifetime, split: Split, meta_params: Tree, key: Key, tasks: int) -> LifetimeState:
    def birth(key: Key) -> LifetimeState:
        task_key, life_key = jax.random.split(key)
        task = lifetime.environment.sample_task(task_key, split)
        return _without_shared(lifetime, begin_lifetime(lifetime, meta_params, task, life_key))

    return jax.vmap(birth)(jax.random.split(key, tasks))


def _reborn(lifetime: Lifetime, split: Split, state: MetaState, key: Key, tasks: int, lifespan: int) -> MetaState:
    """Replace the lives that have reached their span, or used up their episodes, by new ones in new tasks."""
    lives = state.lifetimes
    assert lives is not None
    over = state.lived >= lifespan
    if lifetime.quota is not None and not lifetime.fresh:
        over |= jnp.all(lives.scene.episodes >= lifetime.quota, axis=1)

    block = -(-2 * tasks // lifespan)  # twice as many as reach their span in one meta-step: few tasks are drawn in vain

    def left(carry: tuple[LifetimeState, Array, Key]) -> Array:
        return jnp.any(carry[1])

    def replace(carry: tuple[LifetimeState, Array, Key]) -> tuple[LifetimeState, Array, Key]:
        lives, dead, key = carry
        key, birth_key = jax.random.split(key)
        places = jnp.nonzero(dead, size=block, fill_value=tasks)[0]  # those past the end are dropped
        fresh = _births(lifetime, split, state.meta_params, birth_key, block)
        lives = jax.tree.map(lambda old, new: old.at[places].set(new, mode="drop"), lives, fresh)
        return lives, dead.at[places].set(False, mode="drop"), key

    lifetimes = jax.lax.while_loop(left, replace, (lives, over, key))[0]
    return state._replace(lifetimes=lifetimes, lived=jnp.where(over, 0, state.lived) + 1)


def _without_shared(lifetime: Lifetime, state: LifetimeState) -> LifetimeState:
    """A life to be continued; an agent that is φ itself is not kept, φ will have moved on."""
    return state._replace(agent=Agent(())) if lifetime.learner.shared else state


def _report(history: Experience) -> Info:
    """What is logged of a lifetime: its first and its last rollout."""
    return {"return_before": mean_return(_turn(history, 0)), "return": mean_return(_turn(history, -1))}


def _turn(history: Experience, index: int) -> Experience:
    return jax.tree.map(lambda x: x[index], history)


def _env_steps(lifetime: Lifetime) -> int:
    return (lifetime.adaptations + 1) * lifetime.envs * lifetime.steps
