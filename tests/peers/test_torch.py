"""The meta-gradient of MAML is PyTorch's, where everything from the forward pass to the baseline is written anew."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from trees import double

from metarl_jax import make_algorithm, make_environment
from metarl_jax.core.life import unborn
from metarl_jax.core.types import Record
from metarl_jax.core.window import bound, entered, judged, live

torch = pytest.importorskip("torch", reason="a comparison with PyTorch; pip install -e '.[peers]'")

GAMMA, INNER_LR = 0.9, 0.1
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "navigation-1": ("navigation", {"adaptations": 1}),
    "navigation-2": ("navigation", {"adaptations": 2}),
    "navigation-rates": ("navigation", {"adaptations": 2, "learned_rates": True}),
    "tabular-1": ("tabular", {"adaptations": 1, "steps": 8}),  # two episodes and the start of a third
    "tabular-2": ("tabular", {"adaptations": 2, "steps": 8}),
}
WORLDS: dict[str, dict[str, Any]] = {
    "navigation": {"steps": 10},
    "tabular": {"states": 3, "actions": 3, "steps": 3},
}
Named = dict[str, Any]  # path of a leaf -> tensor


def relived(case: str) -> tuple[Any, Any, Any]:
    """φ, the record [K+1, T, E] of a life and its meta-gradient, in float64."""
    name, options = CASES[case]
    environment = make_environment(name, **WORLDS[name])
    algorithm = make_algorithm("maml", envs=6, hidden=(5, 4), gamma=GAMMA, inner_lr=INNER_LR, **options)
    recipe = algorithm.recipe(environment)
    window, objective = recipe.window, recipe.objective(jnp.int32(0))
    learner = window.world.learner
    task_key, phi_key, noise_key, key = jax.random.split(jax.random.key(0), 4)
    task = environment.sample_task(task_key, "train")
    if name == "navigation":  # a corner that clipped strides reach, so that some episodes terminate
        task = environment.check_task({"goal": (0.1, 0.1)})
    life = unborn(task, key)
    phi = learner.meta_init(phi_key)
    noise = jax.random.normal(noise_key, (100,))  # away from zero biases and a flat head
    phi["params"] = jax.tree.map(lambda x: x + 0.3 * noise[: x.size].reshape(x.shape), phi["params"])
    seen = jax.jit(lambda phi: live(window, phi, entered(window, phi, life)).seen)(phi)

    def loss(phi: Any, seen: Any) -> Any:
        past = Record(seen, jax.vmap(objective.loss.credited)(seen))
        return judged(window, objective, phi, bound(window, phi, life), past)[0]

    with jax.enable_x64(True):
        phi, seen = double((phi, seen))
        return jax.device_get((phi, seen, jax.jit(jax.grad(loss))(phi, seen)))


def tensors(tree: Any) -> Named:
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="."): torch.tensor(np.array(leaf)) for path, leaf in leaves
    }


def meta_gradient(phi: Named, record: list[Named]) -> Named:
    """torch.func through the adaptations, [K+1] turns of one task."""
    credits = [advantage(turn) for turn in record]

    def loss(params: Named, turn: int) -> Any:
        ratio = torch.exp(log_probability(params, record[turn]) - record[turn]["log_prob"])
        return -(ratio * credits[turn] * record[turn]["weight"]).sum() / record[turn]["weight"].sum()

    def lived(phi: Named) -> Any:
        params = {name.removeprefix("params."): x for name, x in phi.items() if name.startswith("params.")}
        for turn in range(len(record) - 1):
            step = torch.func.grad(loss)(params, turn)
            params = {name: x - INNER_LR * phi.get(f"rates.{name}", 1.0) * step[name] for name, x in params.items()}
        return loss(params, len(record) - 1)

    return torch.func.grad(lived)(phi)


def log_probability(params: Named, turn: Named) -> Any:
    """Of the recorded actions under a network of two hidden layers, [T, E]."""
    x = turn["timestep.observation"]
    for layer in ("hidden_0", "hidden_1"):
        x = torch.tanh(torch.einsum("tei,io->teo", x, params[f"actor.{layer}.kernel"]) + params[f"actor.{layer}.bias"])
    x = torch.einsum("tei,io->teo", x, params["actor.head.kernel"]) + params["actor.head.bias"]
    if "log_std" not in params:
        chosen = torch.gather(x, -1, turn["action"].long()[..., None])[..., 0]
        return chosen - torch.logsumexp(x, -1)
    density = torch.distributions.Normal(x, params["log_std"].exp(), validate_args=False)
    return density.log_prob(turn["action"]).sum(-1)


def advantage(turn: Named) -> Any:
    """Returns without what the baseline explains of them, at mean 0 and deviation 1 over the steps that count."""
    returns, time = returns_and_time(turn)
    weight = turn["weight"]
    left = returns - baseline(turn["timestep.observation"], time, weight, returns)
    left = left - (left * weight).sum() / weight.sum()
    squares = left**2 + (1e-3 * returns) ** 2  # advantages that are no more than rounding of the returns count little
    return left / ((squares * weight).sum() / weight.sum() + 1e-12).sqrt()


def returns_and_time(turn: Named) -> tuple[Any, Any]:
    """Discounted sums of the rewards to the end of each episode, and the steps since its beginning, [T, E]."""
    reward, over = turn["reward"], turn["terminated"] | turn["truncated"]
    returns, time = torch.zeros_like(reward), torch.zeros_like(reward)
    steps, envs = reward.shape
    for env in range(envs):
        for step in range(steps):
            time[step, env] = 0 if turn["timestep.first"][step, env] else time[step - 1, env] + 1
            for later in range(step, steps):
                returns[step, env] += GAMMA ** (later - step) * reward[later, env]
                if over[later, env]:
                    break
    return returns, time


def baseline(observation: Any, time: Any, weight: Any, returns: Any) -> Any:
    """Ridge regression on [s, s², t, t², t³, 1], as least squares with one more row a feature, twice, [T, E]."""
    clock = time[..., None] / 100
    features = torch.cat([observation, observation**2, clock, clock**2, clock**3], -1).flatten(0, 1)
    share = weight.flatten()[:, None] / weight.sum()
    features = features - (share * features).sum(0)
    features = features / ((share * features**2).sum(0) + 1e-8).sqrt()
    features = torch.cat([features, torch.ones_like(share)], -1)
    rows = torch.cat([share.sqrt() * features, 1e-5**0.5 * torch.eye(features.shape[1], dtype=features.dtype)])
    fitted, penalty = torch.zeros_like(share), torch.zeros_like(features[0])[:, None]
    for _ in range(2):
        goals = torch.cat([share.sqrt() * (returns.flatten()[:, None] - fitted), penalty])
        fitted = fitted + features @ torch.linalg.lstsq(rows, goals).solution
    return fitted.reshape(returns.shape)


@pytest.mark.parametrize("case", CASES)
def test_the_meta_gradient_is_that_of_torch(case: str) -> None:
    phi, past, expected = relived(case)
    record = [tensors(jax.tree.map(lambda x, k=k: x[k], past)) for k in range(len(past.reward))]
    assert np.any(past.terminated)
    assert np.any(past.weight == 0) == case.startswith("navigation")  # which waits at an end; the other starts again
    found, expected = meta_gradient(tensors(phi), record), tensors(expected)
    assert found.keys() == expected.keys()
    for name, values in expected.items():
        np.testing.assert_allclose(found[name], values, rtol=1e-7, atol=1e-12, err_msg=name)
