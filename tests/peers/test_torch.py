"""The meta-gradient of MAML is PyTorch's, where everything from the forward pass to the baseline is written anew."""

from typing import Any

import numpy as np
import pytest

from peers.golden import golden, named, restored
from peers.maml import CASES, GAMMA, INNER_LR, lived, loss_and_gradient, shapes

torch = pytest.importorskip("torch", reason="a comparison with PyTorch; pip install -e '.[peers]'")

Named = dict[str, Any]  # path of a leaf -> tensor


def tensors(tree: Any) -> Named:
    return {name: torch.tensor(np.array(leaf)) for name, leaf in named(tree).items()}


def in_torch(phi: Any, seen: Any) -> tuple[Any, Named]:
    """Loss and meta-gradient by torch.func through the adaptations, of [K+1] turns of one task."""
    phi, turns = tensors(phi), tensors(seen)
    record = [{name: x[k] for name, x in turns.items()} for k in range(len(seen.reward))]
    credits = [advantage(turn) for turn in record]

    def loss(params: Named, turn: int) -> Any:
        ratio = torch.exp(log_probability(params, record[turn]) - record[turn]["log_prob"])
        return -(ratio * credits[turn] * record[turn]["weight"]).sum() / record[turn]["weight"].sum()

    def adapted(phi: Named) -> Any:
        params = {name.removeprefix("params."): x for name, x in phi.items() if name.startswith("params.")}
        for turn in range(len(record) - 1):
            step = torch.func.grad(loss)(params, turn)
            params = {name: x - INNER_LR * phi.get(f"rates.{name}", 1.0) * step[name] for name, x in params.items()}
        return loss(params, len(record) - 1)

    gradient, value = torch.func.grad_and_value(adapted)(phi)
    return value, gradient


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
    phi, past = lived(case)
    assert np.any(past.terminated)
    assert np.any(past.weight == 0) == case.startswith("navigation")  # which waits at an end; the other starts again
    (loss, found), (value, expected) = in_torch(phi, past), loss_and_gradient(case, phi, past)
    np.testing.assert_allclose(loss, value, rtol=1e-7, atol=1e-12)
    assert found.keys() == named(expected).keys()
    for name, values in named(expected).items():
        np.testing.assert_allclose(found[name], values, rtol=1e-7, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("case", CASES)
def test_golden_numbers_are_those_of_torch(case: str) -> None:
    stored = golden("maml", case)
    phi, seen = (restored(*pair) for pair in zip(shapes(case), (stored["phi"], stored["seen"]), strict=True))
    loss, gradient = in_torch(phi, seen)
    np.testing.assert_allclose(loss, stored["loss"][""], rtol=1e-9, atol=1e-12)
    for name, values in gradient.items():
        np.testing.assert_allclose(values, stored["gradient"][name], rtol=1e-9, atol=1e-12, err_msg=name)
