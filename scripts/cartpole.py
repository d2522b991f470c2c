"""CartPole with unknown physics: RL² by episode, MAML by gradient step, references beside.

    python scripts/cartpole.py [--settings mild+flip wide+flip scrambled maml] [--seeds 1] [--tasks 10000]

Trains what is not trained yet (runs/cartpole/...; an interrupted run is resumed), evaluates on held-out tasks and
writes benchmarks/results/cartpole.json. Settings that are left out keep the rows that the file has.
"""

import argparse
import pathlib

from published import Runs, merge, steps, write

from metarl_jax.experiment.results import Table

RESULTS = pathlib.Path(__file__).parents[1] / "benchmarks" / "results" / "cartpole.json"
SETTINGS = {  # over the defaults of `metarl train ALGORITHM cartpole`
    "mild+flip": ("rl2", {}, {"physics": "mild"}),
    "wide+flip": (
        "rl2",
        {"meta_steps": 2500, "tasks": 512, "epochs": 2, "minibatches": 8, "meta_lr": 2e-3},
        {"physics": "wide"},
    ),
    "scrambled": (
        "rl2",
        {
            "meta_steps": 2750,
            "lifespan": 50,
            "width": 128,
            "tasks": 512,
            "epochs": 2,
            "minibatches": 8,
            "meta_lr": 1.5e-3,
        },
        {"physics": "wide", "scrambled": True, "steps": 200, "episodes": 16},
    ),
    "maml": (
        "maml",
        {"adaptations": 3, "inner_lr": 0.3, "learned_rates": True, "meta_lr": 2e-3, "meta_steps": 300},
        {"physics": "mild", "steps": 200, "episodes": 1},
    ),
    "maml-without-steps": (  # the control: the same pipeline, and no step is taken
        "maml",
        {"adaptations": 3, "inner_lr": 0.0, "meta_lr": 2e-3, "meta_steps": 300},
        {"physics": "mild", "steps": 200, "episodes": 1},
    ),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--settings", nargs="*", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--tasks", type=int, default=10_000)
    arguments = parser.parse_args()
    table = Table("cartpole", seeds=list(range(arguments.seeds)), tasks=arguments.tasks)
    for setting in arguments.settings:
        algorithm, options, environment = SETTINGS[setting]
        runs = Runs("cartpole", setting, algorithm, "cartpole", options, environment, arguments.seeds)
        add = by_step if algorithm == "maml" else by_episode
        add(table, setting, runs, arguments.tasks)
    write(merge(table, RESULTS), RESULTS)


def by_episode(table: Table, setting: str, runs: Runs, tasks: int) -> None:
    """A memory's return in each episode of the trial, with its memory kept and with it erased."""
    runs.add(table, "rl2-gru", setting, tasks)
    runs.add(table, "rl2-gru-greedy", setting, tasks, greedy=True)
    runs.add(table, "rl2-gru-forgetting", setting, tasks, forgetting=True)
    runs.add_scratch(table, setting, tasks)
    runs.add_references(table, setting, tasks)


def by_step(table: Table, setting: str, runs: Runs, tasks: int) -> None:
    """MAML's return after each gradient step, and that of a random network given the same experience."""
    runs.add(table, setting, "mild+flip", tasks, steps, kind="step", first=0)
    if setting == "maml":
        runs.add_scratch(table, "mild+flip", tasks, steps, kind="step")


if __name__ == "__main__":
    main()
