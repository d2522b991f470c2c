"""Meta-reinforcement learning as one fused JAX program.

φ ← φ − α ∇φ E_task[ L( f_φ(task) ) ], where f_φ is a lifetime of learning in one task. The public names, in the order
of the formula; nothing is imported before it is used.
"""

import importlib
from typing import Any

_HOMES = {
    # environments and tasks
    "Environment": "core.environment",
    "make_environment": "envs",
    "ENVIRONMENTS": "envs",
    "from_gymnax": "envs",
    "to_gymnax": "envs",
    "to_gymnasium": "envs",
    # policies, and acting
    "Policy": "core.policy",
    "mlp_policy": "core.policy",
    "memory_policy": "core.policy",
    "Memory": "core.memory",
    "make_memory": "core.memories",
    "rollout": "core.rollout",
    "replay": "core.rollout",
    # learners and lifetimes
    "Learner": "core.learner",
    "inner_gradient": "core.learner",
    "inner_optimiser": "core.learner",
    "Lifetime": "core.lifetime",
    "begin_lifetime": "core.lifetime",
    "run_lifetime": "core.lifetime",
    # the outer loop
    "MetaLearner": "core.meta",
    "backprop": "core.backprop",
    "trust_region": "core.trust_region",
    "evolution": "core.evolution",
    "evaluate": "core.evaluation",
    # algorithms by name
    "ALGORITHMS": "algorithms",
    "make_algorithm": "algorithms",
    # the shell
    "train": "experiment.api",
    "resume": "experiment.api",
    "load": "experiment.api",
    "build": "experiment.api",
    "adapt": "experiment.api",
    "Result": "experiment.api",
}
_CALLED = {"make_environment": "make", "make_algorithm": "make", "make_memory": "make"}  # by their name at home

__version__ = "0.1.0"
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'metarl_jax' has no attribute {name!r}")
    home = importlib.import_module(f"metarl_jax.{_HOMES[name]}")
    return getattr(home, _CALLED.get(name, name))


def __dir__() -> list[str]:
    return sorted(__all__)
