"""A run on disk: `run.json` (configuration, versions, devices), metrics, `checkpoints/`, `rule/`, figures."""

import contextlib
import datetime
import logging
import os
import reprlib
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from metarl_jax import algorithms, envs
from metarl_jax.core.checks import nearest
from metarl_jax.experiment import checkpoint, devices, files, group, rule_file, sealed
from metarl_jax.experiment.config import RunConfig, digest
from metarl_jax.experiment.errors import Interrupted, UnusableRun, UsageError
from metarl_jax.experiment.lock import HOLDER
from metarl_jax.experiment.metrics import read_metrics
from metarl_jax.experiment.plugins import check_lies_elsewhere, find_plugin, is_plugin
from metarl_jax.experiment.rule import Rule

FORMAT = 1
KIND = sealed.Kind("a run", "run.json and what a run writes beside it", "metarl train", "metarl train", FORMAT)
log = logging.getLogger("metarl_jax")


class RunFolder(NamedTuple):
    """The files of one run."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.jsonl"

    @property
    def spreadsheet(self) -> Path:
        """The same as `metrics`."""
        return self.path / "metrics.csv"

    @property
    def description(self) -> Path:
        return self.path / "run.json"

    @property
    def rule(self) -> Path:
        """The rule that the run has learned, or was given."""
        return self.path / "rule"

    @property
    def evaluation(self) -> Path:
        return self.path / "evaluation.json"

    @property
    def figure(self) -> Path:
        return self.path / "adaptation.png"

    def clear_drafts(self) -> None:
        """Delete what writes of this folder's files that were killed have left."""
        paths = self.metrics, self.spreadsheet, self.description, self.rule, self.evaluation, self.figure
        own = {HOLDER, *(path.name for path in paths)}
        for name in os.listdir(self.path):
            if files.drafted(name) in own:
                files.discard(self.path / name)
        checkpoint.clear_drafts(self.checkpoints)


def create(config: RunConfig, out: str | Path | None) -> RunFolder:
    """Make the folder of a new run: `out`, or the first free `runs/<algorithm>-<environment>-<seed>-<n>`.

    A given rule is copied into it.

    Raises:
        UsageError: `out` exists.
    """
    stem = f"{config.algorithm.name}-{config.environment.name}-{config.run.seed}"
    return fill(RunFolder(make_new(Path(out)) if out is not None else make_numbered(stem)), config)


def fill(folder: RunFolder, config: RunConfig) -> RunFolder:
    """Write what a run begins with into its new folder."""
    if config.rule is not None:
        rule_file.write(config.rule, folder.rule)
    describe(folder, config)
    return folder


@contextlib.contextmanager
def discarded_if_unused(path: Path, runs: Iterable[RunFolder]) -> Iterator[None]:
    """Remove a new folder if what is done in it fails before one of its runs has learned anything: its name is free."""
    try:
        yield
    except Interrupted:  # it can be resumed
        raise
    except Exception:
        used = any(read_metrics(run.metrics) or run.checkpoints.exists() for run in runs)
        if group.leads() and not used and not RunFolder(path).checkpoints.exists():  # a sweep has some of its own
            shutil.rmtree(path)
        raise


def describe(folder: RunFolder, config: RunConfig, step: int = 0) -> None:
    """Write `run.json`, at the start of a run and when it goes on from `step` with other options, which it lists."""
    now = config.to_json()
    if folder.description.exists():
        before = described(folder)
        options = differences(before["config"], now)
        before["changed"] = [*before.get("changed", []), {"meta_step": step, "options": options}]
    else:
        before = {"format": FORMAT, "run": config.digest(), **circumstances()}
    _write_description(folder, before | {"config": now, "seals": seals(now)})


def seals(config: dict[str, Any]) -> dict[str, str]:
    """A short digest of every option, by which an edited one is known."""
    return {f"{part}.{name}": digest({name: value})[:8] for part, name, value in _options(config)}


def differences(before: dict[str, Any], now: dict[str, Any]) -> dict[str, list[Any]]:
    """The options that differ between two configurations, by name: the value before, and now."""
    old = {(part, name): value for part, name, value in _options(before)}
    return {name: [old.get((part, name)), x] for part, name, x in _options(now) if old.get((part, name)) != x}


