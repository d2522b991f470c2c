"""Workloads of speed.py beside the same mathematics in other libraries, on this machine, in one run.

    python benchmarks/peers.py [WORKLOAD ...] [--tasks N ...] [--out FILE]

One JSON line a workload, task count and form: ours as speed.py measures it, then each form of torch_maml.py,
torch_rl2.py, groove_lpg.py or rejax_ppo.py, with how many times faster ours is. Without WORKLOAD, those whose library
is there. Every line is measured in a process of its own. The machine must be idle: other work slows processes that wait
for each other more than one that does not.
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
from typing import Any, NamedTuple


class Peer(NamedTuple):
    """Who does the work of a workload in another library."""

    library: str
    module: str
    which: tuple[str, ...]  # of its workloads, where it has several
    tasks: tuple[int, ...]


WORKLOADS = {
    "maml-navigation": Peer("torch", "torch_maml", (), (20, 1000)),
    "rl2-bandit": Peer("torch", "torch_rl2", ("rl2-bandit",), (1024,)),
    "rl2-maze": Peer("torch", "torch_rl2", ("rl2-maze",), (256,)),
    "rule-grid": Peer("groove", "groove_lpg", (), (64,)),
    "ppo-cartpole": Peer("rejax", "rejax_ppo", (), (64,)),
}
MISSING = {
    "torch": "PyTorch; install it with: pip install -e '.[peers]'",
    "groove": "a checkout of github.com/EmptyJackson/groove; name its folder in the environment variable GROOVE",
    "rejax": "rejax; install it with: pip install --constraint constraints.txt -e '.[rejax]'",
}
SECONDS = 12.0  # of measurement
HUGE_PAGES = {"THP_MEM_ALLOC_ENABLE": "1"}  # PyTorch's own switch; without it large tensors cost mostly page faults
NO_MEMORY = ("can't allocate memory", "SIGKILL")


def ours(workload: str, tasks: int) -> dict[str, Any]:
    speed = pathlib.Path(__file__).with_name("speed.py")
    result = run([sys.executable, str(speed), workload, "--tasks", str(tasks), "--here"])
    result.check_returncode()
    line = json.loads(result.stdout.splitlines()[-1])
    library = WORKLOADS[workload].library
    line["versions"][library] = version(library)
    return {"workload": workload, "form": "metarl_jax", **line}


def peer(form: str, ours: dict[str, Any]) -> dict[str, Any]:
    """One form of the same work, at the workload and task count of our line; what is common comes from there."""
    workload, tasks = ours["workload"], ours["tasks"]
    result = run([sys.executable, __file__, workload, "--here", form, "--tasks", str(tasks)], HUGE_PAGES)
    common = {name: ours[name] for name in ("device", "versions", "date")}
    line: dict[str, Any] = {"workload": workload, "form": f"{WORKLOADS[workload].library}, {form}", "tasks": tasks}
    if result.returncode and any(sign in result.stderr for sign in NO_MEMORY):
        return {**line, "env_steps_per_second": None, "note": "does not fit in the memory of this machine", **common}
    if result.returncode:
        sys.exit(result.stderr)
    line |= json.loads(result.stdout.splitlines()[-1])
    return {**line, "ours_over_peer": ours["env_steps_per_second"] / line["env_steps_per_second"], **common}


def found(library: str) -> bool:
    if library == "groove":
        return (pathlib.Path(os.environ.get("GROOVE", "")) / "meta" / "train.py").is_file()
    return importlib.util.find_spec(library) is not None


def version(library: str) -> str:
    """Its version, or the commit of a checkout."""
    if library == "groove":
        result = run(["git", "-C", os.environ["GROOVE"], "rev-parse", "--short", "HEAD"])
        return result.stdout.strip() or "unknown"
    return importlib.metadata.version(library)


def run(command: list[str], variables: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, env={**os.environ, **(variables or {})})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("workloads", nargs="*", metavar="WORKLOAD")
    parser.add_argument("--tasks", type=int, nargs="*", help="task counts, instead of each workload's own")
    parser.add_argument("--forms", nargs="*", metavar="FORM", help="only these of the peer")
    parser.add_argument("--out", type=pathlib.Path, help="also write the lines as a JSON list")
    parser.add_argument("--here", metavar="FORM", help="measure this form in this process")
    arguments = parser.parse_args()
    for name in arguments.workloads:
        if name not in WORKLOADS:
            parser.error(f"unknown workload {name!r}; choose one of {', '.join(WORKLOADS)}")
        if not found(WORKLOADS[name].library):
            parser.exit(2, f"the peer of {name} needs {MISSING[WORKLOADS[name].library]}\n")
    lines = []
    for name in arguments.workloads or [name for name, peer in WORKLOADS.items() if found(peer.library)]:
        module = importlib.import_module(WORKLOADS[name].module)
        for tasks in arguments.tasks or WORKLOADS[name].tasks:
            if arguments.here:
                print(json.dumps(module.measure(*WORKLOADS[name].which, arguments.here, tasks, SECONDS)))
                continue
            forms = arguments.forms or module.FORMS
            if unknown := set(forms) - set(module.FORMS):
                parser.error(f"unknown form {min(unknown)!r} of {name}; choose of {', '.join(module.FORMS)}")
            own = ours(name, tasks)
            for form in (None, *forms):
                lines.append(json.dumps(peer(form, own) if form else own))
                print(lines[-1], flush=True)
    if arguments.out:
        arguments.out.write_text("[\n " + ",\n ".join(lines) + "\n]\n")


if __name__ == "__main__":
    main()
