"""A sweep on disk: `sweep.json`, which says what was asked, a folder for each run, shared checkpoints, the table."""

from pathlib import Path
from typing import NamedTuple

import jax

from metarl_jax.experiment import rule_file, run_folder, sealed
from metarl_jax.experiment.config import RunConfig, learner_of, require
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.files import write_whole
from metarl_jax.experiment.run_folder import RunFolder
from metarl_jax.experiment.sweep.cohort import Cohort
from metarl_jax.experiment.sweep.grid import Grid, Member, label

FORMAT = 1
KIND = sealed.Kind("a sweep", "sweep.json and a folder for each run", "metarl sweep", "metarl sweep", FORMAT)
STEPS_TOGETHER = 2**20  # environment steps of a meta-step that a device takes at once by default: bounds the memory


class SweepFolder(NamedTuple):
    """The files of a sweep."""

    path: Path

    @property
    def description(self) -> Path:
        return self.path / "sweep.json"

    @property
    def table(self) -> Path:
        return self.path / "table.json"

    @property
    def figure(self) -> Path:
        return self.path / "sweep.png"

    @property
    def rule(self) -> Path:
        """The rule that its runs were given."""
        return self.path / "rule"

    def run(self, member: Member) -> RunFolder:
        """The folder of one of its runs."""
        return RunFolder(self.path / member.name)

    def checkpoints(self, number: int) -> Path:
        """The checkpoints of a cohort until its runs have their own."""
        return self.path / "checkpoints" / str(number)


def open_or_create(grid: Grid, together: int | None, out: str | Path | None) -> tuple[SweepFolder, Grid, int]:
    """The folder of a sweep, by default a new numbered one, its grid, and how many of its runs a program trains.

    Raises:
        UsageError: `out` is something else, or another sweep is in it.
    """
    if out is not None and SweepFolder(Path(out)).description.is_file():
        before, width = read(SweepFolder(Path(out)))
        same = before.to_json() == grid.to_json() and together in (None, width)
        remedy = "continue that one with `metarl resume`, or name another folder"
        require(same, "out", out, f"a new folder, because another sweep is in it: {remedy}")
        return SweepFolder(Path(out)), before, width  # whose order is that of the lanes
    width = together or min(map(fitting, grid.configs))
    folder = _new(grid, out)
    request = grid.to_json() | {"together": width}
    written = {"format": FORMAT, "request": request, **run_folder.circumstances()}
    write_whole(folder.description, sealed.written(written))
    return folder, grid, width


def _new(grid: Grid, out: str | Path | None) -> SweepFolder:
    stem = f"{grid.base.algorithm.name}-{grid.base.environment.name}"
    stem = f"sweep-{stem}" if grid.over else f"{stem}-seeds"
    folder = SweepFolder(run_folder.make_numbered(stem) if out is None else run_folder.make_new(Path(out)))
    if grid.base.rule is not None:
        rule_file.write(grid.base.rule, folder.rule)
    return folder


def read(folder: SweepFolder) -> tuple[Grid, int]:
    """The grid of a sweep, and how many of its runs a program trains.

    Raises:
        UsageError: it is no sweep, or was edited.
    """
    if not folder.description.is_file():
        raise UsageError(f"{folder.path} is not a sweep: it has no {folder.description.name}")
    request = sealed.read_card(folder.description, KIND, _is_sound)["request"]
    base = run_folder.rebuilt(RunFolder(folder.path), request["config"])
    return Grid(base, request["over"], tuple(request["seeds"])), int(request["together"])


def _is_sound(card: sealed.Card) -> bool:
    request = card["request"]
    counts = [request["together"], *request["seeds"]]
    known = isinstance(request["over"], dict) and sealed.are_words(*request["over"], card["device"], card["date"])
    return known and run_folder.is_config(request["config"]) and all(type(count) is int for count in counts)


def fitting(config: RunConfig) -> int:
    """How many such runs one program trains by default."""
    learner = learner_of(config.annealed(), config.environment, config.rule)
    return max(1, STEPS_TOGETHER // max(1, learner.env_steps)) * len(jax.devices())


def cohorts(folder: SweepFolder, grid: Grid, together: int) -> tuple[Cohort, ...]:
    """The runs of a grid by program, at most `together` at a time."""
    groups: dict[str, list[Member]] = {}
    for member in grid.members:
        static = {name: value for name, value in member.options.items() if name not in grid.varied}
        groups.setdefault(label(static), []).append(member)
    found: list[Cohort] = []
    for members in groups.values():
        width = -(-len(members) // -(-len(members) // together))
        for start in range(0, len(members), width):
            chosen = members[start : start + width]
            runs = tuple(folder.run(member) for member in chosen), tuple(member.config for member in chosen)
            where = folder.path, folder.checkpoints(len(found))
            found.append(Cohort(members[0].config, grid.varied, *runs, *where, width))
    return tuple(found)


def begin(folder: RunFolder, config: RunConfig) -> None:
    """Make the folder of a run, or see that it is that run's."""
    if folder.description.exists():
        require(run_folder.open_run(folder.path)[1] == config, "the folder", folder.path, "as its sweep has made it")
    else:
        folder.path.mkdir(exist_ok=True)
        run_folder.fill(folder, config)