def circumstances() -> dict[str, Any]:
    """Everything except the configuration that the last bits of a result depend on, and the date."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    used = {"versions": devices.versions(), "device": devices.describe(), "precision": devices.precision()}
    return {**used, "numbers": devices.numbers(), "date": now}


def check_numbers(folder: RunFolder) -> None:
    """Raise a UsageError if a run was trained with settings of JAX under which its numbers are others than now.

    A run that is older than this record was trained with float32; its other settings are not known.
    """
    began = {"JAX_ENABLE_X64": False} | described(folder).get("numbers", {})
    for name, now in devices.numbers().items():
        before = began.get(name, now)
        if before != now:
            was, is_now = int(before), int(now)
            rule = f"was trained with {name}={was}, and {name} is {is_now} now, which gives other numbers"
            raise UsageError(f"{folder.path} {rule}; set {name}={was} before JAX is imported")


def note_change(folder: RunFolder, step: int) -> None:
    """Warn, and note in `run.json`, if a run continues from `step` with other versions, devices or precision.

    Notes on steps that are repeated are dropped.
    """
    description, now = described(folder), circumstances()
    noted = description.get("continued", [])
    spans = [span for span in noted if span["meta_step"] < step]
    latest = spans[-1] if spans else description
    changed = _changes(latest, now)
    if changed:
        others = " and ".join(changed)
        log.warning("%s was started with other %s: the rest will not be the same bit for bit", folder.path, others)
        spans.append({"meta_step": step, **now})
    if spans != noted:
        _write_description(folder, description | {"continued": spans})


def _changes(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """What is different now, in words: `versions (jax 0.10.0, now 0.11.0)`."""
    found = []
    for name in ("versions", "device", "precision"):
        was, is_now = before.get(name, now[name]), now[name]
        if was != is_now and isinstance(is_now, dict):
            parts = [f"{key} {was.get(key)}, now {value}" for key, value in is_now.items() if was.get(key) != value]
            found.append(f"{name} ({'; '.join(parts)})")
        elif was != is_now:
            found.append(f"{name} ({was}, now {is_now})")
    return found


def forget_divergence(folder: RunFolder, step: int) -> None:
    """Drop the note of a divergence after `step`, where the run goes on before it."""
    description = described(folder)
    if description.get("diverged", 0) > step:
        _write_description(folder, {name: x for name, x in description.items() if name != "diverged"})


def identity(folder: RunFolder) -> str:
    """The digest of the configuration with which a run began, to which its checkpoints are bound."""
    return str(described(folder)["run"])


def note_saved(folder: RunFolder, step: int) -> None:
    """Note in `run.json` that the run was saved at `step`: from then on it never begins anew."""
    _write_description(folder, described(folder) | {"saved": step})


def delete_surplus(folder: RunFolder, keep: int) -> None:
    """Delete the checkpoints that the last save would have deleted if it had not been killed, if that is possible."""
    with contextlib.suppress(OSError):
        checkpoint.delete_old(folder.checkpoints, identity(folder), keep)


def restore(folder: RunFolder, like: Any) -> tuple[int, Any] | None:
    """Step and state of the newest usable checkpoint of a run; None if it was never saved. See `checkpoint.newest`.

    Raises:
        UnusableRun: the run was saved, but no checkpoint is usable.
    """
    description = described(folder)
    saved = description.get("saved", 0)  # before the search, since the run may go on meanwhile
    return at_least(saved, folder.checkpoints, checkpoint.newest(folder.checkpoints, description["run"], like))


def at_least(saved: int, checkpoints: Path, found: tuple[int, Any] | None) -> tuple[int, Any] | None:
    """A checkpoint that was found, with a warning if a later one was `saved`.

    Raises:
        UnusableRun: there is none, although one was saved.
    """
    if found is None and saved:
        remedy = "restore that folder, or start another run"
        raise UnusableRun(f"the run was saved at meta-step {saved}, but {checkpoints} holds no checkpoint; {remedy}")
    if found is not None and found[0] < saved:
        log.warning("%s: meta-step %d is used, although %d was saved later", checkpoints, found[0], saved)
    return found


def note_divergence(folder: RunFolder, step: int) -> None:
    """Note in `run.json` that the training state was no longer finite at `step`."""
    _write_description(folder, described(folder) | {"diverged": step})


def diverged_at(folder: RunFolder) -> int | None:
    """The meta-step at which the training of a run was found to have diverged; None if it did not."""
    step = described(folder).get("diverged")
    return None if step is None else int(step)


def trained_on(folder: RunFolder) -> list[str]:
    """Descriptions of the devices of a run, in order of use."""
    description = described(folder)
    return list(dict.fromkeys(span["device"] for span in [description, *description.get("continued", [])]))


def described(folder: RunFolder) -> dict[str, Any]:
    """The content of `run.json`.

    Raises:
        UsageError: it cannot be read, or was edited or damaged.
    """
    return sealed.read_card(folder.description, KIND, _is_sound, _edits)


def _write_description(folder: RunFolder, description: dict[str, Any]) -> None:
    files.write_whole(folder.description, sealed.written(description))


def _is_sound(description: sealed.Card) -> bool:
    config, noted = description["config"], description.get("continued", [])
    words = description["run"], description["device"], description["date"]
    spoken = sealed.are_words(*words, *(span["device"] for span in noted))
    counts = [description.get("saved", 0), description.get("diverged", 0), *(span["meta_step"] for span in noted)]
    return spoken and is_config(config) and all(type(count) is int for count in counts)


def is_config(config: Any) -> bool:
    """Whether this may be what `RunConfig.to_json` returns: parts with names, and options by name."""
    named = [config["algorithm"]["name"], config["environment"]["name"]]
    named += [config.get("rule") or "", config.get("preset", "")]
    parts = [config["algorithm"], config["environment"], config["run"]]
    return sealed.are_words(*named) and all(isinstance(part, dict) and sealed.are_words(*part) for part in parts)


def open_run(path: str | Path) -> tuple[RunFolder, RunConfig]:
    """The folder and configuration of an existing run; options newer than the run have their current defaults.

    Raises:
        UsageError: it is not a run, its configuration was edited, or it belongs to another version.
    """
    folder = existing(path)
    return folder, rebuilt(folder, described(folder)["config"])


def existing(path: str | Path) -> RunFolder:
    """The folder of a run; or a UsageError, if it is none."""
    folder = RunFolder(Path(path))
    if not os.path.lexists(folder.description):
        held = sorted(inner.parent for inner in folder.path.glob(f"*/{folder.description.name}"))
        if held:
            raise UsageError(f"{path} is not a run, but holds {len(held)}: name one of them, such as {held[0]}")
        raise UsageError(f"{path} is not a run: it has no {folder.description.name}; `metarl train` creates one")
    return folder


def rebuilt(folder: RunFolder, written: dict[str, Any]) -> RunConfig:
    """The configuration that was written into a folder, with the rule that lies there, if it has one.

    Raises:
        UsageError: it belongs to another version, or the rule is not its own.
    """
    _check_known(folder.path, written)
    rule = _given_rule(folder, written.get("rule"))
    try:
        config = RunConfig.from_json(written, rule)
    except (UsageError, LookupError) as error:
        raise UsageError(f"{folder.path} was made by another version of metarl_jax: {error}") from error
    newer = [f"{name}={value}" for part, name, value in _options(config.to_json()) if name not in written[part]]
    if newer:
        log.warning("%s is older than some options, which have their defaults: %s", folder.path, ", ".join(newer))
    return config


def _given_rule(folder: RunFolder, digest: str | None) -> Rule | None:
    """The rule that a run was given, which must be the one with which it began."""
    if digest is None:
        return None
    rule = rule_file.read(folder.rule)
    if rule.digest != digest:
        raise UsageError(f"{folder.rule} was exchanged since the run began; restore it, or start another run with it")
    return rule


def _edits(description: sealed.Card) -> str:
    """Which options were edited, as far as that can be known."""
    try:
        written, sealed_ones = description["config"], description["seals"]
        found, values = seals(written), {f"{part}.{name}": value for part, name, value in _options(written)}
        names = [name for name in {**sealed_ones, **found} if sealed_ones.get(name) != found.get(name)]
        edits = ", ".join(reprlib.repr(f"{name}={values.get(name, 'absent')!r}")[1:-1] for name in names)
    except (AttributeError, LookupError, TypeError, ValueError):
        return ""
    return f": {edits}" if edits and edits.isprintable() else ""


def _check_known(path: Path, written: dict[str, Any]) -> None:
    """Raise a UsageError if the algorithm or environment of a run is neither registered nor user-defined."""
    registered: dict[str, Iterable[str]] = {"algorithm": algorithms.everything(), "environment": envs.everything()}
    for part, known in registered.items():
        name = written.get(part, {}).get("name")
        if isinstance(name, str) and is_plugin(name):
            check_lies_elsewhere(name, path)
            find_plugin(part, name)
        elif isinstance(name, str) and name not in known:
            remedy = f"if you defined it, import the module that registers it as {part.upper()}S[{name!r}]"
            raise UsageError(f"{path} has the {part} {name!r}, which is not known here{nearest(name, known)}; {remedy}")


def _options(config: dict[str, Any]) -> list[tuple[str, str, Any]]:
    parts = ("algorithm", "environment", "run")
    return [(part, name, value) for part in parts for name, value in config[part].items()]


def make_new(path: Path) -> Path:
    """Make a folder that does not exist yet, or raise a UsageError."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        raise UsageError(
            f"{path} exists, and a run folder is never overwritten; continue it with `metarl resume`, or name another"
        ) from None
    return path


def make_numbered(stem: str) -> Path:
    """Make the first free `runs/<stem>-<n>`."""
    number = 1
    while True:
        path = Path("runs") / f"{stem.replace('/', '-')}-{number}"
        with contextlib.suppress(FileExistsError):
            os.makedirs(path)
            return path
        number += 1
