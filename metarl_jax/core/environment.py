"""Environments are pure functions of a task, and a task consists only of numbers."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.checks import check_choice, check_least, nearest
from metarl_jax.core.drawing import Drawing, Episode, bars
from metarl_jax.core.keys import check_key, key_of
from metarl_jax.core.memory import Memory
from metarl_jax.core.once import once
from metarl_jax.core.types import SPLITS, Array, Key, Split, Step, Tree

HELD_OUT_SHARE = 8  # one task in eight belongs to the test split
PROBED = 1024  # tasks drawn to check that a split is not empty
FEWEST = 8  # of these, how many must belong to the split
MOST_DRAWS = 10_000  # after which `sample_task` gives up; a split with FEWEST of PROBED tasks is met long before


# Tasks and places in them -> actions: task, observations [..., O], steps of the episode before [...] -> [..., A]
Expert = Callable[[Tree, Array, Array], Array]


class Discrete(NamedTuple):
    """The actions 0 ... n - 1."""

    n: int

    @property
    def shape(self) -> tuple[int, ...]:
        return ()

    @property
    def dtype(self) -> Any:
        return jnp.int32


class Box(NamedTuple):
    """Real vectors between `low` and `high`, elementwise."""

    low: float
    high: float
    shape: tuple[int, ...]

    @property
    def dtype(self) -> Any:
        """float32, or float64 where that is JAX's default."""
        return jnp.result_type(float)


@dataclasses.dataclass(frozen=True)
class Environment:
    """A family of tasks that share their spaces: a frozen dataclass of static options.

    A subclass names its `Task` (a NamedTuple of arrays) and defines `limits` (the legal range of each task number),
    `reset`, `step`, `draw_task`, `extrapolates` and the two spaces. Everything is written for one task and one episode;
    callers vmap. `step` never resets and `reset` never changes the task.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reference: ClassVar[str | None] = None  # describes the reference agent of an evaluation
    masks: ClassVar[bool] = False  # whether episodes in which it returns NaN or inf are left out: see `masked`
    Task: ClassVar[type]

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        """The legal range of every task number, by field."""
        raise NotImplementedError

    @property
    def observation_space(self) -> Box:
        raise NotImplementedError

    @property
    def action_space(self) -> Discrete | Box:
        raise NotImplementedError

    @property
    def horizon(self) -> int:
        """The maximal number of steps of an episode."""
        raise NotImplementedError

    @property
    def trial_episodes(self) -> int:
        """The number of episodes of a trial, which is the quota of every held-out evaluation."""
        raise NotImplementedError

    def belief(self) -> Memory | None:
        """The exact posterior over tasks as a memory over the policy's inputs; None where it is not known."""
        return None

    def expert(self) -> Expert | None:
        """The best actions of an agent that knows the task, all alike likely, [..., A]; None where not known."""
        return None

    def draw(self, task: Tree, episode: Episode) -> Drawing:
        """Draw an episode in a task, both NumPy arrays; by default as bars of what is observed, done and paid."""
        space = self.action_space
        return bars(episode, space.n if isinstance(space, Discrete) else None)

    def reset(self, key: Key, task: Tree) -> tuple[Array, Tree]:
        """Start an episode of `task` and return its observation [O] and state."""
        raise NotImplementedError

    def step(self, key: Key, state: Tree, action: Array, task: Tree) -> Step:
        """Advance one step."""
        raise NotImplementedError

    def draw_task(self, key: Key, split: Split) -> Tree:
        """Draw from the distribution that train and test share, or from that of the extrapolation split."""
        raise NotImplementedError

    def extrapolates(self, task: Tree) -> Array:
        """Whether a task lies outside the support of the training distribution, [] bool."""
        raise NotImplementedError

    @property
    def withholds(self) -> bool:
        """Whether test tasks are withheld from training; families of only a few tasks share them."""
        return True

    def holds_out(self, task: Tree) -> Array:
        """Whether a training or test task belongs to the test split, [] bool: one in eight, by a hash of its bits."""
        return is_held_out(task)

    def sample_task(self, key: Key, split: Split) -> Tree:
        """Draw a task of `split`.

        Train and test share one distribution and are disjoint by construction: `holds_out` assigns each task to one of
        the two, and draws that belong to the other are rejected. After `MOST_DRAWS` draws the last one is returned in
        any case; `check_split_has_tasks` refuses such distributions beforehand.

        Raises:
            ValueError: the split is unknown, or the key is of another kind; see `check_key`.
        """
        check_split(split)
        check_key(key)
        if split == "extrapolation" or not self.withholds:
            return self.draw_task(key, split)

        def draw(attempt: Array) -> Tree:
            return self.draw_task(jax.random.fold_in(key, attempt), split)

        def wrong_side(carry: tuple[Array, Tree]) -> Array:
            wrong = self.holds_out(carry[1]) != (split == "test")
            return (carry[0] < 0) | (wrong & (carry[0] < MOST_DRAWS))

        def again(carry: tuple[Array, Tree]) -> tuple[Array, Tree]:
            return carry[0] + 1, draw(carry[0] + 1)

        # The loop starts from a blank task that is never accepted, so that `draw` is compiled once.
        blank = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), jax.eval_shape(draw, jnp.int32(0)))
        return jax.lax.while_loop(wrong_side, again, (jnp.int32(-1), blank))[1]

    def check_task(self, task: Any) -> Tree:
        """Return the user's `task` as arrays of this environment's `Task`.

        Raises:
            ValueError: a field is missing, unknown, of the wrong shape, not finite or outside its legal range.
        """
        with jax.ensure_compile_time_eval():  # also for a task that is a constant of a program
            return self.checked(task)

    def checked(self, task: Any) -> Tree:
        """Implement `check_task`; environments whose task numbers constrain each other extend it."""
        fields = task if isinstance(task, dict) else getattr(task, "_asdict", dict)()
        template = jax.eval_shape(lambda: self.draw_task(key_of(0), "train"))._asdict()
        unknown = [name for name in fields if name not in template]
        if unknown:
            raise ValueError(f"{self.name} has no task number {unknown[0]!r}{nearest(unknown[0], template)}")
        checked = {name: self._check_field(name, fields.get(name), like) for name, like in template.items()}
        return self.Task(**checked)

    def _check_field(self, name: str, value: Any, like: Any) -> Any:
        if like is None:
            if value is not None:
                raise ValueError(f"task number {name!r} has no meaning with these options of {self.name}; leave it out")
            return None
        if value is None:
            raise ValueError(f"the task of {self.name} lacks {name!r}, an array of shape {like.shape}")
        array = np.asarray(value)
        if array.shape != like.shape:
            raise ValueError(f"task number {name!r} of {self.name} has shape {array.shape}; it must be {like.shape}")
        low, high = self.limits[name]
        illegal = array[~((array >= low) & (array <= high))]  # NaN as well
        if illegal.size:
            rule = f"it must lie in [{low:g}, {high:g}]"
            raise ValueError(f"task number {name!r} of {self.name} is {illegal.flat[0]:g}; {rule}")
        if not jnp.issubdtype(like.dtype, jnp.floating) and np.any(array != np.round(array.astype(float))):
            raise ValueError(f"task number {name!r} of {self.name} must be a whole number")
        return jnp.asarray(array, like.dtype)


