"""Tasks in parallel: vmap over a chunk that fits the cache, a scan over chunks, a mesh over devices."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh, PartitionSpec

from metarl_jax.core.types import Array, Tree

AXIS = "tasks"  # the mesh axis over which tasks are divided
CACHE_BYTES = 4 * 2**20  # of memories that act side by side
LARGE = 4096  # bytes of a memory above which the memories of many tasks do not fit the cache
CACHE_ROWS = 2048  # time steps of one chunk whose activations stay in a CPU core's cache


def default_chunk(rows_per_task: int, shared_params: bool, memory_bytes: int = 0) -> int | None:
    """How many tasks to batch at once; None for all of them.

    One large product is fastest on accelerators, and for policies whose parameters all tasks share. On a CPU adapted
    parameters differ by task, and a chunk whose activations stay in the cache is fastest. The same holds where a memory
    of `memory_bytes` a task is read at every step.
    """
    if jax.default_backend() != "cpu":
        return None
    if not shared_params:
        return max(1, CACHE_ROWS // rows_per_task)
    return 2 ** int(math.log2(max(1, CACHE_BYTES // memory_bytes))) if memory_bytes > LARGE else None


def lane_groups(tasks: int, envs: int, lanes: int) -> int:
    """The number of groups in which tasks that share a policy are relived; each is one batch of environments.

    One group on accelerators, for large products. On a CPU, groups of about `lanes` environments, whose replay stays in
    the cache.
    """
    if jax.default_backend() != "cpu":
        return 1
    divisors = [count for count in range(1, tasks + 1) if tasks % count == 0]
    return min(divisors, key=lambda count: abs(math.log(tasks * envs / count / lanes)))


def map_tasks(function: Callable[..., Any], chunk: int | None, *tasks: Tree) -> Any:
    """Map `function` over the leading axis N of `tasks`, vmapped over `chunk` tasks at a time."""
    total = _count(tasks)
    if chunk is None or chunk >= total:
        return jax.vmap(function)(*tasks)
    # A single task without a vmap, whose axis of size 1 makes products slower.
    return jax.lax.map(lambda task: function(*task), tasks, batch_size=None if chunk == 1 else chunk)


def chunks(total: int, chunk: int | None) -> int:
    """How many chunks `total` tasks are divided into."""
    return 1 if chunk is None else -(-total // chunk)


def mean_gradient(
    function: Callable[..., tuple[Array, Any]], chunk: int | None, meta_params: Tree, *tasks: Tree
) -> tuple[Array, Tree, Array, Any]:
    """The mean over tasks of `function(φ, *task) -> loss, aux`, its gradient in φ, and aux with its task axis.

    Chunks run one after another, so that only one chunk's activations are stored; the last chunk may be smaller. The
    third result is the mean over chunks of ‖S‖² / n, where S is the sum of a chunk's n gradients: see `variance` in
    core/diagnostics.py.
    """

    def summed(*tasks: Tree) -> tuple[Array, Tree, Array, Any]:
        def total(meta_params: Tree) -> tuple[Array, Any]:
            losses, aux = _over(lambda *task: function(meta_params, *task), *tasks)
            return jnp.sum(losses), aux

        (loss, aux), gradient = jax.value_and_grad(total, has_aux=True)(meta_params)
        return loss, gradient, optax.tree.norm(gradient, squared=True) / _count(tasks), aux

    total = _count(tasks)
    whole = total if chunk is None or chunk >= total else total - total % chunk
    parts = []
    if whole:
        parts.append(_scan_chunks(summed, whole if chunk is None else min(chunk, whole), _cut(tasks, 0, whole)))
    if whole < total:
        parts.append(summed(*_cut(tasks, whole, total)))
    loss, gradient, moment = jax.tree.map(lambda *xs: sum(xs) / total, *[part[:3] for part in parts])
    aux = jax.tree.map(lambda *xs: jnp.concatenate(xs), *[part[3] for part in parts])
    return loss, gradient, moment * (total / chunks(total, chunk)), aux


def _scan_chunks(
    summed: Callable[..., tuple[Array, Tree, Array, Any]], chunk: int, tasks: Any
) -> tuple[Array, Tree, Array, Any]:
    total = _count(tasks)
    if chunk == total:
        return summed(*tasks)

    def add(sums: Tree, tasks: Any) -> tuple[Tree, Any]:
        *more, aux = summed(*tasks)
        return jax.tree.map(jnp.add, sums, tuple(more)), aux

    cut = jax.tree.map(lambda x: x.reshape(total // chunk, chunk, *x.shape[1:]), tasks)
    shapes = jax.eval_shape(summed, *jax.tree.map(lambda x: x[0], cut))[:3]
    zeros = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes)
    sums, aux = jax.lax.scan(add, zeros, cut)
    return *sums, jax.tree.map(lambda x: x.reshape(total, *x.shape[2:]), aux)


def _over(function: Callable[..., Any], *tasks: Tree) -> Any:
    """`function` of each task; of a single one without a vmap, whose axis of size 1 makes products slower."""
    if _count(tasks) > 1:
        return jax.vmap(function)(*tasks)
    return jax.tree.map(lambda x: x[None], function(*jax.tree.map(lambda x: x[0], tasks)))


def _count(tasks: Any) -> int:
    return int(jax.tree.leaves(tasks)[0].shape[0])


def _cut(tasks: Any, start: int, stop: int) -> Any:
    return jax.tree.map(lambda x: x[start:stop], tasks)


@dataclasses.dataclass(frozen=True)
class Devices:
    """Communication between devices, each with an equal share of the tasks; a single device without a mesh."""

    mesh: Mesh | None = None

    @property
    def count(self) -> int:
        return 1 if self.mesh is None else self.mesh.shape[AXIS]

    def mean(self, tree: Tree) -> Tree:
        """The average over devices."""
        return tree if self.mesh is None else jax.lax.pmean(tree, AXIS)

    def gathered(self, tree: Tree) -> Tree:
        """The shares [N / D, ...] of all devices, [N, ...]."""
        return tree if self.mesh is None else jax.tree.map(_gathered, tree)

    def share(self, tree: Tree) -> Tree:
        """This device's part of a replicated tree [N, ...]; the whole tree where it cannot be divided."""
        total = jax.tree.leaves(tree)[0].shape[0]
        if total % self.count or self.mesh is None:
            return tree
        here = jax.lax.axis_index(AXIS)
        return jax.tree.map(lambda x: x.reshape(self.count, total // self.count, *x.shape[1:])[here], tree)


def across_devices(mesh: Mesh | None, function: Callable[..., Any]) -> Callable[..., Any]:
    """Run `function(devices, replicated, tasks) -> replicated, tasks` on every device's share of the tasks.

    Inside a map over the same devices, as where several runs divide them, every device has all tasks and takes its
    share.
    """
    devices = Devices(mesh)

    def local(replicated: Tree, tasks: Tree) -> Any:
        return function(devices, replicated, tasks)

    def inside(replicated: Tree, tasks: Tree) -> Any:
        replicated, tasks = local(replicated, devices.share(tasks))
        return replicated, devices.gathered(tasks)

    if mesh is None:
        return local
    specs = PartitionSpec(), PartitionSpec(AXIS)
    mapped = jax.shard_map(local, mesh=mesh, in_specs=specs, out_specs=specs, check_vma=False)

    def run(replicated: Tree, tasks: Tree) -> Any:
        mapping = AXIS in jax.sharding.get_abstract_mesh().manual_axes
        return (inside if mapping else mapped)(replicated, tasks)

    return run


def _gathered(x: Array) -> Array:
    """The shares of all devices; keys by their data, which alone can be sent."""
    if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return jax.lax.all_gather(x, AXIS, tiled=True)
    data = jax.lax.all_gather(jax.random.key_data(x), AXIS, tiled=True)
    return jax.random.wrap_key_data(data, impl=jax.random.key_impl(x))
