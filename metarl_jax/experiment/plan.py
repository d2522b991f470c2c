"""What a run will take, before it begins: compilation, memory, disk, and time by a few of its own meta-steps."""

import dataclasses
import time
from pathlib import Path
from typing import Any

import jax

from metarl_jax.experiment import api, devices, group, memory, training
from metarl_jax.experiment.config import RunConfig, resolve
from metarl_jax.experiment.progress import duration, short
from metarl_jax.experiment.rule import Rule

SECONDS = 2.0  # of measurement, or a meta-step


@dataclasses.dataclass(frozen=True)
class Plan:
    """What a run will take on this machine; None for what was not measured."""

    algorithm: str
    environment: str
    tasks: int
    """Of one meta-step."""
    meta_steps: int
    env_steps: int
    """Of the whole training."""
    parameters: int
    """Numbers in φ."""
    compile_seconds: float
    """Little where the program was compiled before and is in the cache, as it is after this."""
    memory_bytes: int
    """By the compiled program's own analysis, with a copy of the state that is saved; on each accelerator."""
    free_bytes: int
    checkpoint_bytes: int
    """Of each checkpoint."""
    checkpoints: int
    """How many are kept."""
    meta_step_seconds: float | None
    env_steps_per_second: float | None
    training_seconds: float | None
    """Expected, with compilation, without the evaluation at the end."""
    device: str

    def to_json(self) -> dict[str, Any]:
        """All fields by name."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        """A line for each fact."""
        each = self.env_steps // self.meta_steps
        lines = [
            ("run", f"{self.algorithm} on {self.environment}, {self.meta_steps:,} meta-steps of {self.tasks:,} tasks"),
            ("device", self.device),
            ("parameters", f"{self.parameters:,}"),
            ("env steps", f"{short(self.env_steps)}, {short(each)} a meta-step"),
            ("compilation", f"{self.compile_seconds:.1f} s"),
            ("memory", f"{memory.gib(self.memory_bytes)}, and {memory.gib(self.free_bytes)} are free"),
            ("checkpoints", f"{self.checkpoints} of {self.checkpoint_bytes / 2**20:.3g} MiB"),
        ]
        if self.training_seconds is not None and self.env_steps_per_second and self.meta_step_seconds:
            speed = f"{short(self.env_steps_per_second)} env steps/s, {self.meta_step_seconds:.3g} s a meta-step"
            lines += [("speed", speed), ("training", duration(self.training_seconds))]
        return "\n".join(f"{name:13}{words}" for name, words in lines)


def plan(
    algorithm: str | None = None,
    /,  # an option may have this name
    environment: str | None = None,
    *,
    rule: Rule | str | Path | None = None,
    preset: str = "default",
    env: dict[str, Any] | None = None,
    measure: bool = True,
    **options: Any,
) -> Plan:
    """What `train` with the same arguments will take; nothing is written.

    The program of the run is compiled and, with `measure`, a few of its meta-steps are taken.

    Raises:
        UsageError: as for `train`.
        TooLarge: it needs more memory than there is; the message names a number that fits.
    """
    return planned(
        resolve(algorithm, environment, preset=preset, env=env, rule=api.given_rule(rule), **options), measure
    )


def planned(config: RunConfig, measure: bool = True) -> Plan:
    """`plan` with a given configuration."""
    devices.prepare()
    api.check(config)
    free, start = memory.available(), time.perf_counter()
    wanted = memory.check(config, training.needed)
    compiled = time.perf_counter() - start
    learner = training.programs_of(config)[0].learner
    state = jax.eval_shape(learner.init, training.run_keys(config.run.seed).birth)
    length = config.run.meta_steps
    each = seconds_of_meta_step(config) if measure else None
    return Plan(
        algorithm=config.algorithm.name,
        environment=config.environment.name,
        tasks=config.algorithm.tasks,
        meta_steps=length,
        env_steps=length * learner.env_steps,
        parameters=sum(leaf.size for leaf in jax.tree.leaves(state.meta_params)),
        compile_seconds=compiled,
        memory_bytes=wanted,
        free_bytes=free,
        checkpoint_bytes=memory.size(state),
        checkpoints=config.run.keep,
        meta_step_seconds=each,
        env_steps_per_second=None if each is None else learner.env_steps / each,
        training_seconds=None if each is None else compiled + length * each,
        device=devices.describe(),
    )


def seconds_of_meta_step(config: RunConfig) -> float:
    """The time of a meta-step by the program of the run, after one that warms up."""
    (_, init, chunk), mesh = training.programs_of(config)
    keys = training.run_keys(config.run.seed)
    state, _, finite = chunk(group.everywhere(init(keys.birth), mesh), keys.root, 0, 1)
    jax.block_until_ready(finite)
    done, spent, start = 0, 0.0, time.perf_counter()
    while spent < SECONDS:
        left = (SECONDS - spent) * done / spent if done else 1
        count = max(1, min(config.run.log_every, round(left)))
        state, _, finite = chunk(state, keys.root, 1 + done, count)
        jax.block_until_ready(finite)
        done, spent = done + count, time.perf_counter() - start
    return spent / done
