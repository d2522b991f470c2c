"""Shared by all tests: four host devices, quick compilation, compiled programs kept between runs."""

import collections
import gc
import os
import pathlib
from collections.abc import Callable

import jax
import pytest

HURRY = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
if jax.__version_info__ < (0, 11):  # an XLA that does not know a flag ends the process
    HURRY += " --xla_cpu_use_fusion_emitters=false"  # whose kernels run faster and compile for far longer
TESTS = pathlib.Path(__file__).parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "metarl_jax" / "tests"
COMPILED = "/jax/core/compile/backend_compile_duration"  # or loaded from the cache
# A compiled program takes up to a hundred memory maps, of which Linux by default allows a process 65,530. XLA crashes
# when there are none left.
MAPS = pathlib.Path("/proc/self/maps")
MANY_MAPS, MANY_PROGRAMS = 20_000, 2000  # before compiled programs are cleared
events: collections.Counter[str] = collections.Counter()  # since the last clearing

os.environ.setdefault("NPROC", "8")  # threads to spare while a device waits for another
jax.config.update("jax_num_cpu_devices", 4)
jax.config.update("jax_compilation_cache_dir", str(CACHE))
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)


def noted(event: str, seconds: float, fun_name: str = "", **_: object) -> None:
    """Count an event, in all and by function."""
    events.update([event, f"{event} {fun_name}"])


jax.monitoring.register_event_duration_secs_listener(noted)


def compiled(call: Callable[[], object]) -> int:
    """How many programs a call compiles, or loads from the cache."""
    before = events[COMPILED]
    call()
    return events[COMPILED] - before


def compilations(function: str) -> int:
    """How many programs of a function with this name have been compiled, or loaded from the cache."""
    return sum(count for event, count in events.items() if event.startswith(f"{COMPILED} ") and function in event)


def pytest_configure(config: pytest.Config) -> None:
    """Lower the optimisation level of the compiler, except for learning tests, which compute more than they compile.

    Subprocesses inherit the flags, which XLA reads at the first compilation.
    """
    if "not " in config.getoption("markexpr"):
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {HURRY}"


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Group the tests that share compiled programs: by file, and by algorithm or environment where these are named.

    Learning tests are slow tests.
    """
    for item in items:
        if item.get_closest_marker("learning"):
            item.add_marker("slow")
        params = item.callspec.params if hasattr(item, "callspec") else {}
        shared = next((params[by] for by in ("variant", "name", "algorithm", "environment") if by in params), "")
        item.add_marker(pytest.mark.xdist_group(f"{item.path.relative_to(TESTS).with_suffix('')}-{shared}"))


def crowded() -> bool:
    """Whether the process holds so many programs that they should be cleared."""
    return events[COMPILED] > MANY_PROGRAMS or (MAPS.exists() and MAPS.read_bytes().count(b"\n") > MANY_MAPS)


def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """Clear compiled programs once there are many, between groups or after a slow test, which shares few of them."""
    group = item.get_closest_marker("xdist_group")
    over = nextitem is None or nextitem.get_closest_marker("xdist_group") != group
    if (over or item.get_closest_marker("slow")) and crowded():
        events.clear()
        jax.clear_caches()
        gc.collect()
