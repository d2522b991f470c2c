"""Any registered gymnax environment as a distribution of tasks (Lange 2022, gymnax).

gymnax has two kinds of task numbers: parameters of an environment, and the part of its state that `reset` draws (goals,
arms, maps). Both become numbers of a task here. The latter are `frozen`: drawn once a lifetime, and written into the
state at every reset and step.

Episodes use `reset_env` and `step_env` without gymnax's automatic reset, a time limit that truncates, and termination
only by the rules of the game. Errors of gymnax are corrected in `families.py`, or refused.
"""

import collections
import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.environment import Box, Discrete, Episodic
from metarl_jax.core.types import Array, Key, Split, Step, Tree
from metarl_jax.envs.adapter.checks import check_laws, check_numbers, check_options, check_variety
from metarl_jax.envs.adapter.families import FAMILIES, Family, Params
from metarl_jax.envs.adapter.peer import (
    all_laws,
    derived,
    frozen_fields,
    like,
    parameter_fields,
    peer_of,
    spaces,
    state_like,
)

PREFIX = "gymnax/"
CONTROLS = "controls"  # the task number with the effect of each action


class State(NamedTuple):
    """The state of the environment, without the task."""

    inner: Tree  # gymnax's state; None where a field is frozen
    last_action: Any  # [] int32, last executed, -1 at first; None without sticky actions
    time: Array  # [] int32 steps taken


