"""The facts for a bug report, and a check of the devices."""

import os
import shutil
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.experiment import devices

NEEDED_GIB = 1.0  # of memory and of disk


class Finding(NamedTuple):
    """One line of the report."""

    name: str
    value: str
    problem: str | None = None


def examine() -> list[Finding]:
    """Versions, devices, cores, memory, disk, cache, and one compiled product on every device."""
    found = [Finding(name, version) for name, version in devices.versions().items()]
    found += [Finding("cores", str(devices.usable_cores())), _devices()]
    found += [_memory(), _disk(), _cache()]
    return found + [_compute(device) for device in jax.devices()]


def _devices() -> Finding:
    idle = jax.default_backend() == "cpu" and jax.device_count() < devices.usable_cores()
    problem = "some cores are idle: check JAX_NUM_CPU_DEVICES and XLA_FLAGS"
    return Finding("devices", devices.describe(), problem if idle else None)


def _memory() -> Finding:
    gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    return Finding("memory", f"{gib:.1f} GiB", f"less than {NEEDED_GIB} GiB" if gib < NEEDED_GIB else None)


def _disk() -> Finding:
    gib = shutil.disk_usage(Path.cwd()).free / 2**30
    return Finding("disk", f"{gib:.1f} GiB free here", f"less than {NEEDED_GIB} GiB" if gib < NEEDED_GIB else None)


def _cache() -> Finding:
    folder = jax.config.values["jax_compilation_cache_dir"]
    missing = None if folder else f"off: {devices.cache_folder()} cannot be written"
    return Finding("compilation cache", str(folder), missing)


def _compute(device: jax.Device) -> Finding:
    """Check a product with a known result: each entry of (1 1ᵀ)(1 1ᵀ) is n."""
    ones = jax.device_put(jnp.ones((64, 64)), device)
    right = bool(jnp.all(jax.jit(jnp.matmul)(ones, ones) == 64))
    return Finding(f"compute on {device}", "works" if right else "wrong", None if right else "a product is wrong")
