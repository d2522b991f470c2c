# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 2. Your own environment
#
# *I think of a number from 0 to 14. You guess; I say "higher" or "lower".* Everybody knows how to play this. A
# meta-learner does not, and nothing in the rules mentions binary search. Will it find it?
#
# An environment here is a family of tasks that share their spaces. It takes one file, in this order: the **task**, the
# **state**, then the **rules** as pure functions.

# %%
import dataclasses
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax import ENVIRONMENTS, Box, Discrete, Episodic, Step

NUMBERS = 15

# %% [markdown]
# ## The task, and the state
#
# A task holds numbers only, so that thousands of tasks are one array. The hidden number is a real one whose integer
# part counts: then there are infinitely many tasks, and test tasks are withheld from training without a list of them.
#
# The second number is there for one question at the end: does the agent still play well if "higher" and "lower" are
# swapped?


# %%
class GuessTask(NamedTuple):
    """What the agent cannot see."""

    place: jax.Array  # [] the hidden number is its integer part
    swapped: jax.Array  # [] 1 if the answers are


class State(NamedTuple):
    """What happens within an episode."""

    answer: jax.Array  # [] -1, 0 or 1: lower, none yet, higher
    time: jax.Array  # [] int32 guesses made


# %% [markdown]
# ## The rules
#
# `limits` are the legal ranges of the task's numbers, which errors name and tests try. `draw_task` is the distribution;
# `extrapolates` says which tasks lie outside that of training. `step` never resets: an episode that the task ends is
# `terminated`, one that the clock ends `truncated`.
#
# Every guess costs 1, so that the return is minus the number of guesses.


# %%
@dataclasses.dataclass(frozen=True)
class Guess(Episodic):
    """Find a hidden number from 0 to 14; every guess is answered by higher or lower."""

    name: ClassVar[str] = "guess"
    summary: ClassVar[str] = "find a hidden number by guesses that are answered by higher or lower"
    reference: ClassVar[str | None] = "binary search"
    Task: ClassVar[type] = GuessTask

    steps: int = 10
    episodes: int = 1

    @property
    def limits(self):
        return {"place": (0.0, NUMBERS - 1e-3), "swapped": (0.0, 1.0)}

    @property
    def observation_space(self):
        return Box(-1.0, 1.0, (1,))

    @property
    def action_space(self):
        return Discrete(NUMBERS)

    def reset(self, key, task):
        return jnp.zeros(1), State(jnp.float32(0), jnp.int32(0))

    def step(self, key, state, action, task):
        apart = jnp.sign(jnp.floor(task.place) - action)
        state = State(jnp.where(task.swapped > 0.5, -apart, apart), state.time + 1)
        found = apart == 0
        return Step(state.answer[None], state, jnp.float32(-1), found, ~found & (state.time >= self.steps), {})

    def draw_task(self, key, split):
        place = jax.random.uniform(key, maxval=NUMBERS - 1e-3)
        return GuessTask(place, jnp.float32(split == "extrapolation"))

    def extrapolates(self, task):
        return task.swapped > 0.5


# %% [markdown]
# ## What the best player gets
#
# A reference turns "the return is −4.1" into "it is .8 guesses from the optimum". Binary search over 15 numbers needs 1
# guess for one of them, 2 for two, 3 for four and 4 for eight:
#
# $$\frac{1\cdot 1 + 2\cdot 2 + 4\cdot 3 + 8\cdot 4}{15} = \frac{49}{15} \approx 3.27\ \text{guesses.}$$


# %%
from metarl_jax.oracles import REFERENCES


def binary_search(environment, key, task):
    """Minus the guesses of binary search, [episodes]."""
    number = jnp.floor(task.place)

    def halve(interval, _):
        low, high = interval
        middle = (low + high) // 2
        found = middle == number
        low, high = jnp.where(number > middle, middle + 1, low), jnp.where(number < middle, middle - 1, high)
        return (low, high), found

    _, found = jax.lax.scan(halve, (jnp.float32(0), jnp.float32(NUMBERS - 1)), None, length=4)
    return -jnp.full(environment.episodes, 1.0 + jnp.argmax(found))


ENVIRONMENTS[Guess.name] = Guess
REFERENCES[Guess] = binary_search

# %% [markdown]
# Two lines register both. Every algorithm now trains on it, with held-out tasks and the reference in its table.
#
# ## Train
#
# The policy sees the last answer and, as every policy with a memory does, its own last action.

# %%
import metarl_jax

common = {"tasks": 512, "width": 48, "gamma": 1.0, "meta_lr": 4e-3, "anneal": -1, "entropy": 0.03, "quiet": True}
result = metarl_jax.train("rl2", "guess", meta_steps=150, evaluation_tasks=500, log_every=10, **common)
result

# %%
table = result.evaluate(tasks=2000, from_scratch=False, quiet=True).table
guesses = {row: -table.cell(row, "episode=1").value for row in ("random", "rl2", "rl2-greedy", "reference")}
print({row: round(value, 2) for row, value in guesses.items()})

# %% [markdown]
# ## Look at what it learned
#
# `metarl_jax.adapt` lets the trained learner live in *one* task of yours, checked against the limits. Let it search for
# every number, and count its guesses:

# %%
counts = []
for number in range(NUMBERS):
    life = metarl_jax.adapt(result, {"place": number + 0.5, "swapped": 0})
    counts.append(int(life.lengths[0, 0]))
print("guesses by number:", counts)

# %% [markdown]
# And its first guess, which should halve the numbers:

# %%
firsts = [int(result.policy(seed=seed).act(jnp.zeros(1))) for seed in range(10)]
print("first guesses of ten lives:", firsts)

# %% [markdown]
# ## Outside the training distribution
#
# With swapped answers the learned strategy must fail, since in all its practice "higher" meant higher. Meta-learners
# adapt to what varied in training, not to everything.

# %%
outside = result.evaluate(split="extrapolation", tasks=500, from_scratch=False, quiet=True).table
print("guesses with swapped answers:", round(-outside.cell("rl2", "episode=1").value, 2), "of at most 10")

# %% [markdown]
# Draw `swapped` at random in `draw_task`, give it two episodes, and it learns to test which is which. Try it.
#
# ## Keep it
#
# In a file `guess.py` of your own, the class is an argument of every command: `metarl train rl2 guess:Guess`. To add a
# picture, define `draw`; the [guide to environments](../docs/environments.md) says how to make it part of the library,
# where a conformance suite then checks shapes, ranges, splits, and that every task number matters.
#
# Next: [your own algorithm](03_your_algorithm.ipynb).