@dataclasses.dataclass(frozen=True)
class Adapted(Episodic):
    """A gymnax environment whose parameters, frozen state fields and controls differ from task to task.

    `controls` [A] holds the effect of each action (`permuted`). At every step except the first, the last action is
    repeated with probability `stickiness`, drawn from U[0, `sticky`]. An action outside its space is clipped under
    `jit`, where its value is unknown; otherwise a discrete one is refused.

    Splits: `train` and `test` follow `laws`; in `extrapolation` a random one of the numbers that can lies beyond its
    training range (stickiness in U(`sticky`, 2 `sticky`]), and the others are drawn as in training.
    """

    reference: ClassVar[str | None] = None
    family: ClassVar[Family]

    laws: tuple[str, ...] = ()
    permuted: bool = False
    sticky: float = 0.0
    hidden: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        check_numbers(self)
        check_laws(self)
        check_options(self)
        check_variety(self)

    @property
    def Task(self) -> Any:  # type: ignore[override]
        return task_type(tuple(self.limits))

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        legal = {law.field: law.legal for law in all_laws(self)}
        return legal | ({CONTROLS: (0.0, spaces(self).actions.n - 1.0)} if self.permuted else {})

    @property
    def observation_space(self) -> Box:
        return spaces(self).observations

    @property
    def action_space(self) -> Discrete | Box:
        return spaces(self).actions

    def reset(self, key: Key, task: Tree) -> tuple[Array, State]:
        peer, params, frozen = peer_of(self.family)[0], self.params(task), self._frozen(task)
        if frozen:
            key, show_key = jax.random.split(key)
        observation, inner = peer.reset_env(key, params)
        if frozen:
            observation = peer.observe(show_key, inner.replace(**frozen), None, params)
        last_action = jnp.int32(-1) if self.sticky else None
        return self._seen(observation), State(self._settled(inner), last_action, jnp.int32(0))

    def step(self, key: Key, state: State, action: Array, task: Tree) -> Step:
        if self.sticky:
            key, sticky_key = jax.random.split(key)
        action = self._carried_out(action, task)
        if self.sticky:
            sticks = (state.last_action >= 0) & (jax.random.uniform(sticky_key) < task.stickiness)
            action = jnp.where(sticks, state.last_action, action)
        peer, params = peer_of(self.family)[0], self.params(task)
        inner = state.inner.replace(**self._frozen(task))
        observation, inner, reward, ended, _ = peer.step_env(key, inner, action, params)
        if self.family.mend is not None:
            inner = self.family.mend(inner, params)
            observation = peer.observe(key, inner, action, params)
        terminated = jnp.array(False) if self.family.endless else jnp.asarray(ended, bool)
        after = State(self._settled(inner), action if self.sticky else None, state.time + 1)
        truncated = ~terminated & (after.time >= self.steps)
        return Step(self._seen(observation), after, jnp.asarray(reward, float), terminated, truncated, {})

    def draw_task(self, key: Key, split: Split) -> Tree:
        number_key, choice_key, frozen_key, controls_key = jax.random.split(key, 4)
        laws = [law for law in all_laws(self) if law.kind != "frozen"]
        lots = jax.random.uniform(choice_key, (len(laws),)) if split == "extrapolation" else None
        extending = jnp.array([law.extends for law in laws], bool)
        numbers = {}
        for i, law in enumerate(laws):
            shape, dtype = like(self, law).shape, like(self, law).dtype
            share, side = jax.random.uniform(jax.random.fold_in(number_key, i), (2, *shape))
            value = law.inside(share, dtype)
            if lots is not None and law.extends:
                leaves = jnp.argmax(jnp.where(extending, lots, -1.0)) == i
                value = jnp.where(leaves, law.outside(share, side, dtype), value)
            numbers[law.field] = value
        if self.permuted:
            numbers[CONTROLS] = jax.random.permutation(
                controls_key, jnp.arange(spaces(self).actions.n, dtype=jnp.int32)
            )
        return self._with_frozen(numbers, frozen_key)

    def extrapolates(self, task: Tree) -> Array:
        return jnp.any(jnp.stack([law.left_by(getattr(task, law.field)) for law in all_laws(self)]))

    def checked(self, task: Any) -> Tree:
        checked = super().checked(task)
        if self.permuted and set(np.asarray(checked.controls).tolist()) != set(range(len(checked.controls))):
            raise ValueError(f"task number {CONTROLS!r} of {self.name} must hold every action once")
        if self.family.places in self.limits:
            place = np.asarray(getattr(checked, str(self.family.places)))
            if not np.any(np.all(np.asarray(peer_of(self.family)[0].coords) == place, axis=-1)):
                raise ValueError(f"task number {self.family.places!r} of {self.name} is {place}, inside a wall")
        return checked

    def params(self, task: Tree) -> Params:
        """gymnax's parameters in this task, derived ones recomputed."""
        return derived(self, {field: getattr(task, field) for field in parameter_fields(self)})

    def __reduce__(self) -> Any:
        return revive, (self.family, {field.name: getattr(self, field.name) for field in dataclasses.fields(self)})

    def _frozen(self, task: Tree) -> dict[str, Array]:
        return {field: getattr(task, field) for field in frozen_fields(self)}

    def _with_frozen(self, numbers: dict[str, Array], key: Key) -> Tree:
        """The task of these numbers, with frozen fields drawn by a reset under them."""
        drawn = [law for law in all_laws(self) if law.kind == "frozen"]
        if drawn:
            chosen = {field: numbers[field] for field in parameter_fields(self)}
            start = peer_of(self.family)[0].reset_env(key, derived(self, chosen))[1]
            numbers |= {law.field: jnp.asarray(getattr(start, law.field), like(self, law).dtype) for law in drawn}
        return self.Task(**numbers)

    def _carried_out(self, action: Array, task: Tree) -> Array:
        """The action passed to gymnax, before sticky actions."""
        space = self.action_space
        if isinstance(space, Box):
            return jnp.clip(action, spaces(self).low, spaces(self).high)
        if not isinstance(action, jax.core.Tracer):
            known = np.asarray(action)  # also for a constant of a program, which JAX would compare inside it
            if not np.all((known >= 0) & (known < space.n)):
                raise ValueError(f"action {known} of {self.name} is none of 0 ... {space.n - 1}")
        action = jnp.clip(jnp.asarray(action, jnp.int32), 0, space.n - 1)
        return task.controls[action] if self.permuted else action

    def _settled(self, inner: Tree) -> Tree:
        """The state with fixed types and without the task."""
        blank = dict.fromkeys(frozen_fields(self))
        lasting = state_like(self).replace(**blank)
        return jax.tree.map(lambda leaf, kind: jnp.asarray(leaf, kind.dtype), inner.replace(**blank), lasting)

    def _seen(self, observation: Tree) -> Array:
        """The observation [O], without hidden entries."""
        space = spaces(self).raw
        flat = jax.nn.one_hot(observation, space.n) if hasattr(space, "n") else _flat(observation)
        return jnp.delete(flat, np.array(self.hidden), assume_unique_indices=True) if self.hidden else flat


