"""How runs, several runs and evaluations show themselves in a notebook."""

import base64
import math
from html import escape
from typing import TYPE_CHECKING, Any

from metarl_jax.experiment.progress import duration
from metarl_jax.experiment.results import Table, number
from metarl_jax.experiment.tables import to_html
from metarl_jax.experiment.verdict import verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from metarl_jax.experiment.api import Result
    from metarl_jax.experiment.sweep.results import Results


def line(result: "Result") -> str:
    """A run in one line: algorithm, environment, seed, progress, size of φ and cost."""
    import jax

    config, metrics = result.config, result.metrics
    size = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(result.meta_params))
    words = [
        f"{config.algorithm.name} on {config.environment.name}, seed {config.run.seed}",
        f"meta-step {result.step} of {config.run.meta_steps}",
        f"{size:,} meta-parameters",
    ]
    if len(metrics.get("env_steps", ())):
        words.append(f"{metrics['env_steps'][-1]:.3g} env steps in {duration(metrics['wall_seconds'][-1])}")
    return f"{', '.join(words)}: {result.path}"


def evaluation_html(table: Table, figure: "Figure") -> str:
    """The verdict, the table and the adaptation curve."""
    return f"<p>{escape(verdict(table))}</p>{to_html(table)}{picture(figure)}"


def result_html(result: "Result", table: Table | None) -> str:
    """The line of a run, and its saved evaluation, or its learning curves where it has none."""
    shown = evaluation_html(table, result.plot()) if table is not None else picture(result.plot("learning"))
    return f"<p>{escape(line(result))}</p>{shown}"


def lines(results: "Results") -> str:
    """Several runs in one line: algorithm, environment, options, seeds, and how many diverged."""
    grid = results.grid
    words = [f"{grid.base.algorithm.name} on {grid.base.environment.name}"]
    words += [f"{name} of {len(values)} values" for name, values in grid.over.items()]
    words.append(f"{len(grid.seeds)} seed{'s' * (len(grid.seeds) > 1)}")
    words += [f"{len(results.diverged)} of {len(grid.members)} runs diverged"] * bool(results.diverged)
    return f"{', '.join(words)}: {results.path}"


def results_html(results: "Results") -> str:
    """The line of several runs, what they found, and each of them by its return."""
    from metarl_jax.experiment.sweep.report import RETURN, heading
    from metarl_jax.experiment.sweep.report import verdict as best_of

    table, winner = results.table, results.winner
    if not results.grid.over and results.grid.base.run.evaluation_tasks:
        found = evaluation_html(table, results.plot())
    else:
        said = best_of(table, winner) if results.grid.over and winner is not None else ""
        figure = results.plot("sweep" if results.grid.over else "learning")
        found = f"<p>{escape(said)}</p>{to_html(table, [RETURN], heading(table, results.grid))}{picture(figure)}"
    return f"<p>{escape(lines(results))}</p>{found}{members_html(results)}"


def members_html(results: "Results") -> str:
    """A line for each run: its folder and its return."""
    from metarl_jax.experiment.sweep.report import final_return
    from metarl_jax.experiment.sweep.results import table_of

    rows = []
    for run in results.runs:
        value = final_return(table_of(run), results.grid.base.algorithm.name).value
        rows.append((run.path.name, "" if value is None else number(value, 3)))
    rows += [(path.name, "diverged") for path in results.diverged]
    body = "".join(f"<tr><td>{escape(name)}</td><td>{value}</td></tr>" for name, value in rows)
    head = "<tr><th>run</th><th>mean return</th></tr>"
    return f"<details><summary>{len(rows)} runs</summary><table>{head}{body}</table></details>"


def picture(figure: "Figure") -> str:
    """A figure as an image that needs no file."""
    from metarl_jax.experiment.drawing import png

    data: Any = base64.b64encode(png(figure)).decode()
    return f'<img alt="figure" style="max-width: 100%" src="data:image/png;base64,{data}">'
