"""metarl export: what takes an agent away."""

from pathlib import Path

from tyro.conf import Positional


def export(run: Positional[Path], *, out: Path) -> int:
    """Export the agent of a run: a folder from which it acts and learns with JAX alone, without this package.

    It holds the meta-parameters, a card, compiled programs, and agent.py, which shows how to use them.

    $ metarl export runs/maml-navigation-0-1 --out agent

    Args:
        run: The run folder, or another export.
        out: New folder.
    """
    from metarl_jax.experiment.agents.export import export

    print(export(run, out))
    return 0
