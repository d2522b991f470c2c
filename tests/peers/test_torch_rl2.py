"""RL² is PyTorch's: the worlds, the credit and the gradient of the peer that benchmarks/torch_rl2.py times."""

import importlib
import pathlib
import sys
import threading
from typing import Any

import numpy as np
import pytest

from metarl_jax.core.policy import perception
from peers import rl2
from peers.golden import golden, restored
from peers.rl2 import TRIALS, comparable, inputs, lived, loss_and_gradient, theirs

torch = pytest.importorskip("torch", reason="a comparison with PyTorch; pip install -e '.[peers]'")
sys.path.append(str(pathlib.Path(__file__).parents[2] / "benchmarks"))
peer = importlib.import_module("torch_rl2")

WORLDS: dict[str, Any] = {
    "bandit": peer.Bandit(actions=3, steps=7),
    "maze": peer.Maze(size=3, patience=6, steps=11, quota=2),
}
FORMS = {"library": peer.LIBRARY, "stretches": peer.STRETCHES}


def tensor(x: Any) -> Any:
    return torch.tensor(np.array(x))


def tables(name: str, task: Any) -> Any:
    if name == "bandit":
        return tensor(task.mean)
    right, down = tensor(task.right)[:, :3, :2], tensor(task.down)[:, :2, :3]
    return WORLDS[name].tables(torch.cat([right.flatten(1), down.flatten(1)], 1))


def in_torch(name: str, form: str, params: Any, seen: Any) -> tuple[Any, Any]:
    """The loss of PPO and its gradient."""
    columns = (inputs(name, seen), seen.action, seen.log_prob, seen.value, seen.reward, seen.weight, seen.final)
    record = peer.Record(*map(tensor, columns))._replace(action=tensor(seen.action).long())
    batch = peer.credited(record, tensor(seen.next_value[-1]), lambda x: x)
    params = peer.Params(**{part: tensor(x).requires_grad_() for part, x in theirs(params).items()})
    how = FORMS[form]
    loss = how.surrogate(params, how.replay(how, params, batch.inputs), batch)
    return loss.detach(), peer.Params(*peer.gradient(how, params, batch))


@pytest.mark.parametrize("name", WORLDS)
def test_the_torch_environment_answers_as_ours(name: str) -> None:
    world, environment = WORLDS[name], rl2.WORLDS[name][0]
    task, _, record = lived(name)
    expected, ended = perception(environment).features(record.timestep), record.terminated | record.truncated
    task, blank = tables(name, task), torch.zeros(TRIALS, dtype=torch.int64)
    state = (blank,) * world.numbers
    inputs = peer.perceive(world, task, state, blank, torch.zeros(TRIALS), blank == 0)
    for t in range(world.steps):
        np.testing.assert_allclose(inputs, expected[t], rtol=1e-6)
        action, luck = tensor(record.action[t]).long(), tensor(1 - record.reward[t])  # a pull pays as it did
        state, reward, over = world.step(task, state, action, luck)
        np.testing.assert_allclose(reward, record.reward[t], rtol=1e-6)
        np.testing.assert_array_equal(over, ended[t])
        state = tuple(torch.where(over, 0, x) for x in state)
        inputs = peer.perceive(world, task, state, action, reward, over)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", WORLDS)
def test_the_gradient_of_ppo_is_that_of_torch(name: str, form: str) -> None:
    _, params, seen = lived(name)
    final = np.any(seen.final, axis=0)
    assert np.all(final) if name == "bandit" else np.any(final) and not np.all(final)
    (loss, found), (value, expected) = in_torch(name, form, params, seen), loss_and_gradient(name, params, seen)
    np.testing.assert_allclose(loss, value, rtol=1e-7)
    for part, values in theirs(expected).items():
        ours = comparable(part)
        np.testing.assert_allclose(getattr(found, part)[ours], values[ours], rtol=1e-7, atol=1e-12, err_msg=part)


@pytest.mark.parametrize("name", WORLDS)
def test_golden_numbers_are_those_of_torch(name: str) -> None:
    stored = golden("rl2", name)
    given = (restored(*pair) for pair in zip(rl2.shapes(name), (stored["params"], stored["record"]), strict=True))
    loss, gradient = in_torch(name, "library", *given)
    np.testing.assert_allclose(loss, stored["loss"][""], rtol=1e-9)
    for part, values in gradient._asdict().items():
        np.testing.assert_allclose(values, stored["gradient"][part], rtol=1e-9, atol=1e-12, err_msg=part)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("workload", peer.WORLDS)
def test_a_replay_repeats_the_recorded_outputs(workload: str, form: str) -> None:
    team = peer.Team(1, torch.zeros(1, 1), threading.Barrier(1))
    learner = peer.Learner(workload, peer.FORMS["usual"], 4, team, 0)
    learner.how = FORMS[form]
    learner.check()


def test_corridors_are_spanning_trees() -> None:
    maze = peer.Maze()
    opened = peer.spanning_trees(*maze.walls(), 8, maze.size**2)  # each opening joins two regions
    np.testing.assert_array_equal(opened.sum(1), maze.size**2 - 1)
