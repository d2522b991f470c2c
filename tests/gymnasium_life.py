"""Gymnasium's CartPole-v1 as a world outside: an exported agent lives in it without the package.

python gymnasium_life.py FOLDER EPISODES
"""

import json
import sys
from typing import Any

import gymnasium


def live(agent: Any, episodes: int) -> list[tuple[int, float]]:
    """How often the agent had adapted when each episode ended, and its return."""
    environment, lived = gymnasium.make("CartPole-v1"), []
    observation, _ = environment.reset(seed=0)
    total = 0.0
    while len(lived) < episodes:
        observation, reward, terminated, truncated, _ = environment.step(agent.act(observation))
        agent.observe(reward, terminated, truncated, observation)
        total += float(reward)
        if terminated or truncated:
            lived.append((int(agent.life.clock["age"]), total))
            observation, _ = environment.reset()
            total = 0.0
    return lived


def without_the_package(folder: str, episodes: str) -> None:
    sys.modules["metarl_jax"] = None  # type: ignore[assignment]  # importing it now fails
    sys.path.insert(0, folder)
    import agent  # type: ignore[import-not-found]

    print(json.dumps(live(agent.load(seed=0), int(episodes))))


if __name__ == "__main__":
    without_the_package(*sys.argv[1:])
