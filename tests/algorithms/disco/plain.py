"""Disco103 once more, in NumPy and one step at a time: as the published code defines it, with its names of tensors."""

from typing import Any, NamedTuple

import numpy as np

HIDDEN, LIFETIME = 256, 128
BINS = np.arange(-300, 301)


class Outputs(NamedTuple):
    """Logits at a timestep: [A], [M], [A, M], [A, A], [A, 601]."""

    policy: Any
    y: Any
    z: Any
    next_policy: Any
    q: Any


class Happened(NamedTuple):
    """One step of one environment."""

    now: Outputs
    after: Outputs
    slow_now: Outputs
    slow_after: Outputs
    behaviour: Any  # [A] logits
    action: int
    reward: float
    terminated: bool
    truncated: bool


def softmax(x: Any) -> Any:
    e = np.exp(x - x.max(-1, keepdims=True))
    return e / e.sum(-1, keepdims=True)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def slog(x: Any) -> Any:
    return np.sign(x) * np.log(1 + np.abs(x))


def values(q: Any) -> Any:
    """[A] numbers of [A, 601] logits."""
    x = softmax(q) @ BINS
    return np.sign(x) * (((np.sqrt(1 + 4e-3 * (1e-3 + 1 + np.abs(x))) - 1) / 2e-3) ** 2 - 1)


