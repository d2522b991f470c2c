"""An exported agent, which learns while it acts. It needs jax, flatbuffers, numpy and safetensors, no more.

This file is complete: `metarl export` copies it as `agent.py` into the folder that it writes. In a loop of Gymnasium:

    agent = load(folder)
    observation, _ = env.reset()
    for _ in range(10_000):
        action = agent.act(observation)
        observation, reward, terminated, truncated, _ = env.step(action)
        agent.observe(reward, terminated, truncated, observation)
        if terminated or truncated:
            observation, _ = env.reset()

The exported programs run code of whoever made the folder. The checksums find damage, not malice.
"""

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import safetensors.numpy

FORMAT = 1
CARD, TENSORS, START = "card.json", "meta_params.safetensors", "agent.safetensors"
PROGRAM = "{}.jax_export"  # the file of a program
TIMESTEP = ("observation", "previous_action", "previous_reward", "first")
Arrays = dict[str, Any]  # by name


@dataclasses.dataclass(frozen=True)
class Spec:
    """How an agent lives: what it perceives and does, and after how much experience it adapts."""

    observation: tuple[int, ...]  # shape
    action: tuple[int, ...]  # shape
    action_dtype: str  # int32 for a number, that of `real` for a vector
    envs: int  # E, environments whose experience is one rollout
    steps: int  # T, most steps of each
    quota: int | None  # episodes of each, where that is what ends a rollout
    fresh: bool  # every rollout begins with blank memory
    adaptations: int | None  # K, after which it adapts no more; None for no end
    has_memory: bool
    told: tuple[float, ...]  # task numbers that follow every observation, for a policy that reads them
    name: str  # of the environment
    real: str = "float32"  # dtype of observations and rewards; float64 where it was trained so


class Programs(NamedTuple):
    """The functions that a life is made of. Everything random in them follows from key, age and time."""

    born: Callable[..., tuple[Arrays, Arrays]]  # φ, key -> agent, blank memory
    act: Callable[..., Arrays]  # agent, scene [E, ...], key, age, time, greedy -> action, memory
    adapt: Callable[..., Arrays]  # φ, agent, record [T, E, ...], start [E, ...], end [E, ...], key, age -> agent


@dataclasses.dataclass
class Life:
    """All that decides how an agent continues."""

    agent: Arrays  # parameters and learning state
    scene: Arrays  # [B, ...] the current timestep, and memory.*
    record: Arrays  # [T, E, ...] the rollout in the making
    start: Arrays  # [E, ...] memory.* at its beginning
    end: Arrays  # [E, ...] the scene after it
    clock: Arrays  # key; age: adaptations so far; round, step: place in the rollout; episodes [B]; acting


