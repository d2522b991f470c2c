"""RL² is PyTorch's: the worlds, the credit and the gradient of the peer that benchmarks/torch_rl2.py times."""

import functools
import importlib
import pathlib
import sys
import threading
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trees import double

from metarl_jax import begin, make_algorithm, make_environment
from metarl_jax.core.losses import standardised
from metarl_jax.core.policy import perception

torch = pytest.importorskip("torch", reason="a comparison with PyTorch; pip install -e '.[peers]'")
sys.path.append(str(pathlib.Path(__file__).parents[2] / "benchmarks"))
peer = importlib.import_module("torch_rl2")

TRIALS, WIDTH = 16, 5
WORLDS: dict[str, tuple[Any, Any, int]] = {  # theirs, ours, steps of a trial; 0 for all
    "bandit": (peer.Bandit(actions=3, steps=7), make_environment("bandit", arms=3, pulls=7), 0),
    "maze": (
        peer.Maze(size=3, patience=6, steps=11, quota=2),
        make_environment("maze", size=3, steps=6, episodes=2),
        11,  # enough for two episodes only where one of them finds the exit
    ),
}
FORMS = {"library": peer.LIBRARY, "stretches": peer.STRETCHES}


@functools.cache
def lived(name: str) -> tuple[Any, Any, Any, Any]:
    """Tasks [N], their record [T, N], parameters some way from those that acted, and the gradient there in float64."""
    _, environment, steps = WORLDS[name]
    algorithm = make_algorithm("rl2", tasks=TRIALS, width=WIDTH, steps=steps)
    recipe = algorithm.recipe(environment)
    world, loss = recipe.window.world, recipe.objective(jnp.int32(0)).loss
    params = world.policy.init(jax.random.key(0))

    @jax.jit
    @jax.vmap
    def live(key: Any) -> Any:
        task_key, key = jax.random.split(key)
        task = environment.sample_task(task_key, "train")
        return task, begin(world, params, task, key).seen

    task, seen = live(jax.random.split(jax.random.key(1), TRIALS))
    assert seen.memory is None  # blank
    record = jax.tree.map(lambda x: jnp.moveaxis(x[:, :, 0], 0, 1), seen._replace(earned=(), onward=()))
    record = record._replace(onward=seen.onward[:, 0])
    noise = jax.random.normal(jax.random.key(2), (200,))
    params = jax.tree.map(lambda x: x + 0.3 * noise[: x.size].reshape(x.shape), params)

    def outer(params: Any, record: Any) -> Any:
        return loss.surrogate(params, record, standardised(loss.credit(record), record.weight))

    with jax.enable_x64(True):
        params, record = double((params, record))
        return jax.device_get((task, record, params, jax.jit(jax.grad(outer))(params, record)))


def tensor(x: Any) -> Any:
    return torch.tensor(np.array(x))


def theirs(params: Any) -> Any:
    """Our parameters, or a gradient in them, in the library's layout."""
    gates = [params["memory"]["gates"][name] for name in ("reset", "update", "candidate")]
    heads = [params[name]["head"] for name in ("actor", "critic")]
    own = params["memory"]["own"]
    parts = {
        "of_input": np.concatenate([gate["input"].T for gate in gates]),
        "input_bias": np.concatenate([gate["bias"] for gate in gates]),
        "of_memory": np.concatenate([gate["recurrent"].T for gate in gates]),
        "memory_bias": np.concatenate([np.zeros_like(own), np.zeros_like(own), own]),
        "head": np.concatenate([head["kernel"].T for head in heads]),
        "head_bias": np.concatenate([head["bias"] for head in heads]),
    }
    return peer.Params(**{name: tensor(x) for name, x in parts.items()})


def tables(name: str, task: Any) -> Any:
    if name == "bandit":
        return tensor(task.mean)
    right, down = tensor(task.right)[:, :3, :2], tensor(task.down)[:, :2, :3]
    return WORLDS[name][0].tables(torch.cat([right.flatten(1), down.flatten(1)], 1))


@pytest.mark.parametrize("name", WORLDS)
def test_the_torch_environment_answers_as_ours(name: str) -> None:
    world, environment, _ = WORLDS[name]
    task, record, _, _ = lived(name)
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
    _, seen, params, expected = lived(name)
    final = np.any(seen.final, axis=0)
    assert np.all(final) if name == "bandit" else np.any(final) and not np.all(final)
    inputs = perception(WORLDS[name][1]).features(seen.timestep)
    columns = (inputs, seen.action, seen.log_prob, seen.value, seen.reward, seen.weight, seen.final)
    record = peer.Record(*map(tensor, columns))._replace(action=tensor(seen.action).long())
    batch = peer.credited(record._replace(inputs=record.inputs.double()), tensor(seen.next_value[-1]), lambda x: x)
    params = peer.Params(*(x.requires_grad_() for x in theirs(params)))
    found, expected = peer.Params(*peer.gradient(FORMS[form], params, batch)), theirs(expected)
    for part, values in expected._asdict().items():
        ours = slice(2 * WIDTH, None) if part == "memory_bias" else slice(None)  # which has one for the candidate alone
        np.testing.assert_allclose(getattr(found, part)[ours], values[ours], rtol=1e-5, atol=1e-9, err_msg=part)


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
