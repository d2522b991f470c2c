"""The outer loop: φ ← φ − α ∇φ E_task[L(f_φ(task))]. Tasks are drawn, lives begin and continue, updates improve φ."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from metarl_jax.core.batching import Devices, across_devices
from metarl_jax.core.guard import each_is_finite, guarded, is_sound, zeroed
from metarl_jax.core.keys import check_key
from metarl_jax.core.life import Life, begin, born, unborn
from metarl_jax.core.rollout import select
from metarl_jax.core.types import Agent, Array, Key, Split, Tree
from metarl_jax.core.update import Lives, Now, Update, check_parts
from metarl_jax.core.window import Info, Window, logged

Span = int | tuple[int, int]  # windows that a life lasts, or the fewest and the most


class MetaState(NamedTuple):
    """Everything that changes from one meta-step to the next."""

    meta_params: Tree  # φ
    memory: Tree  # of the update
    step: Array  # [] meta-steps taken
    lives: Life | None = None  # [N, ...] that outlast a meta-step
    spans: Array | None = None  # [N] int32 ages at which these lives end


class MetaLearner(NamedTuple):
    """A meta-learner as two pure functions; both can be jitted, vmapped over keys and scanned."""

    init: Callable[[Key], MetaState]
    step: Callable[[MetaState, Key], tuple[MetaState, Info]]
    window: Window
    env_steps: int  # environment steps of one meta-step, on average
    lives: Callable[[MetaState, Key], Life]  # [N, ...] of the step with that key, before their window


def meta_learner(
    window: Window, update: Update, tasks: int, *, lifespan: Span = 1, split: Split = "train", mesh: Mesh | None = None
) -> MetaLearner:
    """Draw `tasks` tasks of `split`, let agents live in them, improve φ; again and again.

    Unless they are `newborn` in every window, agents live for `lifespan` windows, or until their quota of episodes is
    used up. The span of a life is data: between a fewest and a most, each is drawn uniformly, and lives of all spans
    and ages share a batch.

    A meta-step is skipped where something in it is not finite: its lives have been lived, φ and the memory of the
    update stay, and `skipped` is 1 among the diagnostics. A life that is not finite itself is replaced in the next one.

    Raises:
        ValueError: lives of one window are to continue, or lives of several are to begin with each; or minibatches
            do not share the tasks evenly.
    """
    check_parts("a meta-step", tasks, update.parts)
    fewest, most = lifespan if isinstance(lifespan, tuple) else (lifespan, lifespan)
    if (most == 1) != window.newborn or not 1 <= fewest <= most:
        rule = "1 where lives begin with the window (newborn), and more where they continue"
        raise ValueError(f"lifespan is {lifespan} and newborn is {window.newborn}; lifespan must be {rule}")
    cradle = Cradle(window, split, (fewest, most), update)

    def init(key: Key) -> MetaState:
        check_key(key)
        meta_key, life_key = jax.random.split(key)
        meta_params = window.world.learner.meta_init(meta_key)
        state = MetaState(meta_params, update.init(meta_params), jnp.int32(0))
        if not window.newborn:
            lives, spans = cradle.births(meta_params, life_key, tasks)
            # Of all ages, so that every batch has the same mixture of them.
            ages = jnp.arange(tasks, dtype=jnp.int32) * (spans // cradle.turns) // tasks * cradle.turns
            state = state._replace(lives=lives._replace(age=ages), spans=spans)
        return strongly_typed(state)

    def local(devices: Devices, shared: tuple[Tree, Tree, Array, Key], lives: Life) -> tuple[Any, Any]:
        before, memory, step, key = shared
        now = Now(step, key, devices)
        after, remembered, info, lived = update.improve(before, memory, Lives(lives), now)
        going_on = () if window.newborn or lived.end is None else cradle.kept(lived.end)
        info = devices.mean(info)
        sound = is_sound(after, remembered, info)
        kept = guarded(sound, (after, remembered), (before, memory))
        return (*kept, logged(info) | {"skipped": jnp.where(sound, 0.0, 1.0)}), going_on

    def conceived(key: Key) -> Life:
        return jax.vmap(cradle.conceived)(jax.random.split(key, tasks))

    def lives_of(state: MetaState, key: Key) -> Life:
        return state.lives or conceived(jax.random.split(key)[0])

    def step(state: MetaState, key: Key) -> tuple[MetaState, Info]:
        check_key(key)
        birth_key, update_key = jax.random.split(key)
        state = state if window.newborn else cradle.replaced(state, birth_key)
        shared = (state.meta_params, state.memory, state.step, update_key)
        (meta_params, memory, info), lives = across_devices(mesh, local)(shared, state.lives or conceived(birth_key))
        state = state._replace(meta_params=meta_params, memory=memory, step=state.step + 1)
        return (state if window.newborn else survived(state, lives)), info

    rollouts = update.windows * tasks * (window.turns + 1)
    if not window.newborn:
        begun = 2 * tasks // (fewest + most) if window.turns else 0  # in a meta-step, on average
        rollouts = update.windows * tasks * cradle.turns + update.members * begun
    return MetaLearner(init, step, window, rollouts * window.world.envs * window.world.steps, lives_of)


class Cradle(NamedTuple):
    """Where lives begin."""

    window: Window
    split: Split
    lifespan: tuple[int, int]  # windows
    update: Update  # says with which φ a life begins

    @property
    def turns(self) -> int:
        """Turns by which a life ages in a window."""
        return max(1, self.window.turns)

    def conceived(self, key: Key) -> Life:
        """A task and the key of a life in it."""
        task_key, life_key = jax.random.split(key)
        return unborn(self.window.world.environment.sample_task(task_key, self.split), life_key)

    def births(self, meta_params: Tree, key: Key, count: int) -> tuple[Life, Array]:
        """Newborn lives in new tasks, and their spans. Those that will adapt have acted once."""
        world, (fewest, most) = self.window.world, self.lifespan

        def birth(key: Key) -> Life:
            life = self.conceived(key)
            first = begin if self.window.turns else born
            begun = lambda meta_params: first(world, meta_params, life.task, life.key)  # noqa: E731
            return self.kept(self.update.birth(begun, meta_params, life))

        birth_key, span_key = jax.random.split(key)
        spans = self.turns * jax.random.randint(span_key, (count,), fewest, most + 1, jnp.int32)
        return jax.vmap(birth)(jax.random.split(birth_key, count)), spans

    def kept(self, life: Life) -> Life:
        """A life between two windows, without the fields that the next one does not read."""
        life = life._replace(agent=Agent(())) if self.window.world.learner.shared else life
        return life if self.window.turns else life._replace(seen=())  # type: ignore[arg-type]

    def replaced(self, state: MetaState, key: Key) -> MetaState:
        """Replace the lives that have reached their span, or used up their episodes, by new ones in new tasks."""
        lives, world = state.lives, self.window.world
        assert lives is not None
        assert state.spans is not None
        over = lives.age >= state.spans
        if world.quota is not None and not world.fresh:
            over |= jnp.all(lives.scene.episodes.reshape(len(over), -1) >= world.quota, axis=1)  # of all members
        tasks = len(over)
        # Twice as many as reach their span in one meta-step: few tasks are drawn and then dropped.
        block = min(tasks, -(-2 * tasks // self.lifespan[0]))

        def left(carry: Any) -> Array:
            return jnp.any(carry[1])

        def replace(carry: Any) -> Any:
            old, dead, key = carry
            key, birth_key = jax.random.split(key)
            places = jnp.nonzero(dead, size=block, fill_value=tasks)[0]  # places past the end are dropped
            new = self.births(state.meta_params, birth_key, block)
            old = jax.tree.map(lambda old, new: old.at[places].set(new, mode="drop"), old, new)
            return old, dead.at[places].set(False, mode="drop"), key

        lives, spans = jax.lax.while_loop(left, replace, ((lives, state.spans), over, key))[0]
        return state._replace(lives=lives, spans=spans)


def survived(state: MetaState, lives: Life) -> MetaState:
    """The state with the lives after their window; one that is not finite stays before it, and has reached its span."""
    assert state.spans is not None
    finite = each_is_finite(lives)
    lives = select(finite, lives, zeroed(state.lives))
    return state._replace(lives=lives, spans=jnp.where(finite, state.spans, 0))


def strongly_typed(state: Tree) -> Tree:
    """The same state without weak types, which JAX gives to Python numbers.

    They would be strong after one step, and the program would be compiled twice: for the first state and all others.
    """

    def typed(x: Array) -> Array:
        return x if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else jax.lax.convert_element_type(x, x.dtype)

    return jax.tree.map(typed, state)