@dataclasses.dataclass(frozen=True)
class Episodic(Environment):
    """An environment with options for the length of an episode (at most `steps`) and of a trial (`episodes`)."""

    steps: int = 100
    episodes: int = 1

    def __post_init__(self) -> None:
        check_least("steps", self.steps, 1)
        check_least("episodes", self.episodes, 1)

    @property
    def horizon(self) -> int:
        return self.steps

    @property
    def trial_episodes(self) -> int:
        return self.episodes


@once
def masked(environment: Environment) -> Environment:
    """The same environment, of which rollouts leave out the episodes in which it returns NaN or inf."""
    kind = type(environment)
    options = {field.name: getattr(environment, field.name) for field in dataclasses.fields(environment) if field.init}
    made: Environment = type(kind.__name__, (kind,), {"masks": True, "__module__": kind.__module__})(**options)
    return made


def any_of(mask: Array) -> Array:
    """The uniform distribution over the actions of a mask [..., A]."""
    return mask / jnp.sum(mask, axis=-1, keepdims=True)


def check_split(split: str) -> None:
    """Raise ValueError unless `split` is one of the three."""
    check_choice("split", split, SPLITS)


def check_split_has_tasks(environment: Environment, split: Split) -> None:
    """Raise ValueError where the distribution of train and test leaves too few tasks for the split."""
    rejects = type(environment).sample_task is Environment.sample_task and environment.withholds
    if split == "extrapolation" or not rejects:
        return
    belong, distinct = _probed(environment, split)
    if belong < FEWEST:
        options = ", ".join(f"{name}={value!r}" for name, value in vars(environment).items()) or "none"
        found = f"{PROBED} draws gave {distinct} different tasks, and {belong} of the draws belong to the split"
        remedy = "choose options with more different tasks, or let train and test share them: `withholds` False"
        raise ValueError(f"{environment.name} has no {split} tasks with its options, {options}: {found}; {remedy}")


@once
def _probed(environment: Environment, split: Split) -> tuple[int, int]:
    """How many of PROBED draws belong to the split, and how many different tasks they are."""

    @jax.jit
    def draw(keys: Key) -> tuple[Tree, Array]:
        tasks = jax.vmap(lambda key: environment.draw_task(key, split))(keys)
        return tasks, jax.vmap(environment.holds_out)(tasks) == (split == "test")

    with jax.ensure_compile_time_eval():  # also for a learner that is built inside a program
        tasks, belong = jax.device_get(draw(jax.random.split(key_of(0), PROBED)))
    rows = np.concatenate(
        [np.reshape(leaf, (PROBED, -1)).astype(np.float64) for leaf in jax.tree.leaves(tasks)], axis=1
    )
    return int(np.sum(belong)), len(np.unique(rows, axis=0))


def is_held_out(task: Tree) -> Array:
    """Whether a task belongs to the test split: a hash of its bits, [] bool."""
    leaves = [jnp.ravel(leaf) for leaf in jax.tree.leaves(task)]
    bits = jnp.concatenate([_bits(leaf) for leaf in leaves])
    position = jnp.arange(1, bits.size + 1, dtype=jnp.uint32)
    return jnp.sum(_mix(bits + _mix(position)), dtype=jnp.uint32) % HELD_OUT_SHARE == 0


def _bits(leaf: Array) -> Array:
    if jnp.issubdtype(leaf.dtype, jnp.floating):
        return jax.lax.bitcast_convert_type(leaf.astype(jnp.float32), jnp.uint32)
    return leaf.astype(jnp.uint32)


def _mix(word: Array) -> Array:
    """The 32-bit finaliser of MurmurHash3 (Appleby, public domain)."""
    word = (word ^ (word >> 16)) * jnp.uint32(0x85EBCA6B)
    word = (word ^ (word >> 13)) * jnp.uint32(0xC2B2AE35)
    return word ^ (word >> 16)
