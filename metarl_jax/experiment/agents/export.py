"""Exported agents: φ, a card, the programs of a life, and `agent.py`, which lives it without this package."""

import dataclasses
import hashlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import safetensors.numpy

from metarl_jax.core.life import World
from metarl_jax.experiment import api, devices, rule_file, run_folder, sealed
from metarl_jax.experiment.agents import deployed
from metarl_jax.experiment.agents.acting import ActingAgent
from metarl_jax.experiment.agents.deployed import CARD, FORMAT, PROGRAM, START, TENSORS, Agent, Arrays
from metarl_jax.experiment.agents.programs import forms_of, functions, like, named
from metarl_jax.experiment.api import Result
from metarl_jax.experiment.config import RunConfig
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.files import sync, sync_tree
from metarl_jax.experiment.leaves import leaf_form
from metarl_jax.experiment.plugins import is_plugin
from metarl_jax.experiment.run_folder import RunFolder
from metarl_jax.experiment.sealed import Card

PLATFORMS = ("cpu", "cuda", "tpu")
AGENT = "agent.py"
FILES = (TENSORS, START, AGENT, *map(PROGRAM.format, deployed.Programs._fields))
KIND = sealed.Kind("an exported agent", f"{CARD} and the files that it lists", "metarl export", "metarl export", FORMAT)


@dataclasses.dataclass(frozen=True, repr=False)
class Exported(Result):
    """A run that was read from an export: all of a `Result` except its metrics, rebuilt from the configuration."""

    card: Mapping[str, Any] = dataclasses.field(default_factory=dict, repr=False)
    contents: Mapping[str, bytes] = dataclasses.field(default_factory=dict, repr=False)
    """The files of the export by name."""
    trusted: bool = False

    def policy(self, task: Any = None, *, seed: int = 0, envs: int | None = None) -> ActingAgent:
        """As of a run, except that without a `task` its life begins where that of the exported agent does."""
        if task is not None or START not in self.contents:
            return super().policy(task, seed=seed, envs=envs)
        spec, start = deployed.spec_of(self.card), safetensors.numpy.load(self.contents[START])
        return ActingAgent(self, spec, seed=seed, envs=envs, start=start)

    def agent(self, *, seed: int = 0, envs: int | None = None) -> Agent:
        """The agent that acts with the exported programs, as in a process without this package; see `Agent`.

        Raises:
            UsageError: the export was loaded without `trust`.
        """
        if not self.trusted:
            raise UsageError(
                f"the programs in {self.path} run code of whoever made them, and were not loaded; if you trust them: "
                f"metarl_jax.load({str(self.path)!r}, trust=True)"
            )
        return deployed.agent_of(self.card, self.contents, seed=seed, envs=envs)


def export(run: Result | str | Path, out: str | Path, *, agent: Agent | None = None) -> Path:
    """Write the agent of a run into a new folder `out`, from which it acts and learns without this package.

    The folder holds φ, a card, the programs of `born`, `act` and, for agents that adapt, `adapt` for any number of
    environments, and `agent.py`, which needs only jax, flatbuffers, numpy and safetensors. Exported agents are newborn,
    or begin with the life of `agent` so far.

    Raises:
        UsageError: `out` exists, the run is not usable, or its policy reads the numbers of a task that is not given.
    """
    out = Path(out)
    if out.exists():
        raise UsageError(f"{out} exists, and an export never overwrites; name another folder")
    result = run if isinstance(run, Result) else api.load(run)
    given, agent = agent, agent or result.policy()
    start = agent.start if given is None else agent.saved()
    meta_params = safetensors.numpy.save({name: np.array(x, order="C") for name, x in agent.meta_params.items()})
    contents = {TENSORS: meta_params, AGENT: Path(deployed.__file__).read_bytes()}
    contents |= {} if start is None else {START: safetensors.numpy.save(start)}
    programs, described = _programs(result.config.world, agent)
    contents |= {PROGRAM.format(name): content for name, content in programs.items()}
    card = _card(result, agent, start, contents) | {"programs": described}
    draft = sealed.draft(out, contents | {CARD: sealed.written(card)})
    if result.config.rule is not None:
        rule_file.write(result.config.rule, RunFolder(draft).rule)
        sync_tree(draft)
    draft.rename(out)
    sync(out.parent)
    return out


def read(path: str | Path, trust: bool = False) -> Exported:
    """The run that was exported into a folder; its programs are loaded only with `trust`, when an agent needs them.

    Raises:
        UsageError: a file is missing, damaged, too large or not what the card says, or the card names a module of the
            user, which is imported only with `trust`.
    """
    path = Path(path)
    card = sealed.read_card(path / CARD, KIND, _is_sound)
    contents = {name: _content(path / name, card) for name in card["files"]}
    for part in ("algorithm", "environment"):
        name = card["config"][part]["name"]
        if is_plugin(name) and not trust:
            raise UsageError(f"{path} needs {name}, whose module would be run; if you trust it: load(..., trust=True)")
    config = run_folder.rebuilt(RunFolder(path), card["config"])
    meta_params = _fitted(path, config, safetensors.numpy.load(contents[TENSORS]))
    step = card["training"]["meta_steps"]
    return Exported(path, config, step, meta_params, {}, card=MappingProxyType(card), contents=contents, trusted=trust)


