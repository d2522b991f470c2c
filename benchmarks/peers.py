"""Workloads of speed.py beside the same mathematics in other libraries, on this machine, in one run.

    python benchmarks/peers.py [WORKLOAD ...] [--libraries LIBRARY ...] [--tasks N ...] [--out FILE]

One JSON line a workload, task count and form: ours as speed.py measures it, then each form of torch_maml.py,
torch_rl2.py, xland_rl2.py, groove_lpg.py, rejax_ppo.py or purejaxrl_ppo.py, with how many times faster ours is.
Libraries that are absent are named and left out. Every line is measured in a process of its own. The machine must be
idle: other work slows processes that wait for each other more than one that does not.
"""

import argparse
import importlib
import importlib.metadata
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from typing import Any, NamedTuple


class Library(NamedTuple):
    """A package, or a checkout whose folder is named by the environment variable of the library's name."""

    remedy: str  # where it is absent
    package: str | None
    file: str | None = None  # of the checkout


class Peer(NamedTuple):
    """Who does the work of a workload in another library."""

    library: str
    module: str
    which: tuple[str, ...] = ()  # of its workloads, where it has several


class Workload(NamedTuple):
    """A workload of speed.py, at these task counts."""

    tasks: tuple[int, ...]
    peers: tuple[Peer, ...]


REJAX = "rejax; install it with: pip install --constraint constraints.txt -e '.[rejax]'"
LIBRARIES = {
    "torch": Library("PyTorch; install it with: pip install -e '.[peers]'", "torch"),
    "groove": Library(
        "a checkout of github.com/EmptyJackson/groove; name its folder in the environment variable GROOVE",
        None,
        "meta/train.py",
    ),
    "rejax": Library(REJAX, "rejax"),
    "purejaxrl": Library(
        "a checkout of github.com/luchris429/purejaxrl; name its folder in the environment variable PUREJAXRL, "
        f"and install distrax, which comes with {REJAX}",
        "distrax",
        "purejaxrl/ppo.py",
    ),
    "xland": Library(
        "a checkout of github.com/corl-team/xland-minigrid; name its folder in the environment variable XLAND, "
        f"and install distrax, which comes with {REJAX}",
        "distrax",
        "training/train_meta_task.py",
    ),
}
WORKLOADS = {
    "maml-navigation": Workload((20, 1000), (Peer("torch", "torch_maml"),)),
    "rl2-bandit": Workload((1024,), (Peer("torch", "torch_rl2", ("rl2-bandit",)),)),
    "rl2-maze": Workload((256,), (Peer("torch", "torch_rl2", ("rl2-maze",)), Peer("xland", "xland_rl2"))),
    "rule-grid": Workload((64,), (Peer("groove", "groove_lpg"),)),
    "ppo-cartpole": Workload((64,), (Peer("rejax", "rejax_ppo"), Peer("purejaxrl", "purejaxrl_ppo"))),
}
SECONDS = 12.0  # of measurement
HUGE_PAGES = {"THP_MEM_ALLOC_ENABLE": "1"}  # PyTorch's own switch; without it large tensors cost mostly page faults
NO_MEMORY = ("can't allocate memory", "SIGKILL")


def lines(workload: str, peers: Sequence[Peer], tasks: int, forms: Collection[str]) -> Iterator[dict[str, Any]]:
    """Ours at that task count, then the forms of its peers, or those of `forms`."""
    own = ours(workload, tasks, peers)
    yield own
    for peer in peers:
        for form in forms_of(peer):
            if form in forms or not forms:
                yield theirs(peer.library, form, own)


def ours(workload: str, tasks: int, peers: Sequence[Peer]) -> dict[str, Any]:
    speed = pathlib.Path(__file__).with_name("speed.py")
    result = run([sys.executable, str(speed), workload, "--tasks", str(tasks), "--here"])
    result.check_returncode()
    line = json.loads(result.stdout.splitlines()[-1])
    line["versions"] |= {peer.library: version(peer.library) for peer in peers}
    return {"workload": workload, "form": "metarl_jax", **line}


