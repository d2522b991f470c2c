"""The facts for a bug report, and the usual faults of an installation, each with its remedy."""

import importlib.metadata
import importlib.util
import os
import re
import shutil
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp

from metarl_jax.experiment import devices
from metarl_jax.experiment.errors import UsageError

NEEDED_GIB = 1.0  # of memory and of disk
NVIDIA = Path("/dev/nvidiactl")
INSTALL_GPU = 'install JAX for it with `pip install "jax[cuda12]"`'


class Finding(NamedTuple):
    """One line of the report."""

    name: str
    value: str
    problem: str | None = None  # what is wrong, and the remedy


def examine() -> list[Finding]:
    """Packages, devices, cores, memory, disk, folders and precision, and one compiled product on every device."""
    found = [_packages(name, version) for name, version in devices.versions().items()]
    found += [_copies("jax"), _copies("jaxlib"), _gymnax(), Finding("cores", str(devices.usable_cores()))]
    found += [_memory(), _disk(), _runs()]
    try:
        devices.prepare()
    except UsageError as error:
        return [*found, Finding("devices", "none", str(error))]
    found += [_cache(), _devices(), _gpu(), _precision()]
    return found + [_compute(device) for device in jax.devices()]


def _packages(name: str, version: str) -> Finding:
    """A package within the range that this one declares."""
    declared = [line for line in _requirements() if _named(line) == name]
    bounds = re.findall(r"(>=|<)\s*([\d.]+)", declared[0].partition(";")[0]) if declared else []
    if version == "unknown":
        return Finding(name, version, f"it is not installed: `pip install {name}`" if declared else None)
    fits = all((_numbers(version) >= _numbers(bound)) == (sign == ">=") for sign, bound in bounds)
    wanted = ",".join(sign + bound for sign, bound in bounds)
    return Finding(name, version, None if fits else f'it must be {wanted}: `pip install "{name}{wanted}"`')


def _requirements() -> list[str]:
    """What this package declares; nothing where it is used from its folder."""
    try:
        return importlib.metadata.requires("metarl-jax") or []
    except importlib.metadata.PackageNotFoundError:
        return []


def _copies(package: str) -> Finding:
    """How many versions of a package are installed: a half-removed one hides behind the other."""
    found = {each.version for each in importlib.metadata.distributions(name=package) if each.version is not None}
    problem = f"several versions: `pip uninstall {package}` until none is left, then install it once"
    return Finding(f"versions of {package}", ", ".join(sorted(found)), problem if len(found) > 1 else None)


def _gymnax() -> Finding:
    missing = importlib.util.find_spec("gymnax") is None
    problem = "its environments cannot be used: `pip install gymnax six`"
    return Finding("gymnax", "missing" if missing else devices.version("gymnax"), problem if missing else None)


def _devices() -> Finding:
    idle = jax.default_backend() == "cpu" and jax.device_count() < devices.usable_cores()
    problem = "some cores are idle: check JAX_NUM_CPU_DEVICES and XLA_FLAGS"
    return Finding("devices", devices.describe(), problem if idle else None)


def _gpu() -> Finding:
    """A GPU that is there and not used."""
    there, used = NVIDIA.exists(), jax.default_backend()
    if not there or used != "cpu":
        return Finding("backend", used)
    asked = os.environ.get("JAX_PLATFORMS")
    remedy = f"unset JAX_PLATFORMS={asked}" if asked else INSTALL_GPU
    return Finding("backend", used, f"an NVIDIA GPU is present, but JAX computes on the CPU: {remedy}")


def _precision() -> Finding:
    on = bool(jax.config.values["jax_enable_x64"])
    return Finding("numbers", "float64, at half the speed: JAX_ENABLE_X64 is set" if on else "float32")


def _memory() -> Finding:
    gib = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
    problem = f"less than {NEEDED_GIB} GiB: choose fewer --tasks, or --preset tiny"
    return Finding("memory", f"{gib:.1f} GiB", problem if gib < NEEDED_GIB else None)


def _disk() -> Finding:
    gib = shutil.disk_usage(Path.cwd()).free / 2**30
    problem = f"less than {NEEDED_GIB} GiB: free some, or write elsewhere with --out"
    return Finding("disk", f"{gib:.1f} GiB free here", problem if gib < NEEDED_GIB else None)


def _runs() -> Finding:
    """The folder of runs, or the one in which it would be made."""
    folder = Path("runs")
    writable = os.access(folder if folder.exists() else Path.cwd(), os.W_OK)
    problem = None if writable else "it cannot be written: change to another folder, or name one with --out"
    return Finding("folder of runs", str(folder.absolute()), problem)


def _cache() -> Finding:
    folder = jax.config.values["jax_compilation_cache_dir"]
    where = devices.cache_folder() or "a folder of a user without a home"
    problem = f"off, so that every run compiles anew: {where} cannot be written; set XDG_CACHE_HOME"
    return Finding("compilation cache", str(folder), None if folder else problem)


def _compute(device: jax.Device) -> Finding:
    """Check a product with a known result: each entry of (1 1ᵀ)(1 1ᵀ) is n."""
    ones = jax.device_put(jnp.ones((64, 64)), device)
    right = bool(jnp.all(jax.jit(jnp.matmul)(ones, ones) == 64))
    return Finding(f"compute on {device}", "works" if right else "wrong", None if right else "a product is wrong")


def _named(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def _numbers(version: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", version)[:3]]
