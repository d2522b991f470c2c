"""What second derivatives cost: time and memory of a meta-step by adaptations, and of a trust region's step.

    python benchmarks/gradients.py [--out FILE] [--adaptations 1 3 5 10] [--tasks 20]

2D navigation at the shapes of `maml-navigation`. Adaptations are differentiated forward over reverse (the default) or
reverse over reverse, kept or recomputed (`remat`); the trust region multiplies by its curvature as core/trust_region.py
does, or by the autodiff Hessian of the divergence with all tasks in one vmap. Every line is measured in a process of
its own.
"""

import argparse
import itertools
import json
import pathlib
import subprocess
import sys
from collections.abc import Callable
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
from speed import keep, timed

from metarl_jax.algorithms import make as make_algorithm
from metarl_jax.core import learner as learners
from metarl_jax.core import trust_region
from metarl_jax.core.batching import Devices
from metarl_jax.core.life import Life
from metarl_jax.core.objective import divergence
from metarl_jax.core.types import Record, Tree
from metarl_jax.core.window import Window, bound, live, turn_of
from metarl_jax.envs import make as make_environment
from metarl_jax.experiment import devices

FORMS = ["forward-over-reverse", "reverse-over-reverse"]
REGIONS = ["products-with-the-slope", "autodiff-hessian"]


def reverse_only(loss: Any) -> Any:
    """The inner gradient with the derivative that autodiff gives it."""
    return jax.grad(loss)


def autodiff_hessian(
    window: Window, meta_params: Tree, lives: Life, past: Record, devices: Devices
) -> Callable[[Tree], Tree]:
    """The product with the Hessian of the mean divergence: forward over reverse, all tasks side by side."""

    def distance(meta_params: Tree) -> Any:
        def one(past: Record, life: Life) -> Any:
            end = live(window, meta_params, bound(window, meta_params, life), past.seen).end
            return divergence(window.world.policy, end.agent, turn_of(past.seen, -1))

        return jnp.mean(jax.vmap(one)(past, lives))

    return lambda direction: devices.mean(jax.jvp(jax.grad(distance), (meta_params,), (direction,))[1])


def measure(form: str, adaptations: int, remat: bool, tasks: int) -> dict[str, Any]:
    """Time one way in this process."""
    devices.prepare()
    jax.config.update("jax_enable_compilation_cache", False)
    plain = form == "autodiff-hessian"
    outer = "trust_region" if form in REGIONS else "gradient"
    options = {"tasks": tasks, "envs": 20, "hidden": (100, 100), "adaptations": adaptations, "remat": remat}
    algorithm = make_algorithm("maml", outer=outer, chunk=tasks if plain else 0, **options)
    gradient = reverse_only if plain or form == "reverse-over-reverse" else learners.inner_gradient
    product = autodiff_hessian if plain else trust_region.curvature
    with (
        mock.patch.object(learners, "inner_gradient", gradient),
        mock.patch.object(trust_region, "curvature", product),
    ):
        mesh = None if plain else devices.task_mesh(tasks, 1)
        learner = algorithm.build(make_environment("navigation", steps=100), mesh)
        line = timed(learner, mesh)
    return {"workload": form, "adaptations": adaptations, "remat": remat, "tasks": tasks, **line}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, help="also write the lines as a JSON list")
    parser.add_argument("--adaptations", type=int, nargs="*", default=[1, 3, 5, 10])
    parser.add_argument("--tasks", type=int, default=20)
    parser.add_argument("--here", nargs=3, metavar=("FORM", "ADAPTATIONS", "REMAT"), help="measure in this process")
    arguments = parser.parse_args()
    if arguments.here:
        form, adaptations, remat = arguments.here
        print(json.dumps(measure(form, int(adaptations), remat == "True", arguments.tasks)))
        return
    ways = list(itertools.product(FORMS, arguments.adaptations, (False, True)))
    ways += [(form, 1, remat) for form, remat in zip([*REGIONS, REGIONS[0]], (False, False, True), strict=True)]
    lines = []
    for way in ways:
        command = [sys.executable, __file__, "--tasks", str(arguments.tasks), "--here", *map(str, way)]
        lines.append(subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip())
        print(lines[-1], flush=True)
    keep(lines, arguments.out)


if __name__ == "__main__":
    main()
