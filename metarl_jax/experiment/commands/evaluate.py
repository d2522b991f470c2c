"""metarl evaluate, compare, report: what reads runs."""

from pathlib import Path
from typing import Any

from tyro.conf import Positional

from metarl_jax.experiment.commands.output import print_comparison, print_evaluation


def evaluate(
    run: Positional[Path],
    *,
    json: bool = False,
    split: str = "test",
    tasks: int | None = None,
    adaptations: int | None = None,
    seed: int = 0,
    from_scratch: bool | None = None,
    all: bool = False,
    quiet: bool = False,
) -> int:
    """Evaluate a run on held-out tasks, in comparison with random, from-scratch and reference agents.

    $ metarl evaluate runs/maml-navigation-0-1 --no-from-scratch
    $ metarl evaluate runs/maml-navigation-0-1 --split extrapolation --tasks 500 --adaptations 5
    $ metarl evaluate runs/maml-navigation-0-1 --all
    $ metarl evaluate runs/maml-navigation-0-1 --json > table.json

    Args:
        run: The run folder.
        json: Print the table as JSON.
        split: test: held-out tasks of the training distribution; extrapolation: tasks outside it.
        tasks: Number of tasks; by default as in the evaluation at the end of training.
        adaptations: Number of adaptations; by default as in training.
        seed: Seed of the tasks and episodes.
        from_scratch: Whether an agent also learns each task from scratch, in almost half of the time; by default as in
            the evaluation at the end of training.
        all: Print every column rather than a handful.
        quiet: Print no progress.
    """
    from metarl_jax.experiment import api
    from metarl_jax.experiment.evaluation import check_request

    check_request(split, 1 if tasks is None else tasks, seed)
    how: dict[str, Any] = {"split": split, "tasks": tasks, "seed": seed, "adaptations": adaptations}
    how |= {"from_scratch": from_scratch, "quiet": quiet}
    table = api.load(run).evaluate(**how).table
    if json:
        print(table.to_json())
    else:
        print_evaluation(table, all)
    return 0


def compare(
    runs: Positional[tuple[Path, ...]], *, json: bool = False, split: str = "test", tasks: int = 200, seed: int = 0
) -> int:
    """Compare runs in one environment on the same held-out tasks, with their differences to the first.

    Runs of one configuration that differ in their seed count as one method if there are others.

    $ metarl compare runs/maml-navigation-0-1 runs/rl2-navigation-0-1
    $ metarl compare runs/maml-navigation-seeds-1 runs/rl2-navigation-seeds-1

    Args:
        runs: The run folders, or those of several seeds.
        json: Print the table as JSON.
        split: test: held-out tasks of the training distribution; extrapolation: tasks outside it.
        tasks: Number of tasks.
        seed: Seed of the tasks and episodes.
    """
    from metarl_jax.experiment import api

    how: dict[str, Any] = {"split": split, "tasks": tasks, "seed": seed}
    table = api.compare(*runs, **how)
    if json:
        print(table.to_json())
    else:
        print_comparison(table)
    return 0


def report(
    runs: Positional[tuple[Path, ...]],
    *,
    out: Path | None = None,
    split: str = "test",
    tasks: int | None = None,
    seed: int = 0,
    from_scratch: bool | None = None,
    overwrite: bool = False,
    quiet: bool = False,
) -> int:
    """Write one HTML file on a run, or on several side by side: what was learned, charts, and films of the agent.

    $ metarl report runs/rl2-maze-0-1
    $ metarl report runs/rl2-maze-0-1 runs/maml-maze-0-1 --out compared.html

    Args:
        runs: The run folders, all in one environment.
        out: The file; by default report.html in the folder of the run, or in the current folder for several.
        split: test: held-out tasks of the training distribution; extrapolation: tasks outside it.
        tasks: Number of tasks; by default as in the evaluation at the end of training.
        seed: Seed of the tasks and episodes.
        from_scratch: Whether an agent also learns each task from scratch, in almost half of the time; by default as in
            the evaluation at the end of training.
        overwrite: Replace the file if it exists.
        quiet: Print no progress.
    """
    from metarl_jax.experiment.report.report import report as write

    how: dict[str, Any] = {"split": split, "tasks": tasks, "seed": seed, "from_scratch": from_scratch}
    how |= {"overwrite": overwrite, "quiet": quiet}
    print(write(*runs, out=out, **how))
    return 0
