"""Devices: all cores of a CPU, a mesh over the task axis, full precision, a compilation cache that outlives runs."""

import importlib.metadata
import logging
import os
import platform
from pathlib import Path

import jax

PACKAGES = ("metarl-jax", "jax", "jaxlib", "flax", "optax", "numpy", "orbax-checkpoint")
SPARE_THREADS = 2
log = logging.getLogger("metarl_jax")


def prepare() -> None:
    """Use every core, the compilation cache and full precision.

    Call before the first use of a device; later it changes little.
    """
    _use_all_cores()
    _use_cache()
    _use_full_precision()


def usable_cores() -> int:
    """How many cores this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def task_mesh(tasks: int, minibatches: int = 1) -> jax.sharding.Mesh | None:
    """A mesh over as many devices as can share the tasks of every minibatch evenly, with the one axis "tasks".

    None where one device does the work.
    """
    available = jax.devices()
    used = max(count for count in range(1, len(available) + 1) if tasks % (count * minibatches) == 0 or count == 1)
    if used < len(available):
        parts = f" in {minibatches} minibatches" if minibatches > 1 else ""
        rule = f"{tasks} tasks{parts} do not divide by {len(available)} devices, so {used} will be used"
        log.warning("%s; a multiple of %d tasks would use all", rule, len(available) * minibatches)
    if used == 1:
        return None
    # The default of make_mesh, Explicit axes, would put the sharding into every type.
    auto = (jax.sharding.AxisType.Auto,)
    return jax.make_mesh((used,), ("tasks",), axis_types=auto, devices=available[:used])


def cache_folder() -> Path:
    """Where compiled programs are kept, one folder a user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "metarl_jax" / "xla"


def versions() -> dict[str, str]:
    """Versions of Python and of what determines a result."""
    return {"python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def precision() -> str:
    """To what factors of a product are rounded, in JAX's words."""
    return jax.config.values["jax_default_matmul_precision"] or "default"


def describe() -> str:
    """The devices in words; asking for them fixes their number, so all cores are claimed first."""
    _use_all_cores()
    available = jax.devices()
    kind = available[0].device_kind
    model = f" ({_processor()})" if available[0].platform == "cpu" else ""
    return f"{len(available)} x {kind}{model}"


def _use_all_cores() -> None:
    already = jax.config.values["jax_num_cpu_devices"] != -1 or "device_count" in os.environ.get("XLA_FLAGS", "")
    if already:
        return
    # XLA sizes its thread pool by NPROC, else by the cores. A device that waits for the others in a reduction holds a
    # thread; with no thread to spare the others' parallel loops wait for it in turn, for ever. With many to spare these
    # loops are cut in parts too small to be worth it.
    os.environ.setdefault("NPROC", str(usable_cores() + SPARE_THREADS))
    try:
        jax.config.update("jax_num_cpu_devices", usable_cores())
    except RuntimeError:  # the devices are in use already: what is there will do
        if jax.default_backend() == "cpu" and jax.device_count() < usable_cores():
            log.warning("JAX was used before metarl_jax: %d of %d cores", jax.device_count(), usable_cores())


def _use_cache() -> None:
    if jax.config.values["jax_compilation_cache_dir"] is not None:
        return
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:  # a home that cannot be written costs time, not correctness
        return
    if os.access(folder, os.W_OK):
        jax.config.update("jax_compilation_cache_dir", str(folder))


def _use_full_precision() -> None:
    """Products of float32 in float32, unless JAX_DEFAULT_MATMUL_PRECISION says otherwise.

    By itself JAX rounds the factors on accelerators, to TF32 or bfloat16
    (https://docs.jax.dev/en/latest/201/precision.html): a gradient is then not exact to what float32 can say.
    """
    if jax.default_backend() != "cpu" and jax.config.values["jax_default_matmul_precision"] is None:
        jax.config.update("jax_default_matmul_precision", "float32")


def _version(package: str) -> str:
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
