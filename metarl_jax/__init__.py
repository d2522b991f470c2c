"""Meta-reinforcement learning as one fused JAX program.

φ ← φ − α ∇φ E_task[ L( f_φ(task) ) ], where f_φ is a lifetime of learning in one task. The public names are listed in
the order of the formula, and each is imported on first use.
"""

import importlib
from typing import Any

_HOMES = {
    # environments and tasks
    "Environment": "core.environment",
    "Episodic": "core.environment",
    "Box": "core.environment",
    "Discrete": "core.environment",
    "Step": "core.types",
    "Timestep": "core.types",
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
    "mlp": "core.networks",
    "Experience": "core.types",
    "rollout": "core.rollout",
    "replay": "core.rollout",
    # losses of a policy
    "Loss": "core.losses",
    "Credit": "core.types",
    "reinforce": "core.losses",
    "actor_critic": "core.losses",
    "ppo": "core.losses",
    "dpo": "core.losses",
    "q_learning": "core.q_values",
    "boltzmann_policy": "core.q_values",
    "per_step": "core.losses",
    # learners
    "Agent": "core.types",
    "Learner": "core.learner",
    "frozen": "core.learner",
    "gradient_learner": "core.learner",
    "History": "core.learner",
    "inner_gradient": "core.learner",
    "inner_optimiser": "core.learner",
    # lives
    "World": "core.life",
    "Life": "core.life",
    "begin": "core.life",
    "turn": "core.life",
    "run": "core.life",
    # objectives of lives, and how they are differentiated
    "Objective": "core.objective",
    "final": "core.objective",
    "mean": "core.objective",
    "Estimator": "core.learner",
    "ESTIMATORS": "core.learner",
    "Window": "core.window",
    # the outer loop
    "Update": "core.update",
    "chain": "core.update",
    "watch": "core.update",
    "backprop": "core.backprop",
    "Passes": "core.backprop",
    "record": "core.backprop",
    "relive": "core.backprop",
    "penalised": "core.backprop",
    "trust_region": "core.trust_region",
    "evolution": "core.evolution",
    "negative_return": "core.evolution",
    "persistent": "core.persistent",
    "strategy": "core.strategies",
    "imitate": "core.imitation",
    "independent": "core.imitation",
    "MetaLearner": "core.meta",
    "meta_learner": "core.meta",
    "evaluate": "core.evaluation",
    # algorithms by name, and the parts of a user-defined one
    "ALGORITHMS": "algorithms",
    "make_algorithm": "algorithms",
    "Algorithm": "algorithms.base",
    "Recipe": "algorithms.base",
    "Between": "core.checks",
    # the shell
    "train": "experiment.api",
    "sweep": "experiment.sweep.sweep",
    "plan": "experiment.plan",
    "resume": "experiment.api",
    "resume_sweep": "experiment.sweep.sweep",
    "load": "experiment.api",
    "load_sweep": "experiment.sweep.sweep",
    "load_rule": "experiment.api",
    "Rule": "experiment.rule",
    "build": "experiment.api",
    "adapt": "experiment.api",
    "compare": "experiment.api",
    "report": "experiment.report.report",
    "films": "experiment.films",
    "export": "experiment.agents.export",
    "reproduce": "experiment.reproduction.reproduction",
    "Result": "experiment.api",
    "Results": "experiment.sweep.results",
}
_CALLED = {"make_environment": "make", "make_algorithm": "make", "make_memory": "make"}  # name in the module

__version__ = "0.1.0"
__all__ = [*_HOMES, "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'metarl_jax' has no attribute {name!r}")
    home = importlib.import_module(f"metarl_jax.{_HOMES[name]}")
    return getattr(home, _CALLED.get(name, name))


def __dir__() -> list[str]:
    return sorted(__all__)
