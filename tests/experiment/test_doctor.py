"""The usual faults of an installation: each is named with its remedy."""

import os
from types import SimpleNamespace

import jax
import pytest

from metarl_jax.experiment import doctor
from metarl_jax.experiment.cli import main


@pytest.fixture
def healthy(monkeypatch, tmp_path):
    """A machine without a fault."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "NEEDED_GIB", 0.0)
    monkeypatch.setattr(doctor, "NVIDIA", tmp_path / "no-gpu")
    monkeypatch.setattr(doctor.devices, "usable_cores", jax.device_count)


def problems():
    return {finding.name: finding.problem for finding in doctor.examine() if finding.problem}


def test_nothing_is_wrong_here(healthy, capsys):
    assert problems() == {}
    assert main(["doctor"]) == 0
    assert "compute on" in capsys.readouterr().out


def test_little_memory_and_disk(healthy, monkeypatch, capsys):
    monkeypatch.setattr(doctor, "NEEDED_GIB", 1e9)
    assert main(["doctor"]) == 1
    printed = capsys.readouterr().out
    assert "PROBLEM: less than 1000000000.0 GiB: choose fewer --tasks" in printed
    assert "write elsewhere with --out" in printed


def test_versions_outside_the_declared_range_and_missing_packages(monkeypatch):
    monkeypatch.setattr(doctor.importlib.metadata, "requires", lambda name: ["jax>=0.10,<0.12", "six", "flax>=0.12"])
    assert doctor._packages("jax", "0.10.2").problem is None
    assert doctor._packages("jax", "0.9.9").problem == 'it must be >=0.10,<0.12: `pip install "jax>=0.10,<0.12"`'
    assert doctor._packages("jax", "0.12.0").problem is not None
    assert doctor._packages("flax", "unknown").problem == "it is not installed: `pip install flax`"
    assert doctor._packages("metarl-jax", "unknown").problem is None  # used from its folder


def test_two_versions_of_one_package(healthy, monkeypatch):
    copies = [SimpleNamespace(version="0.10.2"), SimpleNamespace(version="0.9.0")]
    monkeypatch.setattr(doctor.importlib.metadata, "distributions", lambda name: copies)
    assert "several versions: `pip uninstall jax`" in problems()["versions of jax"]


def test_gymnax_is_missing(healthy, monkeypatch):
    monkeypatch.setattr(doctor.importlib.util, "find_spec", lambda name: None)
    assert "`pip install gymnax six`" in problems()["gymnax"]


def test_a_gpu_that_is_not_used(healthy, monkeypatch, tmp_path):
    monkeypatch.setattr(doctor, "NVIDIA", tmp_path)
    monkeypatch.delenv("JAX_PLATFORMS", raising=False)
    assert problems()["backend"].endswith('install JAX for it with `pip install "jax[cuda12]"`')
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    assert problems()["backend"].endswith("unset JAX_PLATFORMS=cpu")


def test_folders_that_cannot_be_written(healthy, monkeypatch):
    monkeypatch.setattr(os, "access", lambda folder, mode: False)
    assert "name one with --out" in problems()["folder of runs"]
    monkeypatch.setattr(doctor.jax, "config", SimpleNamespace(values={"jax_compilation_cache_dir": None}))
    assert "set XDG_CACHE_HOME" in doctor._cache().problem


@pytest.mark.parametrize("error", [RuntimeError("Unable to initialize backend 'tpu'\nand more"), AssertionError()])
def test_a_platform_that_is_not_here(healthy, monkeypatch, error):
    def none():
        raise error

    monkeypatch.setattr(doctor.devices.jax, "devices", none)
    monkeypatch.setenv("JAX_PLATFORMS", "tpu")
    said = "JAX has no device: JAX_PLATFORMS=tpu names none of this machine; unset it, or set it to cpu"
    assert problems() == {"devices": said}


def test_64_bit_numbers(healthy):
    with jax.enable_x64(True):
        found = doctor._precision()
    assert found.problem is None
    assert found.value == "float64, at half the speed: JAX_ENABLE_X64 is set"
