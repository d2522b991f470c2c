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


def announce_all(results: Any, quiet: bool, json: bool = False) -> int:
    """Print the table of several runs, the best options, and the paths of all runs and of the best."""
    if json:
        print(results.table.to_json())
        return 0
    if not quiet:
        print_sweep(results)
    print(results.path)
    if results.grid.over and results.best is not None:
        print(results.best.path)
    return 0


def print_sweep(results: Any) -> None:
    """Print the table of a sweep and a sentence on the best options; of several seeds, their table."""
    from rich.console import Console

    from metarl_jax.experiment import sweep_report

    if not results.grid.over:
        return print_table(results.table)
    winner = results.winner
    Console().print(sweep_report.to_rich(results.table, results.grid, winner and winner.row))
    if winner is not None:
        print(sweep_report.verdict(results.table, winner))
    return None


def print_table(table: Any) -> None:
    """Print the table for a terminal, transposed: one line for each column and one column for each method."""
    from rich.console import Console

    Console().print(table.to_rich())