def from_gymnax(
    name: str,
    ranges: Mapping[str, str | tuple[float, float]] | None = None,
    frozen: Mapping[str, tuple[float, float]] | None = None,
    *,
    derive: Callable[[Params], Params] | None = None,
    bounds: tuple[float, float] | None = None,
    **options: Any,
) -> Adapted:
    """Turn gymnax's environment `name` into a distribution of tasks.

    Without `ranges` and `frozen` it is the distribution in `families.py`.

    Args:
        name: its name in gymnax, built in or registered.
        ranges: the laws of task numbers, by field of the parameters or the state: a law such as
            "log_uniform 0.5 2 beyond 0.2 5", or the two ends of a uniform one; see `laws.py`.
        frozen: fields of the state that reset draws and that stay fixed for a lifetime, each with its legal range.
        derive: recomputes derived parameters; a function of a module, for pickling.
        bounds: bounds of the observations, where gymnax declares wrong ones.
        options: `steps`, `episodes`, `permuted`, `sticky`, `hidden`; see `Adapted`.

    Raises:
        ValueError: gymnax has no such environment or field, or a law is illegal.
    """
    name = name.removeprefix(PREFIX)
    family = BY_NAME.get(PREFIX + name) or _plain_family(name)
    family = dataclasses.replace(family, derive=derive or family.derive, bounds=bounds or family.bounds)
    if ranges is not None or frozen is not None:
        drawn = [f"{field} {law if isinstance(law, str) else _uniform(law)}" for field, law in (ranges or {}).items()]
        kept = [f"{field} frozen {low!r} {high!r}" for field, (low, high) in (frozen or {}).items()]
        options["laws"] = (*drawn, *kept)
    return revive(family, options)


@functools.cache
def adapted(family: Family) -> type[Adapted]:
    """The class of a family, with the family's values as defaults of its options."""
    defaults = {name: getattr(family, name) for name in ("laws", "permuted", "sticky", "hidden", "steps", "episodes")}
    hints = {field.name: field.type for field in dataclasses.fields(Adapted)}
    members = [(name, hints[name], dataclasses.field(default=value)) for name, value in defaults.items()]
    called = {"name": PREFIX + family.id, "summary": family.summary, "family": family, "__doc__": Adapted.__doc__}
    return dataclasses.make_dataclass(PREFIX + family.id, members, bases=(Adapted,), namespace=called, frozen=True)


def revive(family: Family, options: dict[str, Any]) -> Adapted:
    """An environment of the family with these options."""
    return adapted(family)(**options)


@functools.cache
def task_type(fields: tuple[str, ...]) -> type:
    """The NamedTuple of these task numbers."""
    return collections.namedtuple("Task", fields)


def _flat(tree: Tree) -> Array:
    return jnp.concatenate([jnp.ravel(leaf).astype(float) for leaf in jax.tree.leaves(tree)])


def _uniform(ends: tuple[float, float]) -> str:
    low, high = ends
    return f"uniform {low!r} {high!r}"


def _plain_family(name: str) -> Family:
    """The family of an environment without an entry here, with the time limit of gymnax."""
    params = peer_of(Family(name, ""))[1]
    return Family(name, f"gymnax's {name}", steps=int(params.max_steps_in_episode))


BY_NAME = {PREFIX + family.id: family for family in FAMILIES}
ADAPTED: dict[str, type[Adapted]] = {name: adapted(family) for name, family in BY_NAME.items()}
