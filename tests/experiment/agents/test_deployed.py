"""What an agent outside records of its life, with programs that only count."""

from typing import Any

import numpy as np
import pytest

from metarl_jax.experiment.agents.deployed import Agent, Programs, Spec

LIFE: dict[str, Any] = {"observation": (1,), "action": (), "action_dtype": "int32", "envs": 2, "steps": 4, "quota": 1}
LIFE |= {"fresh": True, "adaptations": 2, "has_memory": False, "told": (), "name": "nonsense"}


class Counting:
    """An agent whose n-th action is n, whose memory counts steps, and its rollouts."""

    def __init__(self, envs: int | None = None, **life: Any) -> None:
        self.rollouts: list[Any] = []
        self.acts = 0
        programs = Programs(self.born, self.act, self.adapt)
        self.agent = Agent(Spec(**LIFE | life), programs, {}, envs=envs)

    def born(self, meta_params: Any, key: Any) -> Any:
        return {"params": np.zeros(1, np.float32)}, {"memory": np.zeros((), np.float32)}

    def act(self, agent: Any, scene: Any, key: Any, age: Any, time: Any, greedy: Any) -> Any:
        self.acts += 1
        return {"action": np.full(scene["first"].shape, self.acts, np.int32), "memory": scene["memory"] + 1}

    def adapt(self, meta_params: Any, agent: Any, record: Any, start: Any, end: Any, key: Any, age: Any) -> Any:
        rollout = {name: np.squeeze(x).T.tolist() for name, x in record.items()}
        self.rollouts.append((rollout, {name: np.ravel(x).tolist() for name, x in end.items()}, int(age)))
        return {"params": agent["params"] + 1}

    def step(self, observation: float, reward: float, ends: str = "", at: float | None = None) -> None:
        self.agent.act([observation])
        self.agent.observe(reward, ends == "terminated", ends == "truncated", None if at is None else [at])


def test_environments_are_lived_one_after_another_until_the_rollout_is_whole() -> None:
    one = Counting()
    one.step(1, 10)
    one.step(2, 20, "terminated", at=3)  # the quota ends the first of two environments, and steps the second
    one.step(4, 40)
    one.step(5, 50)
    one.step(6, 60)
    one.step(7, 70, "truncated", at=8)
    assert not one.rollouts  # where the last episode leads is not known yet
    one.step(9, 90)
    [(rollout, end, age)] = one.rollouts
    assert age == 1
    assert rollout["observation"] == [[1, 2, 0, 0], [4, 5, 6, 7]]
    assert rollout["next_observation"] == [[2, 3, 0, 0], [5, 6, 7, 8]]
    assert rollout["action"] == [[1, 2, 0, 0], [3, 4, 5, 6]]
    assert rollout["reward"] == [[10, 20, 0, 0], [40, 50, 60, 70]]
    assert rollout["previous_action"] == [[0, 1, 0, 0], [0, 3, 4, 5]]
    assert rollout["previous_reward"] == [[0, 10, 0, 0], [0, 40, 50, 60]]
    assert rollout["first"] == [[True, False, False, False], [True, False, False, False]]
    assert rollout["terminated"] == [[False, True, False, False], [False] * 4]
    assert rollout["truncated"] == [[False] * 4, [False, False, False, True]]
    assert (end["observation"], end["previous_reward"], end["memory"]) == ([4, 9], [20, 70], [2, 4])
    assert one.agent.life.scene["memory"] == [1]  # blank in a new rollout


def test_a_scene_goes_on_over_rollouts_and_ends_of_episodes() -> None:
    both = Counting(envs=2, fresh=False, quota=None, adaptations=None)
    for time in range(9):
        both.agent.act(np.full((2, 1), time))
        over = np.array([time == 2, False])
        both.agent.observe([time, -time], over, False, np.full((2, 1), 100) if over.any() else None)
    assert len(both.rollouts) == 2
    rollout, end, _ = both.rollouts[0]
    assert rollout["next_observation"] == [[1, 2, 100, 4], [1, 2, 3, 4]]
    assert rollout["first"] == [[True, False, False, True], [True, False, False, False]]
    assert rollout["previous_reward"] == [[0, 0, 1, 2], [0, 0, -1, -2]]
    assert (end["observation"], end["previous_action"], end["memory"]) == ([4, 4], [4, 4], [4, 4])
    assert both.rollouts[1][0]["previous_action"] == [[4, 5, 6, 7]] * 2


def test_it_adapts_as_often_as_in_training() -> None:
    one = Counting(envs=None)
    for time in range(40):
        one.step(time, 1.0, "terminated", at=time + 1)
    assert [age for *_, age in one.rollouts] == [1, 2]
    assert one.agent.life.agent["params"] == [2]
    one.agent.reset()
    assert one.agent.life.agent["params"] == [0]


def test_an_agent_that_never_learns_need_not_observe() -> None:
    one = Counting(adaptations=0)
    assert [one.agent.act([0.0]) for _ in range(3)] == [1, 2, 3]
    assert int(one.agent.life.clock["step"]) == 2  # each action has its own key


def test_envs_divide_those_of_training() -> None:
    with pytest.raises(ValueError, match="envs is 3; it must be a divisor of 2"):
        Counting(envs=3)