def _fitted(path: Path, config: RunConfig, arrays: Arrays) -> Any:
    """The arrays as φ of the configuration."""
    devices.prepare()
    template = forms_of(config.world).meta_params
    own, here = ({name: leaf_form(x) for name, x in leaves.items()} for leaves in (arrays, named(template)))
    for name in sorted(own.keys() | here.keys()):
        if own.get(name) != here.get(name):
            forms = f"{sealed.spoken(own.get(name))} in it and {sealed.spoken(here.get(name))} by its options"
            raise UsageError(f"{path / TENSORS} does not fit the configuration on its card: {name} is {forms}")
    return jax.tree.map(jnp.asarray, like(template, arrays))


def _content(path: Path, card: Card) -> bytes:
    """The content of a file of an export, which must be what the card says."""
    sha256, forms = card["files"][path.name], card["leaves"].get(path.name)
    if forms is not None:
        return sealed.read_tensors(path, KIND, forms, sha256)
    content = sealed.read_file(path, KIND)
    try:
        sealed.check_sha256(content, sha256)
    except ValueError as error:
        raise UsageError(f"{path} is not what its card describes: {error}") from error
    return content


def _is_sound(card: Card) -> bool:
    config, files, leaves = card["config"], card["files"], card["leaves"]
    words = [config["algorithm"]["name"], config["environment"]["name"], *files.values()]
    # A name from this list leads nowhere else.
    expected = {TENSORS, AGENT, *map(PROGRAM.format, card["programs"]), *leaves}
    known = files.keys() == expected and expected <= set(FILES) and {TENSORS} <= leaves.keys() <= {TENSORS, START}
    plain = (config["algorithm"], config["environment"], config["run"], card["spec"], card["programs"])
    counted = type(card["training"]["meta_steps"]) is int and all(isinstance(part, dict) for part in plain)
    return known and counted and sealed.are_words(*words) and all(map(sealed.are_forms, leaves.values()))


def _card(result: Result, agent: Agent, start: Arrays | None, contents: Mapping[str, bytes]) -> Card:
    arrays = {TENSORS: agent.meta_params} | ({} if start is None else {START: start})
    known = result.card["training"] if isinstance(result, Exported) else None
    return {
        "format": FORMAT,
        "config": result.config.to_json(),
        "spec": {name: list(x) if isinstance(x, tuple) else x for name, x in dataclasses.asdict(agent.spec).items()},
        "training": known or api.how_trained(RunFolder(result.path), result),
        "exported": run_folder.circumstances(),
        "leaves": {file: {name: leaf_form(x) for name, x in leaves.items()} for file, leaves in arrays.items()},
        "files": {name: hashlib.sha256(content).hexdigest() for name, content in contents.items()},
    }


def _programs(world: World, agent: Agent) -> tuple[dict[str, bytes], dict[str, Any]]:
    """The serialised programs by name, and their description: inputs and outputs by name, and platforms."""
    contents, described = {}, {}
    for name, arguments in _inputs(agent).items():
        program = _lowered(getattr(functions(world), name), tuple(arguments.values()))
        contents[name] = bytes(program.serialize(vjp_order=0))
        outputs = jax.tree.unflatten(program.out_tree, program.out_avals)
        described[name] = {
            "inputs": {argument: _forms(arrays) for argument, arrays in arguments.items()},
            "outputs": _forms(outputs),
            "platforms": list(program.platforms),
        }
    return contents, described


def _lowered(function: Any, arguments: tuple[Any, ...]) -> jax.export.Exported:
    """The program for all platforms for which it can be lowered here."""

    def lowered(platforms: tuple[str, ...]) -> jax.export.Exported:
        with jax.default_matmul_precision("float32"):  # as in training, also on accelerators
            return jax.export.export(jax.jit(function), platforms=platforms)(*arguments)

    def possible(platform: str) -> bool:
        try:
            lowered((platform,))
        except (NotImplementedError, ValueError):
            return False
        return True

    try:
        return lowered(PLATFORMS)
    except (NotImplementedError, ValueError):
        return lowered(tuple(filter(possible, PLATFORMS)))


def _inputs(agent: Agent) -> dict[str, dict[str, Any]]:
    """The arguments of every program by name, with any number `e` of environments."""
    life, (envs,) = agent.life, jax.export.symbolic_shape("e")
    meta_params, own = _any(agent.meta_params), _any(life.agent)
    key, age = _any(life.clock)["key"], _any(life.clock)["age"]
    scene, greedy = _any(life.scene, envs), _any(life.clock)["acting"]
    inputs = {
        "born": {"meta_params": meta_params, "key": key},
        "act": {"agent": own, "scene": scene, "key": key, "age": age, "time": age, "greedy": greedy},
    }
    if agent.spec.adaptations != 0:
        record = _any(life.record, agent.spec.steps, envs)
        seen = {"record": record, "start": _any(life.start, envs), "end": _any(life.end, envs)}
        inputs["adapt"] = {"meta_params": meta_params, "agent": own, **seen, "key": key, "age": age}
    return inputs


def _any(arrays: Arrays, *leading: Any) -> dict[str, jax.ShapeDtypeStruct]:
    """The forms of arrays with other leading axes."""
    return {name: jax.ShapeDtypeStruct((*leading, *x.shape[len(leading) :]), x.dtype) for name, x in arrays.items()}


def _forms(tree: Any) -> Any:
    """The shapes and dtypes of arrays; `e` stands for any number of environments."""

    def form(x: Any) -> dict[str, Any]:
        return {"shape": [size if isinstance(size, int) else str(size) for size in x.shape], "dtype": str(x.dtype)}

    return jax.tree.map(form, tree)
