"""A world outside: needs neither the package nor JAX. Run as a script, it lets an exported agent live in it.

python outside.py FOLDER STEPS SAVED
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np


def live(agent: Any, steps: int, *, ends: float = 0.3) -> np.ndarray:
    """The actions of an agent for some steps of nonsense, in which a third of all steps end an episode."""
    chance, many = np.random.default_rng(0), () if agent.envs is None else (agent.envs,)
    shape = (*many, *agent.spec.observation)
    actions = []
    for _ in range(steps):
        action = agent.act(chance.normal(size=shape))
        over, truncated = chance.random(many) < ends, chance.random(many) < 0.5
        reward = chance.normal(size=many) + np.cos(np.reshape(action, (*many, -1))).sum(-1)
        agent.observe(reward, over & ~truncated, over & truncated, chance.normal(size=shape))
        actions.append(action)
    return np.array(actions)


def without_the_package(folder: str, steps: str, saved: str) -> None:
    sys.modules["metarl_jax"] = None  # type: ignore[assignment]  # importing it now fails
    sys.path.insert(0, folder)
    import agent  # type: ignore[import-not-found]

    one = agent.load(seed=3)
    actions = live(one, int(steps))
    one.save(saved)
    assert Path(agent.__file__).parent == Path(folder)
    assert not any(name.startswith(("metarl_jax.", "optax", "flax", "orbax")) for name in sys.modules)
    np.save(Path(saved).with_suffix(".npy"), actions)


if __name__ == "__main__":
    without_the_package(*sys.argv[1:])