class Plain:
    """The rule with its memory of a lifetime."""

    def __init__(self, tensors: dict[str, Any]) -> None:
        self.tensors = {name: tensor.astype(np.float64) for name, tensor in tensors.items()}
        self.hidden = self.cell = np.zeros(LIFETIME)
        self.mean = self.square = 0.0
        self.unseen = 1.0

    def linear(self, name: str, x: Any) -> Any:
        w = self.tensors[f"{name}/w"]
        return x @ w.reshape(w.shape[-2:]) + self.tensors[f"{name}/b"]

    def mlp(self, name: str, x: Any) -> Any:
        return self.linear(f"{name}/~/linear_1", np.maximum(self.linear(f"{name}/~/linear_0", x), 0))

    def pooled(self, name: str, x: Any) -> Any:
        return np.maximum(self.linear(name, np.concatenate([x, np.tile(x.mean(0), (len(x), 1))], -1)), 0)

    def lstm(self, name: str, x: Any, hidden: Any, cell: Any) -> tuple[Any, Any]:
        i, g, f, o = np.split(self.linear(name, np.concatenate([x, hidden])), 4)
        cell = sigmoid(f + 1) * cell + sigmoid(i) * np.tanh(g)
        return sigmoid(o) * np.tanh(cell), cell

    def returns(self, steps: list[Happened], gamma: float, lambda_: float) -> list[float]:
        """Retrace of one environment, from the last step to the first."""
        found: list[float] = []
        for t in reversed(range(len(steps))):
            step = steps[t]
            total = step.reward
            if not step.terminated:
                total += gamma * float(softmax(step.after.policy) @ values(step.slow_after.q))
            if t + 1 < len(steps) and not step.terminated and not step.truncated:
                later = steps[t + 1]
                chance, drawn = softmax(later.now.policy)[later.action], softmax(later.behaviour)[later.action]
                correction = found[-1] - values(later.slow_now.q)[later.action]
                total += gamma * lambda_ * min(1.0, chance / drawn) * float(correction)
            found.append(total)
        return found[::-1]

    def normalised(self, x: Any) -> Any:
        mean = self.mean / (1 - self.unseen)
        variance = max(self.square / (1 - self.unseen) - mean**2, 0.0)
        return (x - mean) / (np.sqrt(variance + 1e-12) + 1e-6)

    def features(self, prefix: str, step: Happened, advantage: float) -> tuple[Any, Any]:
        a = step.action
        views = (step.now, step.after, step.slow_now, step.slow_after)
        policy, next_policy = softmax(step.now.policy), softmax(step.after.policy)
        behaviour, slow_policy = softmax(step.behaviour), softmax(step.slow_now.policy)
        z, next_z, slow_z, slow_next_z = (self.mlp(f"{prefix}mlp_1", softmax(view.z))[:, 0] for view in views)
        q = values(step.slow_now.q)
        gain = q - policy @ q
        hot = np.eye(len(policy))[a]
        columns = [policy, behaviour, slow_policy, z, slow_z, slog(q), slog(gain), self.normalised(gain), hot]
        of_actions = self.pooled(f"{prefix}sequential/conv1_d", np.stack(columns, -1))
        of_actions = self.pooled(f"{prefix}sequential/conv1_d_1", of_actions)
        features = [policy[a], behaviour[a], slog(step.reward), 1.0 - step.terminated]
        features += [slog(policy @ values(step.now.q)), slog(next_policy @ values(step.after.q))]
        features += [slog(advantage), self.normalised(advantage), slow_policy[a]]
        features += [self.mlp(f"{prefix}mlp", softmax(view.y))[0] for view in views]
        features += [z[a], policy @ z, next_policy @ next_z, z.max(), next_z.max()]
        features += [slow_z[a], policy @ slow_z, next_policy @ slow_next_z, slow_z.max(), slow_next_z.max()]
        return np.concatenate([features, of_actions.mean(0), of_actions[a]]), of_actions

    def __call__(self, environments: list[list[Happened]], gamma: float, lambda_: float) -> Any:
        """The targets of each step of each environment, (policy, y, z); moves on the memory."""
        advantages = []
        for steps in environments:
            found = self.returns(steps, gamma, lambda_)
            worth = [float(softmax(step.now.policy) @ values(step.slow_now.q)) for step in steps]
            advantages.append([one - other for one, other in zip(found, worth, strict=True)])
        self.mean = 0.99 * self.mean + 0.01 * np.mean(advantages)
        self.square = 0.99 * self.square + 0.01 * np.mean(np.square(advantages))
        self.unseen *= 0.99
        both = list(zip(environments, advantages, strict=True))
        targets = [self.proposed(steps, advantage) for steps, advantage in both]
        self.remember(both, targets)
        return [[target[:3] for target in found] for found in targets]

    def proposed(self, steps: list[Happened], advantages: list[float]) -> list[Any]:
        targets: list[Any] = []
        hidden = cell = np.zeros(HIDDEN)
        for step, advantage in reversed(list(zip(steps, advantages, strict=True))):
            if step.terminated or step.truncated:
                hidden = cell = np.zeros(HIDDEN)
            features, of_actions = self.features("lstm/", step, advantage)
            hidden, cell = self.lstm("lstm/lstm/linear", features, hidden, cell)
            x = hidden * self.linear("lstm/linear", self.hidden)
            mixed = np.stack([np.concatenate([x, e]) for e in of_actions])
            policy = self.linear("lstm/linear_4", self.pooled("lstm/sequential_1/conv1_d", mixed))[:, 0]
            y, z, summary = (self.linear(f"lstm/linear_{i}", x) for i in (2, 3, 1))
            targets.append((policy, y, z, summary))
        return targets[::-1]

    def remember(self, both: list[Any], targets: list[Any]) -> None:
        prefix, rows = "lstm/~/meta_lstm/~unroll/", []
        for (steps, advantages), found in zip(both, targets, strict=True):
            for step, advantage, (_, y, _, summary) in zip(steps, advantages, found, strict=True):
                features, _ = self.features(prefix, step, advantage)
                goal = self.mlp(f"{prefix}mlp", softmax(y))
                rows.append(self.linear(f"{prefix}mlp_2/~/linear_0", np.concatenate([features, summary, goal])))
        mean = np.mean(rows, axis=0)
        self.hidden, self.cell = self.lstm(f"{prefix}lstm/linear", mean, self.hidden, self.cell)
