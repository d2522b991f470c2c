"""Devices: all cores of a CPU, a mesh over the task axis, full precision, a persistent compilation cache."""

import ctypes
import importlib.metadata
import logging
import os
import platform
import sys
from pathlib import Path

import jax

from metarl_jax.core.batching import AXIS
from metarl_jax.experiment.errors import UsageError

PACKAGES = ("metarl-jax", "jax", "jaxlib", "flax", "optax", "numpy", "safetensors")
SPARE_THREADS = 2
LANES = "lanes"  # the mesh axis over which the runs of one program are divided
log = logging.getLogger("metarl_jax")


def prepare() -> None:
    """Use every core, the compilation cache and full precision.

    Call it before the first use of a device; later it has little effect.

    Raises:
        UsageError: JAX finds no device of the kind that JAX_PLATFORMS names.
    """
    _keep_pages()
    _use_all_cores()
    _find_devices()
    _use_cache()
    _use_full_precision()


def usable_cores() -> int:
    """The number of cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def task_mesh(tasks: int, minibatches: int = 1) -> jax.sharding.Mesh | None:
    """A mesh with the axis "tasks" over as many devices as divide the tasks of every minibatch evenly.

    None for a single device.

    Raises:
        UsageError: several processes would not all have a share.
    """
    available = jax.devices()
    used = max(count for count in range(1, len(available) + 1) if tasks % (count * minibatches) == 0 or count == 1)
    if used < len(available):
        parts = f" in {minibatches} minibatches" if minibatches > 1 else ""
        problem, share = f"{tasks} tasks{parts} do not divide by {len(available)} devices", len(available) * minibatches
        if jax.process_count() > 1:
            fits = max(share, tasks - tasks % share)
            remedy = f"choose a multiple of {share} tasks, such as {fits}"
            raise UsageError(f"{problem} of {jax.process_count()} processes, which all take part; {remedy}")
        log.warning("%s, so %d will be used; a multiple of %d tasks would use all", problem, used, share)
    if used == 1:
        return None
    # Explicit axes, the default of make_mesh, would make the sharding part of every type.
    auto = (jax.sharding.AxisType.Auto,)
    return jax.make_mesh((used,), (AXIS,), axis_types=auto, devices=available[:used])


def lane_mesh(runs: int, tasks: int = 1, minibatches: int = 1) -> tuple[jax.sharding.Mesh, int]:
    """A mesh with the axes "lanes" for independent runs and "tasks" for those of a run, and the number of lanes.

    Equally many lanes a device, few spare. If there are more devices than lanes, several share the tasks of each run,
    as many as divide those of every minibatch evenly.
    """
    available = jax.devices()
    share = -(-runs // len(available))
    used = -(-runs // share)
    several = max(
        count for count in range(1, len(available) // used + 1) if tasks % (count * minibatches) == 0 or count == 1
    )
    auto = (jax.sharding.AxisType.Auto,) * 2
    chosen = available[: used * several]
    return jax.make_mesh((used, several), (LANES, AXIS), axis_types=auto, devices=chosen), used * share


def cache_folder() -> Path | None:
    """The folder of compiled programs, one for each user; None for a user without a home."""
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metarl_jax" / "xla"
    except RuntimeError:  # a number without a name, as in a container
        return None


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that determine a result."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def precision() -> str:
    """The precision of the factors of matrix products, as named by JAX."""
    return jax.config.values["jax_default_matmul_precision"] or "default"


def numbers() -> dict[str, bool]:
    """The settings of JAX under which the same run has quite other numbers, by their environment variables."""
    return {
        "JAX_ENABLE_X64": jax.config.values["jax_enable_x64"],
        "JAX_THREEFRY_PARTITIONABLE": jax.config.values["jax_threefry_partitionable"],
    }


def describe() -> str:
    """A description of the devices. Listing devices fixes their number, so all cores are claimed first."""
    _use_all_cores()
    available = jax.devices()
    kind = available[0].device_kind
    model = f" ({_processor()})" if available[0].platform == "cpu" else ""
    several = f" in {jax.process_count()} processes" if jax.process_count() > 1 else ""
    return f"{len(available)} x {kind}{model}{several}"


def _use_all_cores() -> None:
    already = jax.config.values["jax_num_cpu_devices"] != -1 or "device_count" in os.environ.get("XLA_FLAGS", "")
    if already:
        return
    # The size of XLA's thread pool is NPROC, by default the number of cores. A device that waits for the others in a
    # reduction holds a thread; without spare threads the parallel loops of the others wait for it in turn: a deadlock.
    # With many spare threads these loops are split into parts that are too small.
    os.environ.setdefault("NPROC", str(usable_cores() + SPARE_THREADS))
    try:
        jax.config.update("jax_num_cpu_devices", usable_cores())
    except RuntimeError:  # the devices are already in use and cannot be changed
        if jax.default_backend() == "cpu" and jax.device_count() < usable_cores():
            log.warning("JAX was used before metarl_jax: it uses %d of %d cores", jax.device_count(), usable_cores())


def _keep_pages() -> None:
    """Keep the memory that a step frees: to get it anew from Linux, page by page, takes large steps a twentieth longer.

    The numbers are those of glibc's malloc.h; other C libraries know none of this.
    """
    trim_threshold, mmap_max = -1, -4
    configure = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if configure:
        configure(mmap_max, 0)
        configure(trim_threshold, 2**31 - 1)


def _find_devices() -> None:
    try:
        jax.devices()
    except Exception as error:  # of several kinds: RuntimeError, AssertionError
        asked = os.environ.get("JAX_PLATFORMS")
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        remedy = f"JAX_PLATFORMS={asked} names none of this machine; unset it, or set it to cpu" if asked else reason
        raise UsageError(f"JAX has no device: {remedy}") from error


def _use_cache() -> None:
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    folder = cache_folder()
    if folder is None:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a read-only home costs time, not correctness
        return
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))


def _use_full_precision() -> None:
    """Use float32 for products of float32, unless JAX_DEFAULT_MATMUL_PRECISION is set.

    By default JAX rounds the factors to TF32 or bfloat16 on accelerators
    (https://docs.jax.dev/en/latest/201/precision.html). Gradients then have less than float32 precision.
    """
    if jax.default_backend() != "cpu" and jax.config.values["jax_default_matmul_precision"] is None:
        jax.config.update("jax_default_matmul_precision", "float32")


def version(package: str) -> str:
    """The installed version of a package, or "unknown"."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor() or platform.machine()
