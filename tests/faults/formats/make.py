"""Write a small run of every algorithm, as the version at hand stores it: python tests/faults/formats/make.py VERSION.

The runs of a released version are never written again: what later versions read in them has to stay the same. `disco`
is left out, since its runs name a file of weights that is not in them.
"""

import dataclasses
import sys
from pathlib import Path

from metarl_jax import algorithms
from metarl_jax.experiment import api

HERE = Path(__file__).parent
SHORT = {"preset": "tiny", "meta_steps": 2, "log_every": 1, "keep": 1, "quiet": True}
SHORT |= {"evaluation_tasks": 4, "from_scratch": False}
SMALL = {"tasks": 8, "hidden": (3,), "width": 8, "layers": 1}


def small(name: str) -> dict[str, object]:
    """The options that make an algorithm small, as far as it has them."""
    own = {field.name for field in dataclasses.fields(algorithms.everything()[name])}
    return {option: value for option, value in SMALL.items() if option in own}


def main(version: str) -> None:
    for name in algorithms.ALGORITHMS:
        if name == "disco":
            continue
        run = api.train(name, "bandit", out=HERE / version / name, **SHORT, **small(name)).path
        for drawn in ("adaptation.png", "metrics.csv"):
            (run / drawn).unlink()


if __name__ == "__main__":
    main(*sys.argv[1:])
