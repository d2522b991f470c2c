"""metarl plan: what a run will take."""

from collections.abc import Sequence
from json import dumps
from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import OmitArgPrefixes, Positional, UseAppendAction

from metarl_jax.experiment.commands.style import STYLE
from metarl_jax.experiment.commands.train import beginning


def plan(algorithm: Positional[str], environment: Positional[str], *, json: bool = False, measure: bool = True) -> int:
    """Say what a run will take: compilation, memory, environment steps, time, disk; or that it does not fit.

    It has the options of `metarl train`, compiles the program of the run, takes a few meta-steps, and writes nothing.

    $ metarl plan maml navigation
    $ metarl plan rl2 maze --tasks 4096 --meta-steps 2000
    $ metarl plan learned_rule random_abc --no-measure --json

    Args:
        algorithm: Name of the algorithm; `metarl list` prints all.
        environment: Name of the environment; `metarl list` prints all.
        json: Print JSON.
        measure: Take a few meta-steps, for the speed and the time.
    """
    return plan_with_flags(algorithm, environment, ["--json"] * json + ["--no-measure"] * (not measure))


def plan_with_flags(algorithm: str, environment: str, flags: Sequence[str]) -> int:
    """Plan with the flags that this pair has."""
    from metarl_jax.experiment import config
    from metarl_jax.experiment.plan import planned

    program = f"metarl plan {algorithm} {environment}"
    start, flags, given = beginning(algorithm, environment, flags, program)

    def flagged(
        run: Annotated[config.RunOptions, OmitArgPrefixes, UseAppendAction] = start.run,
        algorithm: Annotated[config.Algorithm, OmitArgPrefixes] = start.algorithm,
        environment: Annotated[config.Environment, tyro.conf.arg(name="env")] = start.environment,
        preset: str = start.preset,
        rule: Path | None = given,
        json: bool = False,
        measure: bool = True,
    ) -> int:
        """Say what a run will take: compilation, memory, environment steps, time, disk; or that it does not fit.

        Args:
            preset: Selects all other defaults; a tiny run takes seconds.
            rule: Folder of a run that has learned a rule, by which fresh agents learn; it sets the algorithm's options.
            json: Print JSON.
            measure: Take a few meta-steps, for the speed and the time.
        """
        found = planned(config.RunConfig(algorithm, environment, preset, run, start.rule), measure)
        print(dumps(found.to_json(), indent=1) if json else found)
        return 0

    return tyro.cli(flagged, prog=program, args=flags, config=STYLE)
