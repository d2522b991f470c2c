"""What commands print."""

from typing import Any


def announce(result: Any, quiet: bool) -> int:
    """Print the path and the evaluation of the run."""
    from metarl_jax.experiment import results
    from metarl_jax.experiment.run_folder import RunFolder

    evaluation = RunFolder(result.path).evaluation
    if evaluation.exists() and not quiet:
        print_table(results.read(evaluation))
    print(result.path)
    return 0


def print_table(table: Any) -> None:
    """Print the table for a terminal, transposed: one line for each column and one column for each method."""
    from rich.console import Console

    Console().print(table.to_rich())


def print_comparison(table: Any) -> None:
    """Print a comparison, one line for each method, and what it shows."""
    from rich.console import Console

    from metarl_jax.experiment.comparison import to_rich, verdicts

    console = Console()
    console.print(to_rich(table))
    for sentence in verdicts(table):
        console.print(sentence, highlight=False, markup=False)
