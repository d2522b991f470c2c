"""The progress of a training run: a bar on a terminal, plain lines elsewhere, or nothing."""

import contextlib
import sys
from collections.abc import Callable, Iterator

from metarl_jax.experiment.run_folder import Line

Report = Callable[[Line], None]
BOOKKEEPING = ("meta_step", "env_steps", "wall_seconds")
SHOWN = 3  # diagnostics a line


@contextlib.contextmanager
def reporter(start: int, total: int, quiet: bool) -> Iterator[Report]:
    """A function to call with every line of metrics; everything goes to standard error."""
    if quiet:
        yield lambda line: None
    elif sys.stderr.isatty():
        with _bar(start, total) as report:
            yield report
    else:
        yield lambda line: print(f"meta-step {line['meta_step']}/{total}  {summary(line)}", file=sys.stderr, flush=True)


def summary(line: Line) -> str:
    """A short summary: returns, some other diagnostics and the cost so far."""
    diagnostics = [name for name in line if name not in BOOKKEEPING and line[name] is not None]
    diagnostics.sort(key=lambda name: not name.startswith("return"))
    words = [f"{name} {line[name]:.4g}" for name in diagnostics[:SHOWN]]
    return "  ".join([*words, f"{line['env_steps']:.3g} env steps", f"{line['wall_seconds']:.1f} s"])


@contextlib.contextmanager
def _bar(start: int, total: int) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("compiling", total=total, completed=start)

        def report(line: Line) -> None:
            progress.update(task, completed=int(line["meta_step"]), description=summary(line))

        yield report
