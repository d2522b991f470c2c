"""Presets: overrides of the defaults, as plain data.

`tiny` takes seconds on a laptop and is one set for all algorithms, except for two that take long to compile and for a
few pairs that are shown first; overrides of fields that an algorithm or an environment does not have are ignored.
`default` holds the changes that an algorithm, or a pair of one with an environment, needs from the defaults of its
fields.
"""

import dataclasses
from typing import Any

PRESETS = ("tiny", "default")


@dataclasses.dataclass(frozen=True)
class Preset:
    """Overrides by field name."""

    algorithm: dict[str, Any] = dataclasses.field(default_factory=dict)
    environment: dict[str, Any] = dataclasses.field(default_factory=dict)
    run: dict[str, Any] = dataclasses.field(default_factory=dict)

    def __or__(self, special: "Preset") -> "Preset":
        """These overrides, overridden by those of `special`."""
        return Preset(
            self.algorithm | special.algorithm, self.environment | special.environment, self.run | special.run
        )


TINY = Preset(
    algorithm={"tasks": 8, "envs": 4, "hidden": (16, 16), "width": 16, "pairs": 4},
    environment={},
    run={"meta_steps": 10, "log_every": 5, "checkpoint_every": 5, "evaluation_tasks": 8},
)

# Compilation is most of such a run. Lives of one window are compiled in the meta-step alone, and not in the first state
# too; ten turns, which are a loop, compile faster than five that are unrolled. Large steps show in ten turns.
BRIEF: dict[str, Any] = {"adaptations": 10, "hidden": (16,)}
BRIEF_RUN = {"meta_steps": 30, "log_every": 5, "checkpoint_every": 15, "evaluation_tasks": 50, "from_scratch": False}
TINY_ALGORITHMS: dict[str, Preset] = {
    "intrinsic_reward": Preset(algorithm=BRIEF | {"lifespan": 1, "inner_lr": 3.0, "value_weight": 0.05}, run=BRIEF_RUN),
    "learned_rule": Preset(algorithm=BRIEF | {"lifespan": (1, 1), "inner_lr": 2.0}, run=BRIEF_RUN),
}

# Rewards of a distance are large, and so are the gradients of a Gaussian policy.
GENTLE = {"inner_lr": 0.01, "value_weight": 0.5}

# Tiny runs that end far above chance, in a minute on two cores.
TINY_PAIRS: dict[tuple[str, str], Preset] = {
    ("maml", "navigation"): Preset(
        algorithm={"tasks": 16, "envs": 10, "hidden": (32, 32), "meta_lr": 3e-3},
        run={"meta_steps": 80, "log_every": 10, "checkpoint_every": 40, "evaluation_tasks": 50},
    ),
    ("intrinsic_reward", "bandit"): Preset(algorithm={"inner_lr": 40.0, "value_weight": 0.005}),
    ("intrinsic_reward", "navigation"): Preset(algorithm=GENTLE),
    ("rl2", "bandit"): Preset(
        algorithm={"tasks": 512, "width": 32, "gamma": 1.0, "lambda_": 0.9, "meta_lr": 4e-3},
        run={"meta_steps": 60, "log_every": 10, "checkpoint_every": 30, "evaluation_tasks": 50},
    ),
    # An attempt is as long as the longest way to an exit, so that a walker who does not know the way may fail.
    ("rl2", "maze"): Preset(
        algorithm={"tasks": 128, "width": 32, "epochs": 2, "gamma": 0.98, "meta_lr": 4e-3},
        environment={"size": 3, "episodes": 3, "openings": 0.0, "steps": 8},
        run={
            "meta_steps": 100,
            "log_every": 10,
            "checkpoint_every": 50,
            "evaluation_tasks": 200,
            "from_scratch": False,
        },
    ),
}

DEFAULT = Preset(run={"meta_steps": 500, "log_every": 10, "checkpoint_every": 100, "evaluation_tasks": 200})

OF_ALGORITHM: dict[str, Preset] = {
    # An evaluation lives whole lives of large agents.
    "disco": Preset(run={"evaluation_tasks": 8}),
}
WHOLE_RUN = -1
MEMORY = {"anneal": WHOLE_RUN, "gamma": 0.98, "lifespan": 16, "steps": 64}
# Many trials in a single pass, with a linear memory, which can count. The horizon is shorter than a trial.
PULLS = {"memory": "linear", "tasks": 4096, "epochs": 1, "minibatches": 32, "meta_lr": 3e-3} | {
    "anneal": WHOLE_RUN,
    "gamma": 0.98,
    "lambda_": 0.95,
    "entropy": 0.05,
}
SEARCH = {"anneal": WHOLE_RUN, "gamma": 0.997, "lambda_": 0.98, "epochs": 1, "minibatches": 32, "entropy": 0.05}
# Rewards are rare in a large dark room, so agents first learn which actions lead to one: a shorter horizon.
DARK = SEARCH | {"gamma": 0.95, "lambda_": 0.9, "meta_lr": 6e-3}
# One layer of attention looks up where rewards came from. Ten episodes, three adaptations apart, span most of what the
# source learns in a dark room.
HISTORIES = {"layers": 1, "meta_lr": 3e-3, "anneal": WHOLE_RUN}
SEARCHES = HISTORIES | {"tasks": 48, "envs": 16, "stride": 3, "temperature": 0.03}
TAUGHT = {"log_every": 5, "checkpoint_every": 10}

