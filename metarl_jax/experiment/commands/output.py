"""What commands print."""

from typing import Any

from metarl_jax.experiment.streams import console


def announce(result: Any, quiet: bool) -> int:
    """Print the path and the evaluation of the run, of several processes in the first."""
    from metarl_jax.experiment import group

    if not group.leads():
        return 0
    table = None if quiet else result.evaluated()
    if table is not None:
        print_evaluation(table)
        print(f"more: metarl report {result.path}, or metarl play {result.path} --gif film.gif")
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
    """Print the table of a sweep and a sentence on the best options; of several seeds, what `print_evaluation` does."""
    from metarl_jax.experiment.sweep import report

    if not results.grid.over:
        return (print_evaluation if results.grid.base.run.evaluation_tasks else print_table)(results.table)
    winner = results.winner
    console().print(report.to_rich(results.table, results.grid, winner and winner.row))
    if winner is not None:
        print(report.verdict(results.table, winner))
    return None


def print_evaluation(table: Any, every: bool = False) -> None:
    """Print the table of an evaluation, and what it says in one sentence."""
    from metarl_jax.experiment.verdict import verdict

    print_table(table, every)
    print(verdict(table))


def print_table(table: Any, every: bool = False) -> None:
    """Print the table for a terminal: its methods as rows, a handful of columns or every column."""
    terminal = console()
    terminal.print(table.to_rich(terminal.width, every))


def print_comparison(table: Any) -> None:
    """Print a comparison, one line for each method, and what it shows."""
    from metarl_jax.experiment.comparison import to_rich, verdicts

    terminal = console()
    terminal.print(to_rich(table, terminal.width))
    for sentence in verdicts(table):
        terminal.print(sentence, highlight=False, markup=False)
