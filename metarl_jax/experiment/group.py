"""The processes of a distributed run. All of them compute the same; process 0 alone reads, writes and logs.

Each has an equal share of the tasks, by the mesh over all their devices, and a whole copy of the training state. What
only one process can know, such as a checkpoint, a signal or a full disk, is shared by collectives of JAX, so that all
go on, stop and fail together. A single process is the same without communication.
"""

import dataclasses
import json
import logging
import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, PartitionSpec

from metarl_jax.experiment import devices
from metarl_jax.experiment.config import require
from metarl_jax.experiment.errors import UsageError
from metarl_jax.experiment.leaves import forms, packed, unpacked

AUTO = "auto"
HEARTBEAT = 100
WORD = 4  # bytes of what is broadcast: JAX adds the zeros of all other processes to it
SAID = 2048  # most bytes of an error that other processes are told
T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Group:
    """The processes that train one run, and this one among them."""

    distributed: str | None = None
    """One of several processes that train this run: auto, where SLURM, Open MPI, Kubernetes or a TPU pod started them,
    or HOST:PORT, an address of process 0 with a free port."""
    processes: int | None = None
    """Their number, with HOST:PORT."""
    process: int | None = None
    """The number of this one, from 0, with HOST:PORT."""
    heartbeat: int = HEARTBEAT
    """Seconds of silence after which a process is taken for dead and all others end."""

    def __post_init__(self) -> None:
        """Check the parts against each other.

        Raises:
            UsageError: the address is none, or a number is missing, superfluous or out of range.
        """
        where, numbers = self.distributed, (self.processes, self.process)
        if where in (None, AUTO):
            rule = f"left out, as only HOST:PORT in distributed needs it; distributed is {where}"
            for name in ("processes", "process"):
                require(getattr(self, name) is None, name, getattr(self, name), rule)
        else:
            address = re.fullmatch(r".+:\d+", where)  # also [::1]:1234
            require(address is not None, "distributed", where, f"{AUTO}, or HOST:PORT of process 0")
            require(
                None not in numbers, "distributed", where, "named with processes and process, the number of this one"
            )
            assert self.processes is not None
            assert self.process is not None
            require(self.processes >= 1, "processes", self.processes, "at least 1")
            rule = f"from 0 to {self.processes - 1}, as processes is {self.processes}"
            require(0 <= self.process < self.processes, "process", self.process, rule)
        require(self.heartbeat >= 1, "heartbeat", self.heartbeat, "at least 1 second")


def join(group: Group) -> None:
    """Become one of the processes, before JAX uses a device. Whoever is one already stays it.

    Raises:
        UsageError: JAX has used a device, finds no cluster, or cannot reach process 0.
    """
    if group.distributed is None or jax.distributed.is_initialized():
        return
    jax.config.update("jax_enable_preemption_service", False)  # which would take SIGTERM from us
    address = None if group.distributed == AUTO else group.distributed
    beat = group.heartbeat
    how: dict[str, Any] = {"heartbeat_timeout_seconds": beat, "shutdown_timeout_seconds": beat}
    try:
        jax.distributed.initialize(address, group.processes, group.process, **how)
    except (ValueError, RuntimeError) as error:
        reason = str(error).partition("\n")[0]
        remedy = f"name HOST:PORT, processes and process where no cluster says them ({reason})"
        raise UsageError(f"distributed is {group.distributed}, and the processes cannot be joined; {remedy}") from error
    devices.prepare()
    if not leads():
        logging.getLogger("metarl_jax").setLevel(logging.ERROR)


def count() -> int:
    """The number of processes."""
    return jax.process_count() if jax.distributed.is_initialized() else 1


def leads() -> bool:
    """Whether this is process 0, or the only one."""
    return count() == 1 or jax.process_index() == 0


def together(call: Callable[[], T]) -> T:
    """What the call returns in each process. Where it fails in one of them, it fails in all.

    Raises:
        UsageError: it failed in another process.
    """
    if count() == 1:
        return call()
    result, failure = None, None
    try:
        result = call()
    except Exception as error:
        failure = error
    said = "" if failure is None else str(failure) or type(failure).__name__
    texts = [bytes(row).rstrip(b"\0") for row in multihost_utils.process_allgather(_padded(said.encode()[:SAID], SAID))]
    if failure is not None:
        raise failure
    for process, text in enumerate(texts):
        if text:
            raise UsageError(f"process {process}: {text.decode(errors='replace')}")
    return cast(T, result)


def led(call: Callable[[], T]) -> T:
    """What the call returns in process 0, in all processes, as JSON has it. Where it fails, it fails in all.

    Raises:
        UsageError: it failed in process 0, and this is another one.
    """
    if count() == 1:
        return call()
    told = together(lambda: json.dumps(call()).encode() if leads() else b"")
    size = int(multihost_utils.broadcast_one_to_all(np.int32(len(told))))
    return cast(T, json.loads(_broadcast(told, size)))


def greatest(*numbers: int) -> tuple[int, ...]:
    """The greatest of each of these numbers in any process."""
    if count() == 1:
        return numbers
    return tuple(map(int, multihost_utils.process_allgather(np.array(numbers, np.int32)).max(axis=0)))


def shared(state: Any) -> Any:
    """The state of process 0, bit for bit, in place of a state of the same shapes in every process."""
    if count() == 1:
        return state
    kinds = {name: (np.dtype(form["dtype"]), form["shape"]) for name, form in forms(state).items()}
    sizes = {name: dtype.itemsize * int(np.prod(shape)) for name, (dtype, shape) in kinds.items()}
    own = b"".join(leaf.tobytes() for leaf in packed(state).values()) if leads() else b""
    content, start, arrays = _broadcast(own, sum(sizes.values())), 0, {}
    for name, (dtype, shape) in kinds.items():
        arrays[name] = np.frombuffer(content[start : start + sizes[name]], dtype).reshape(shape)
        start += sizes[name]
    return unpacked(arrays, state)


def everywhere(state: Any, mesh: Mesh | None) -> Any:
    """A state that every process has, on all devices of all of them."""
    if mesh is None:
        return state
    if count() == 1:
        return jax.device_put(state, jax.sharding.NamedSharding(mesh, PartitionSpec()))
    return multihost_utils.host_local_array_to_global_array(state, mesh, PartitionSpec())


def here(state: Any, mesh: Mesh | None) -> Any:
    """The inverse of `everywhere`: the state on the devices of this process."""
    if mesh is None or count() == 1:
        return state
    return multihost_utils.global_array_to_host_local_array(state, mesh, PartitionSpec())


def _broadcast(content: bytes, size: int) -> bytes:
    """So many bytes of process 0, in all processes."""
    words = _padded(content, size + -size % WORD).view(np.uint32)
    return np.asarray(multihost_utils.broadcast_one_to_all(words)).tobytes()[:size]


def _padded(content: bytes, size: int) -> np.ndarray:
    return np.frombuffer(content.ljust(size, b"\0"), np.uint8)
