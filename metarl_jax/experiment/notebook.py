"""How runs and evaluations show themselves in a notebook."""

import base64
import math
from html import escape
from typing import TYPE_CHECKING, Any

from metarl_jax.experiment.progress import duration
from metarl_jax.experiment.results import Table
from metarl_jax.experiment.tables import to_html
from metarl_jax.experiment.verdict import verdict

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from metarl_jax.experiment.api import Result


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


def picture(figure: "Figure") -> str:
    """A figure as an image that needs no file."""
    from metarl_jax.experiment.drawing import png

    data: Any = base64.b64encode(png(figure)).decode()
    return f'<img alt="figure" style="max-width: 100%" src="data:image/png;base64,{data}">'
