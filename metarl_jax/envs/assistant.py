"""An assistant that recommends items to a user of unknown taste (contextual bandit, Li et al. 2010, LinUCB)."""

import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from metarl_jax.core.checks import check_least
from metarl_jax.core.drawing import Drawing, Episode, Line, Polygon, Text, box
from metarl_jax.core.environment import Box, Discrete, Episodic
from metarl_jax.core.types import Array, Key, Split, Step

QUALITY = 1.0  # log-odds of a click from an item of quality 1, for every user
LOVE = 2.0  # the same from an item with a share of 1 in the user's genre
WHIM = 0.5  # largest difference between the numbers of a user and of its taste


class AssistantTask(NamedTuple):
    """One user."""

    preference: Array  # [F] log-odds of a click by feature: quality first, then the genres


class State(NamedTuple):
    """The current offer."""

    items: Array  # [k, F] features in [-1, 1]
    time: Array  # [] int32 items offered so far


@dataclasses.dataclass(frozen=True)
class Assistant(Episodic):
    """Recommend one of `items` items in each of the `steps` steps of a session; a click pays 1.

    An item has a quality and a share in each of `genres` genres, all U[-1, 1] and observed. The user clicks with
    probability sigmoid(preference . features).

    Splits: users are of one of `genres` tastes, equally likely. A taste likes quality (1) and loves one genre (2); in
    `train` and `test` a user's numbers are those of its taste, each plus U[-.5, .5]. In `extrapolation` a user loves
    two genres, which no user in training does.
    """

    name: ClassVar[str] = "assistant"
    summary: ClassVar[str] = "recommend items to a new user, click by click"
    reference: ClassVar[str | None] = "the item that the user likes best, known preferences"
    Task: ClassVar[type] = AssistantTask

    steps: int = 50
    items: int = 5
    genres: int = 4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_least("items", self.items, 2)
        check_least("genres", self.genres, 2)

    @property
    def features(self) -> int:
        """Numbers that describe an item."""
        return 1 + self.genres

    @property
    def limits(self) -> dict[str, tuple[float, float]]:
        return {"preference": (-10.0, 10.0)}

    @property
    def observation_space(self) -> Box:
        return Box(-1.0, 1.0, (self.items * self.features,))

    @property
    def action_space(self) -> Discrete:
        return Discrete(self.items)

    def reset(self, key: Key, task: AssistantTask) -> tuple[Array, State]:
        state = State(self.draw_items(key), jnp.int32(0))
        return state.items.ravel(), state

    def step(self, key: Key, state: State, action: Array, task: AssistantTask) -> Step:
        click_key, item_key = jax.random.split(key)
        liking = click_probability(task, state.items)[action]
        click = jax.random.bernoulli(click_key, liking).astype(float)
        state = State(self.draw_items(item_key), state.time + 1)
        # The length of a session is part of the task, so its last step terminates.
        over = state.time >= self.steps
        return Step(state.items.ravel(), state, click, over, jnp.array(False), {"expected_reward": liking})

    def draw(self, task: AssistantTask, episode: Episode) -> Drawing:
        """Draw how likely a click on each offered item is, and which one is recommended."""
        liking = 3.0 * np.asarray(click_probability(task, episode.state.items))  # [T+1, k]
        chosen = np.append(episode.action, -1)  # at the end nothing is recommended
        frames = [
            [
                Polygon(box(k + 0.15, 0, k + 0.85, height), "agent" if k == choice else "visited")
                for k, height in enumerate(heights)
            ]
            for heights, choice in zip(liking, chosen, strict=True)
        ]
        base, certain = (Line([(0.0, y), (self.items, y)], "faint", 0.03) for y in (0.0, 3.0))
        words = Text((self.items / 2, -0.4), "chance of a click", 0.35)
        return Drawing((-0.5, -0.8, self.items + 0.5, 3.3), [base, certain, words], frames)

    def draw_items(self, key: Key) -> Array:
        """The next offer, [k, F]."""
        flat = jax.random.uniform(key, (self.items * self.features,), minval=-1.0, maxval=1.0)
        return flat.reshape(self.items, self.features)

    def tastes(self) -> Array:
        """The mean preferences of each taste, [genres, F]."""
        return jnp.concatenate([jnp.full((self.genres, 1), QUALITY), LOVE * jnp.eye(self.genres)], axis=1)

    def draw_task(self, key: Key, split: Split) -> AssistantTask:
        taste_key, whim_key = jax.random.split(key)
        whim = jax.random.uniform(whim_key, (self.features,), minval=-WHIM, maxval=WHIM)
        order = jax.random.permutation(taste_key, self.genres)
        loved = order < (2 if split == "extrapolation" else 1)
        taste = jnp.concatenate([jnp.full(1, QUALITY), LOVE * loved.astype(float)])
        return AssistantTask(taste + whim)

    def extrapolates(self, task: AssistantTask) -> Array:
        return jnp.sum(task.preference[1:] > LOVE / 2.0) > 1


def click_probability(task: AssistantTask, items: Array) -> Array:
    """The probability of a click on each item, [k]."""
    return jax.nn.sigmoid(items @ task.preference)