class Agent:
    """An agent that acts, learns from what it observes, and adapts by itself after every rollout, as in training.

    A rollout is the experience of E environments. With one environment, it is lived one after another.

    Args:
        spec: how it lives.
        programs: what it does.
        meta_params: φ.
        seed: of its first life.
        envs: number of parallel environments that it acts in, which then is the first axis of all that goes in and
            comes out; it must divide E. None for one without that axis.
        start: where its lives begin, from `save`, rather than with its birth.
    """

    error: type[ValueError] = ValueError

    def __init__(
        self,
        spec: Spec,
        programs: Programs,
        meta_params: Arrays,
        *,
        seed: int = 0,
        envs: int | None = None,
        start: Arrays | None = None,
    ) -> None:
        self.spec, self.meta_params, self._programs, self.start = spec, meta_params, programs, start
        self._seed, self.envs, self._count = seed, envs, 1 if envs is None else envs
        divides = self._count >= 1 and (spec.adaptations == 0 or spec.envs % self._count == 0)
        self._require(divides, "envs", envs, f"a divisor of {spec.envs}, the environments of a rollout in training")
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Forget everything and begin a new life, by default that of the next seed."""
        self._seed = self._seed + 1 if seed is None else seed
        key = np.asarray(jax.random.key_data(jax.random.key(self._seed, impl="threefry2x32")))
        agent, blank = self._programs.born(self.meta_params, key)
        self._blank = {name: np.repeat(np.asarray(x)[None], self._count, axis=0) for name, x in blank.items()}
        clock = {"key": key, **{name: np.int32(0) for name in ("age", "round", "step")}}
        clock |= {"episodes": np.zeros(self._count, np.int32), "acting": np.bool_(False)}
        self.life = Life(agent, self._opening() | self._blank, *self._blank_rollout(), clock)
        if self.start is not None:
            self._continue(self.start)
            self.life.clock["key"] = key

    def act(self, observation: Any, *, greedy: bool = False) -> Any:
        """Choose an action for the observation [O]: a number, or a vector [A]; the most likely one if `greedy`.

        Actions are not clipped to their legal range.

        Raises:
            ValueError: the observation has another shape, or the outcome of the last action is not known.
        """
        life, perceived = self.life, self._perceived(observation)
        clock = life.clock
        if clock["acting"] and (self.adapts or self.spec.has_memory):
            raise self.error("the outcome of the last action is missing; call `observe` after each step")
        clock["step"] = clock["step"] + clock["acting"]  # others need not know it
        self._arrive(perceived)
        time = np.int32(clock["round"] * self.spec.steps + clock["step"])
        chosen = self._programs.act(life.agent, life.scene, clock["key"], clock["age"], time, np.bool_(greedy))
        action = np.asarray(chosen.pop("action"))
        self._note(**{name: life.scene[name] for name in TIMESTEP}, action=action)
        life.scene |= {**chosen, "previous_action": action}
        clock["acting"] = np.bool_(True)
        return action[0] if self.envs is None else action

    def observe(self, reward: Any, terminated: Any = False, truncated: Any = False, observation: Any = None) -> None:
        """Record the outcome of the last action; after the end of an episode the next `act` begins a new one.

        Args:
            reward: the reward.
            terminated: whether the task ended the episode.
            truncated: whether something else did, such as a time limit.
            observation: where the step led, before any reset. An agent that adapts needs it where an episode ends.

        Raises:
            ValueError: there was no action, or that observation is missing or of another shape.
        """
        life, clock = self.life, self.life.clock
        if not clock["acting"]:
            raise self.error("there was no action whose outcome this could be; call `act` first")
        reward = np.broadcast_to(np.asarray(reward, self.spec.real), self._count)
        terminated, truncated = (np.broadcast_to(np.asarray(x, bool), self._count) for x in (terminated, truncated))
        over = terminated | truncated
        if observation is not None:
            self._note(next_observation=self._perceived(observation))
        elif self.adapts and over.any():
            raise self.error("observation is missing: it must be where the step led, before any reset, at an end")
        self._note(reward=reward, terminated=terminated, truncated=truncated)
        life.scene |= {"previous_reward": reward, "first": over}
        clock |= {"episodes": clock["episodes"] + over, "step": clock["step"] + np.int32(1), "acting": np.bool_(False)}

    @property
    def adapts(self) -> bool:
        """Whether it will adapt again."""
        return self.spec.adaptations is None or int(self.life.clock["age"]) < self.spec.adaptations

    def save(self, path: str | Path) -> None:
        """Write the life so far to a new file, from which `restore` continues it.

        Raises:
            FileExistsError: there is such a file.
        """
        content = safetensors.numpy.save(self.saved())
        with Path(path).open("xb") as file:
            file.write(content)

    def start_here(self) -> None:
        """Let all further lives begin with the life so far."""
        self.start = self.saved()

    def saved(self) -> Arrays:
        """The life so far, as arrays by name."""
        parts = {part.name: getattr(self.life, part.name) for part in dataclasses.fields(Life)}
        return {
            f"{part}/{name}": np.array(x, order="C") for part, arrays in parts.items() for name, x in arrays.items()
        }

    def restore(self, path: str | Path) -> None:
        """Continue the life that was saved in a file.

        Raises:
            ValueError: the file is not the life of such an agent.
        """
        try:
            self._continue(safetensors.numpy.load(Path(path).read_bytes()))
        except safetensors.SafetensorError as error:
            raise self.error(f"{path} is not a saved agent: {error}") from error

    def _continue(self, saved: Arrays) -> None:
        own = self.saved()
        for name in sorted(own.keys() | saved.keys()):
            forms = [(x[name].shape, str(x[name].dtype)) if name in x else "missing" for x in (saved, own)]
            self._require(forms[0] == forms[1], f"{name} of the saved agent", forms[0], f"{forms[1]}, as it is here")
        parts: dict[str, Arrays] = {part.name: {} for part in dataclasses.fields(Life)}
        for name, x in saved.items():
            part, _, leaf = name.partition("/")
            parts[part][leaf] = x.copy()
        self.life = Life(**parts)

    def _opening(self) -> Arrays:
        """The timestep at the start of an episode that nothing preceded."""
        envs, spec = self._count, self.spec
        return {
            "observation": np.zeros((envs, spec.observation[0] + len(spec.told)), spec.real),
            "previous_action": np.zeros((envs, *spec.action), spec.action_dtype),
            "previous_reward": np.zeros(envs, spec.real),
            "first": np.ones(envs, bool),
        }

    def _blank_rollout(self) -> tuple[Arrays, Arrays, Arrays]:
        """A rollout without content: record, start and end."""
        if self.spec.adaptations == 0:
            return {}, {}, {}
        rounds = self.spec.envs // self._count
        step = self._opening()
        step |= {"action": step["previous_action"], "reward": step["previous_reward"]}
        step |= {"terminated": ~step["first"], "truncated": ~step["first"], "next_observation": step["observation"]}
        wide = lambda x: np.concatenate([np.zeros_like(x)] * rounds)  # noqa: E731
        record = {name: np.stack([wide(x)] * self.spec.steps) for name, x in step.items()}
        return record, _map(wide, self._blank), _map(wide, self._opening() | self._blank)

    def _perceived(self, observation: Any) -> np.ndarray:
        """The observation [B, O]."""
        expected = self.spec.observation if self.envs is None else (self.envs, *self.spec.observation)
        rule = f"of shape {expected}, as {self.spec.name} shows it"
        self._require(np.shape(observation) == expected, "observation", f"of shape {np.shape(observation)}", rule)
        seen = np.asarray(observation, self.spec.real).reshape(self._count, *self.spec.observation)
        return np.concatenate([seen, np.tile(np.array(self.spec.told, self.spec.real), (self._count, 1))], axis=1)

    @property
    def _columns(self) -> slice:
        """Those of the rollout that are lived now."""
        first = int(self.life.clock["round"]) * self._count
        return slice(first, first + self._count)

    def _note(self, **fields: Any) -> None:
        """Write fields of the current step into the rollout."""
        if self.adapts:
            for name, value in fields.items():
                self.life.record[name][int(self.life.clock["step"]), self._columns] = value

    def _arrive(self, observation: np.ndarray) -> None:
        """See where the last step led, or how a new episode begins; adapt if the rollout is complete."""
        life, clock = self.life, self.life.clock
        life.scene["observation"] = observation
        if not self.adapts:
            return
        step, going_on = int(clock["step"]), ~life.scene["first"]
        if step:
            life.record["next_observation"][step - 1, self._columns][going_on] = observation[going_on]
        quota = self.spec.quota
        if step == self.spec.steps or (quota is not None and np.all(clock["episodes"] >= quota)):
            self._turn()
        if not clock["step"]:
            _write(life.start, self._columns, {name: life.scene[name] for name in life.start})

    def _turn(self) -> None:
        """Close the rounds that are over: of the last environments of a rollout the agent adapts."""
        life, clock = self.life, self.life.clock
        _write(life.end, self._columns, life.scene)
        clock |= {"round": clock["round"] + np.int32(1), "step": np.int32(0), "episodes": 0 * clock["episodes"]}
        if clock["round"] * self._count == self.spec.envs:
            clock |= {"round": np.int32(0), "age": clock["age"] + np.int32(1)}
            seen = (_map(np.copy, x) for x in (life.record, life.start, life.end))  # JAX may read them later
            life.agent = self._programs.adapt(self.meta_params, life.agent, *seen, clock["key"], clock["age"])
        columns = self._columns
        for x in life.record.values() if self.adapts else ():
            x[:, columns] = 0
        if self.spec.fresh:
            first, opening = life.scene["first"], self._opening()
            for name in ("previous_action", "previous_reward"):
                life.scene[name] = np.where(_over(first, opening[name]), opening[name], life.scene[name])
            life.scene |= self._blank

    def _require(self, holds: bool, name: str, value: Any, rule: str) -> None:
        if not holds:
            raise self.error(f"{name} is {value}; it must be {rule}")


def load(folder: str | Path = Path(__file__).parent, *, seed: int = 0, envs: int | None = None) -> Agent:
    """The agent in a folder that `metarl export` wrote; see `Agent`.

    Raises:
        ValueError: a file of it is missing or damaged, or of another format.
    """
    folder = Path(folder)
    card = json.loads((folder / CARD).read_text())
    if card.get("format") != FORMAT:
        raise ValueError(
            f"the format of {folder / CARD} is {card.get('format')}; it must be {FORMAT}, as {__file__} reads"
        )
    contents = {name: _content(folder / name, digest) for name, digest in card["files"].items()}
    return agent_of(card, contents, seed=seed, envs=envs)


def agent_of(
    card: Mapping[str, Any], contents: Mapping[str, bytes], *, seed: int = 0, envs: int | None = None
) -> Agent:
    """The agent of a card and the contents of its files, whose programs it loads."""
    spec = spec_of(card)
    if spec.real == "float64" and not jax.config.values["jax_enable_x64"]:
        raise ValueError("the agent was trained with 64-bit numbers; set JAX_ENABLE_X64=1 before JAX is imported")
    programs = {
        name: jax.jit(jax.export.deserialize(bytearray(contents[PROGRAM.format(name)])).call)
        for name in card["programs"]
    }
    start = safetensors.numpy.load(contents[START]) if START in contents else None
    meta_params = safetensors.numpy.load(contents[TENSORS])
    blank: Any = dict.fromkeys(Programs._fields)
    return Agent(spec, Programs(**blank | programs), meta_params, seed=seed, envs=envs, start=start)


def spec_of(card: Mapping[str, Any]) -> Spec:
    """How the agent of a card lives."""
    fields: dict[str, Any] = {name: tuple(x) if isinstance(x, list) else x for name, x in card["spec"].items()}
    return Spec(**fields)


def _content(path: Path, digest: str) -> bytes:
    """The content of a file that must have this SHA-256."""
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != digest:
        raise ValueError(f"{path} has another SHA-256 than its card says, so it was damaged or exchanged")
    return content


def _map(change: Callable[[Any], Any], arrays: Arrays) -> Arrays:
    return {name: change(x) for name, x in arrays.items()}


def _write(into: Arrays, columns: slice, arrays: Arrays) -> None:
    for name in into:
        into[name][columns] = arrays[name]


def _over(mask: np.ndarray, like: np.ndarray) -> np.ndarray:
    """A mask [B] in front of the axes of an array [B, ...]."""
    return mask.reshape(mask.shape + (1,) * (like.ndim - 1))


if __name__ == "__main__":  # say that the folder is whole, and how its agent lives
    print(load().spec)