def theirs(library: str, form: str, ours: dict[str, Any]) -> dict[str, Any]:
    """One form of the same work, at the workload and task count of our line; what is common comes from there."""
    workload, tasks = ours["workload"], ours["tasks"]
    result = run([sys.executable, __file__, workload, "--here", library, form, "--tasks", str(tasks)], HUGE_PAGES)
    common = {name: ours[name] for name in ("device", "versions", "date")}
    line: dict[str, Any] = {"workload": workload, "form": f"{library}, {form}", "tasks": tasks}
    if result.returncode and any(sign in result.stderr for sign in NO_MEMORY):
        return {**line, "env_steps_per_second": None, "note": "does not fit in the memory of this machine", **common}
    if result.returncode:
        sys.exit(result.stderr)
    line |= json.loads(result.stdout.splitlines()[-1])
    return {**line, "ours_over_peer": ours["env_steps_per_second"] / line["env_steps_per_second"], **common}


def measure_here(workload: str, library: str, form: str, tasks: int) -> None:
    peer = next(peer for peer in WORKLOADS[workload].peers if peer.library == library)
    module = importlib.import_module(peer.module)
    print(json.dumps(module.measure(*peer.which, form, tasks, SECONDS)))


def forms_of(peer: Peer) -> tuple[str, ...]:
    return tuple(importlib.import_module(peer.module).FORMS)


def found(library: str) -> bool:
    _, package, file = LIBRARIES[library]
    there = file is None or (pathlib.Path(os.environ.get(library.upper(), "")) / file).is_file()
    return there and (package is None or importlib.util.find_spec(package) is not None)


def version(library: str) -> str:
    """Its version, or the commit of a checkout."""
    if LIBRARIES[library].file is None:
        return importlib.metadata.version(library)
    result = run(["git", "-C", os.environ[library.upper()], "rev-parse", "--short", "HEAD"])
    return result.stdout.strip() or "unknown"


def run(command: list[str], variables: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(variables or {})})


def chosen(parser: argparse.ArgumentParser, arguments: argparse.Namespace) -> dict[str, list[Peer]]:
    """The peers of each workload that are asked for and there. The others are named, and none at all is an error."""
    kept, absent = {}, set()
    for name in arguments.workloads or WORKLOADS:
        peers = [peer for peer in WORKLOADS[name].peers if peer.library in (arguments.libraries or LIBRARIES)]
        kept[name] = [peer for peer in peers if found(peer.library)]
        absent |= {peer.library for peer in peers} - {peer.library for peer in kept[name]}
        if arguments.workloads and not peers:
            parser.error(f"{name} has no peer in {', '.join(arguments.libraries)}")
    for library in sorted(absent):
        print(f"left out: {library}, which needs {LIBRARIES[library].remedy}", file=sys.stderr)
    if not any(kept.values()):
        parser.exit(2, "no peer is there\n")
    known = {form for peers in kept.values() for peer in peers for form in forms_of(peer)}
    if unknown := set(arguments.forms) - known:
        parser.error(f"unknown form {min(unknown)!r}; choose of {', '.join(sorted(known))}")
    return kept


def parse(parser: argparse.ArgumentParser) -> argparse.Namespace:
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD")
    parser.add_argument("--libraries", nargs="*", default=(), metavar="LIBRARY", choices=LIBRARIES, help="only these")
    parser.add_argument("--tasks", type=int, nargs="*", help="task counts, instead of each workload's own")
    parser.add_argument("--forms", nargs="*", default=(), metavar="FORM", help="only these of the peers")
    parser.add_argument("--out", type=pathlib.Path, help="also write the lines as a JSON list")
    parser.add_argument("--here", nargs=2, metavar=("LIBRARY", "FORM"), help="measure this form in this process")
    arguments = parser.parse_args()
    for name in arguments.workloads:
        if name not in WORKLOADS:
            parser.error(f"unknown workload {name!r}; choose one of {', '.join(WORKLOADS)}")
    return arguments


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments = parse(parser)
    if arguments.here:
        measure_here(*arguments.workloads, *arguments.here, *arguments.tasks)
        return
    written = []
    for name, peers in chosen(parser, arguments).items():
        for tasks in (arguments.tasks or WORKLOADS[name].tasks) if peers else ():
            for line in lines(name, peers, tasks, arguments.forms):
                written.append(json.dumps(line))
                print(written[-1], flush=True)
    if arguments.out:
        arguments.out.write_text("[\n " + ",\n ".join(written) + "\n]\n")


if __name__ == "__main__":
    main()