PAIRS: dict[tuple[str, str], Preset] = {
    ("rl2", "cartpole"): Preset(
        # Short lives give more data on the decisive first steps; a long horizon keeps the cart from drifting off.
        algorithm=MEMORY
        | {"gamma": 0.99, "lifespan": 8, "epochs": 2}
        | {"hidden": (64,), "meta_lr": 4e-3, "entropy": 1e-3, "across_episodes": False},
        run={"meta_steps": 350, "log_every": 25},
    ),
    ("rl2", "maze"): Preset(
        algorithm=MEMORY | {"width": 128, "tasks": 512, "epochs": 1, "minibatches": 32},
        environment={"smallest": 2},
        run={"meta_steps": 4000},
    ),
    ("rl2", "bandit"): Preset(
        algorithm={"tasks": 2000, "gamma": 1.0, "lambda_": 0.9, "meta_lr": 4e-3, "anneal": WHOLE_RUN},
        run={"meta_steps": 400},
    ),
    # With the clock the critic need not count the remaining pulls.
    ("rl2", "two_arm"): Preset(algorithm=PULLS, environment={"clock": True}, run={"meta_steps": 120}),
    # A choice is rewarded one step later, and both choices are equally informative: a short horizon.
    ("rl2", "two_step"): Preset(
        algorithm={"tasks": 512, "gamma": 0.9, "lambda_": 0.9, "meta_lr": 3e-3, "anneal": WHOLE_RUN}
        | {"epochs": 1, "minibatches": 16},
        run={"meta_steps": 150},
    ),
    # Exploration in the first episode pays in the later ones: little discounting. One pass over many trials learns as
    # much per gradient as several passes over few. Many routes visit equally many cells, but few leave the remaining
    # cells along one path: much entropy, otherwise the agent settles for the first route that it finds.
    ("rl2", "gridnavi"): Preset(
        algorithm=SEARCH | {"tasks": 1024, "meta_lr": 3e-3, "entropy": 0.1, "critic_knows_task": True},
        run={"meta_steps": 400},
    ),
    ("rl2", "dark_room"): Preset(algorithm=DARK | {"tasks": 1024}, run={"meta_steps": 400}),
    ("rl2", "key_to_door"): Preset(algorithm=DARK | {"entropy": 0.03, "tasks": 512}, run={"meta_steps": 400}),
    ("varibad", "gridnavi"): Preset(
        algorithm=SEARCH
        | {"gamma": 0.95, "lambda_": 0.95, "meta_lr": 2e-3, "epochs": 4, "minibatches": 8, "entropy": 0.08}
        | {"reward_model": "bernoulli", "pays_at_arrival": True, "decoder": (64, 64), "kl_weight": 0.01}
        | {"beliefs": 10, "updates": 16, "kept": 2048, "model_lr": 2e-3},
        run={"meta_steps": 700},
    ),
    # Attention looks up past rewards of a state and action; a recurrence would have to store a sum for each pair.
    ("rl2", "tabular"): Preset(
        algorithm={"memory": "attention", "tasks": 1024, "epochs": 1, "minibatches": 32, "meta_lr": 3e-3}
        | {"anneal": WHOLE_RUN, "gamma": 0.95, "lambda_": 0.8, "entropy": 0.02},
        run={"meta_steps": 400},
    ),
    ("algorithm_distillation", "dark_room"): Preset(algorithm=SEARCHES, run=TAUGHT | {"meta_steps": 80}),
    # The histories of Algorithm Distillation with another teacher: random walks seldom come to distant goals.
    ("decision_pretrained", "dark_room"): Preset(
        algorithm=SEARCHES | {"source": "policy_gradient"}, run=TAUGHT | {"meta_steps": 80}
    ),
    ("algorithm_distillation", "two_arm"): Preset(
        algorithm=HISTORIES | {"width": 32, "stride": 1, "hidden": (), "inner_lr": 0.1, "chunk": 32},
        environment={"clock": True},
        run=TAUGHT | {"meta_steps": 100},
    ),
    ("decision_pretrained", "two_arm"): Preset(
        algorithm=HISTORIES | {"width": 32}, environment={"clock": True}, run=TAUGHT | {"meta_steps": 100}
    ),
    ("maml", "navigation"): Preset(algorithm={"envs": 20, "hidden": (100, 100)}),
    ("intrinsic_reward", "navigation"): Preset(algorithm=GENTLE),
}


def preset(name: str, algorithm: str, environment: str) -> Preset:
    """The overrides of the preset `name`, one of `PRESETS`, for this pair."""
    chosen = OF_ALGORITHM.get(algorithm, Preset()) | PAIRS.get((algorithm, environment), Preset())
    tiny = TINY | TINY_ALGORITHMS.get(algorithm, Preset()) | TINY_PAIRS.get((algorithm, environment), Preset())
    return tiny if name == "tiny" else DEFAULT | chosen
