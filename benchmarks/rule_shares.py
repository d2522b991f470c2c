"""What a meta-step of `rule-grid` (speed.py) is made of: agents, the rule network, and the derivative of the window.

    python benchmarks/rule_shares.py [--out FILE]

Three programs are timed in turn: the whole meta-step; the same lives without their derivative; and these with a rule
that needs no network, which teaches the reward. Their differences are the shares. One JSON line a share.
"""

import argparse
import datetime
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import speed

from metarl_jax.algorithms import make
from metarl_jax.algorithms.learned_rule import learned_rule
from metarl_jax.core.meta import MetaLearner, meta_learner
from metarl_jax.core.networks import Network
from metarl_jax.core.update import watch
from metarl_jax.envs import make as make_environment
from metarl_jax.experiment import devices

WORKLOAD = speed.WORKLOADS["rule-grid"]
TASKS = WORKLOAD.tasks[0]


def no_network(policy: Any, width: int, predictions: int, gamma: Any) -> Network:
    """A rule that teaches the reward, and predictions that are all alike."""

    def apply(meta_params: Any, seen: Any) -> tuple[jax.Array, jax.Array]:
        return seen.reward, jnp.zeros((*seen.reward.shape, predictions))

    return Network(lambda key: {}, apply)


def only_living(algorithm: Any, mesh: Any) -> MetaLearner:
    """The lives of a meta-step, without a derivative."""
    window = algorithm.recipe(environment()).window
    return meta_learner(window, watch(window), TASKS, lifespan=algorithm.lifespan, mesh=mesh)


def environment() -> Any:
    return make_environment(WORKLOAD.environment, **WORKLOAD.env)


def seconds(learner: MetaLearner, mesh: Any) -> float:
    """The median time of a meta-step."""
    step, state, keys, _ = speed.compile_step(learner, mesh)
    return speed.median_seconds(step, state, keys)[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, help="also write the lines as a JSON list")
    given = parser.parse_args()
    devices.prepare()
    algorithm = make(WORKLOAD.algorithm, tasks=TASKS, **WORKLOAD.options)
    mesh = devices.task_mesh(TASKS, 1)
    whole, living = seconds(algorithm.build(environment(), mesh), mesh), seconds(only_living(algorithm, mesh), mesh)
    learned_rule.rule_network = no_network
    agents = seconds(only_living(algorithm, mesh), mesh)
    spent = {"agents": agents, "rule network": living - agents, "derivative of the window": whole - living}
    told = {"device": devices.describe(), "versions": devices.versions(), "date": datetime.date.today().isoformat()}
    lines = [
        json.dumps({"workload": "rule-grid", "part": part, "seconds": took, "share": took / whole, **told})
        for part, took in spent.items()
    ]
    print("\n".join(lines))
    speed.keep(lines, given.out)


if __name__ == "__main__":
    main()
