"""Ways to improve φ: pairs of pure functions that chain, as optimisers do in optax."""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import optax

from metarl_jax.core.batching import Devices, map_tasks
from metarl_jax.core.life import Life
from metarl_jax.core.types import Array, Key, Record, Tree
from metarl_jax.core.window import Info, Window, averaged, entered, live, report


class Lives(NamedTuple):
    """The lives [N, ...] of a meta-step on their way through its updates; each device has its share."""

    start: Life  # before the window
    end: Life | None = None  # after it, once they have been lived
    past: Record | None = None  # [N, K+1, T, E, ...] once they have been recorded


class Now(NamedTuple):
    """The circumstances of a meta-step."""

    step: Array  # [] meta-steps taken before
    key: Key
    devices: Devices


Birth = Callable[[Callable[[Tree], Life], Tree, Life], Life]  # how to begin with a φ, φ, the unborn life -> the life


def alone(begun: Callable[[Tree], Life], meta_params: Tree, unborn: Life) -> Life:
    """A life that begins with φ itself."""
    return begun(meta_params)


class Update(NamedTuple):
    """A way to improve φ by the lives of a meta-step."""

    init: Callable[[Tree], Tree]  # φ -> memory
    improve: Callable[[Tree, Tree, Lives, Now], tuple[Tree, Tree, Info, Lives]]  # φ, memory -> φ, memory, info, lives
    windows: int = 1  # how often it lives the window of each life
    parts: int = 1  # minibatches that it deals the tasks to
    birth: Birth = alone  # of the lives that outlast a meta-step
    members: int = 1  # that live in the place of each of these, together


def watch(window: Window) -> Update:
    """Live the window, and leave φ as it is."""

    def improve(meta_params: Tree, memory: Tree, lives: Lives, now: Now) -> tuple[Tree, Tree, Info, Lives]:
        def one(life: Life) -> tuple[Life, Info]:
            lived = live(window, meta_params, entered(window, meta_params, life), whole=False)
            return lived.end, report(lived.seen)

        end, info = map_tasks(one, window.chunk, lives.start)
        return meta_params, memory, averaged(info), lives._replace(end=None if window.newborn else end)

    return Update(lambda meta_params: (), improve)


def chain(*updates: Update) -> Update:
    """Updates one after another: each continues with the φ and the lives that the one before has left.

    Raises:
        ValueError: one of them lives with members of its own, which the others do not know.
    """
    if any(update.members > 1 for update in updates):
        raise ValueError("an update whose lives have members cannot be chained: use it by itself")

    def init(meta_params: Tree) -> Tree:
        return tuple(update.init(meta_params) for update in updates)

    def improve(meta_params: Tree, memory: Tree, lives: Lives, now: Now) -> tuple[Tree, Tree, Info, Lives]:
        after: list[Tree] = []
        info: Info = {}
        keys = jax.random.split(now.key, len(updates))
        for update, own, key in zip(updates, memory, keys, strict=True):
            meta_params, own, found, lives = update.improve(meta_params, own, lives, now._replace(key=key))
            after.append(own)
            info |= found
        return meta_params, tuple(after), info, lives

    windows, parts = sum(update.windows for update in updates), math.lcm(*(update.parts for update in updates))
    return Update(init, improve, windows, parts)


def stepped(
    optimiser: optax.GradientTransformation, gradient: Tree, meta_params: Tree, memory: Tree
) -> tuple[Tree, Tree]:
    """φ and the optimiser's memory after one step."""
    updates, memory = optimiser.update(gradient, memory, meta_params)
    return optax.apply_updates(meta_params, updates), memory


def check_parts(owner: str, tasks: int, parts: int) -> None:
    """Raise ValueError unless the minibatches share the tasks evenly."""
    if tasks % parts:
        rule = f"tasks must be a multiple of minibatches, for example {max(1, tasks // parts) * parts}"
        raise ValueError(f"tasks of {owner} is {tasks} and minibatches {parts}; {rule}")


def recorded(lives: Lives) -> Record:
    """The record of the lives.

    Raises:
        ValueError: they have not been recorded.
    """
    if lives.past is None:
        raise ValueError("this update reads the record of the lives: put record(...) before it in the chain")
    return lives.past
