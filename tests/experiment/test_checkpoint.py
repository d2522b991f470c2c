"""Checkpoints: what was saved comes back, and what was damaged is never used."""

import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import shell_toy

from metarl_jax.envs import make
from metarl_jax.experiment import checkpoint
from metarl_jax.experiment.checkpoint import DamagedCheckpoint
from metarl_jax.experiment.errors import UnusableRun

LEARNER = shell_toy.Toy().build(make("bandit"))
KEY = jax.random.key(5)
RUN = "the digest of its configuration"
LIKE = jax.eval_shape(LEARNER.init, KEY)


def raw(leaf):
    return np.asarray(jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)


def assert_same(one, other):
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(raw(a), raw(b))


@pytest.fixture
def saved(tmp_path):
    for step in (10, 20):
        checkpoint.save(tmp_path, RUN, step, LEARNER.init(jax.random.fold_in(KEY, step)), keep=3)
    return tmp_path


def flip_a_bit(path):
    content = bytearray((path / "arrays.safetensors").read_bytes())
    content[len(content) // 2] ^= 1
    (path / "arrays.safetensors").write_bytes(content)


def lose_the_arrays(path):
    (path / "arrays.safetensors").unlink()


def lose_the_manifest(path):
    (path / "manifest.json").unlink()


def empty_the_manifest(path):
    (path / "manifest.json").write_text("")


def change_the_step(path):
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"step": 21}))


def swap_manifests(path):
    shutil.copy(path.parent / "step-00000010" / "manifest.json", path / "manifest.json")


def add_a_file(path):
    (path / "more").touch()


def add_a_folder(path):
    (path / "more").mkdir()


def link_the_folder(path):
    path.rename(path.with_name("elsewhere"))
    path.symlink_to(path.with_name("elsewhere"))


def replace_the_folder(path):
    shutil.rmtree(path)
    path.touch()


def take_that_of_another_run(path):
    shutil.rmtree(path)
    checkpoint.save(path.parent, "another run", 20, LEARNER.init(KEY), keep=9)


DAMAGES = [
    flip_a_bit,
    lose_the_arrays,
    lose_the_manifest,
    empty_the_manifest,
    change_the_step,
    swap_manifests,
    add_a_file,
    add_a_folder,
    link_the_folder,
    replace_the_folder,
    take_that_of_another_run,
]


def test_every_kind_of_leaf_comes_back(saved):
    step, state = checkpoint.newest(saved, RUN, LIKE)
    assert step == 20
    assert_same(state, LEARNER.init(jax.random.fold_in(KEY, 20)))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_reported_and_the_one_before_taken(saved, damage, caplog):
    damage(saved / "step-00000020")
    step, state = checkpoint.newest(saved, RUN, LIKE)
    assert step == 10
    assert_same(state, LEARNER.init(jax.random.fold_in(KEY, 10)))
    assert "skipped checkpoint step-00000020" in caplog.text


def test_without_a_usable_checkpoint_loading_fails_and_changes_no_file(saved):
    for path in checkpoint.found(saved):
        flip_a_bit(path)
    before = {path: path.read_bytes() for path in saved.rglob("*") if path.is_file()}
    with pytest.raises(UnusableRun) as caught:
        checkpoint.newest(saved, RUN, LIKE)
    assert caught.value.exit_code == 4
    assert before == {path: path.read_bytes() for path in saved.rglob("*") if path.is_file()}


def test_an_absent_folder_has_no_newest_checkpoint(tmp_path):
    assert checkpoint.newest(tmp_path / "checkpoints", RUN, LIKE) is None


def test_a_state_that_is_not_finite_is_not_saved(saved):
    state = LEARNER.init(KEY)
    state = state._replace(meta_params=state.meta_params | {"w": state.meta_params["w"].at[0, 0].set(jnp.nan)})
    with pytest.raises(OSError, match=r"meta_params\.w is not finite"):
        checkpoint.save(saved, RUN, 30, state, keep=1)
    assert checkpoint.newest(saved, RUN, LIKE)[0] == 20


@pytest.mark.parametrize("other", [jnp.zeros((3, 2), jnp.bfloat16), jnp.zeros((2, 3))])
def test_another_shape_or_dtype_is_not_loaded(saved, other):
    like = LIKE._replace(meta_params=LIKE.meta_params | {"w": jax.eval_shape(lambda: other)})
    with pytest.raises(DamagedCheckpoint, match="w is"):
        checkpoint.load(saved / "step-00000020", RUN, like)


def test_a_state_with_another_leaf_is_not_loaded(saved):
    like = LIKE._replace(meta_params=LIKE.meta_params | {"more": LIKE.meta_params["w"]})
    with pytest.raises(DamagedCheckpoint, match=r"more is missing and should be float32 \[3, 2\]"):
        checkpoint.load(saved / "step-00000020", RUN, like)


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    for step in (1, 2, 3, 10):
        checkpoint.save(tmp_path, RUN, step, LEARNER.init(KEY), keep=2)
    assert [path.name for path in checkpoint.found(tmp_path)] == ["step-00000003", "step-00000010"]


def test_a_damaged_one_is_set_aside_when_its_step_comes_again(saved):
    flip_a_bit(saved / "step-00000020")
    checkpoint.save(saved, RUN, 20, LEARNER.init(KEY), keep=3)
    assert checkpoint.newest(saved, RUN, LIKE)[0] == 20
    assert (saved / "damaged-00000020-1").is_dir()


def test_damaged_newer_ones_do_not_crowd_out_good_ones(saved):
    flip_a_bit(saved / "step-00000020")
    checkpoint.save(saved, RUN, 15, LEARNER.init(KEY), keep=1)
    assert checkpoint.newest(saved, RUN, LIKE)[0] == 15
    assert names(saved) == {"step-00000015", "damaged-00000020-1"}


@pytest.mark.parametrize("damage", DAMAGES)
def test_only_checkpoints_of_the_run_are_counted_and_deleted(saved, damage):
    """Damaged ones, foreign ones and copies stay where they are, and take no one's place."""
    for name in (
        "step-00000010 (copy)",
        "step-10",
        "step-0000000010",
        "step-٠٠٠٠٠٠٢٠",
        "draft-00000010",
        "step-00000010.draft",
    ):
        shutil.copytree(saved / "step-00000010", saved / name)
    damage(saved / "step-00000020")
    before = names(saved)
    checkpoint.save(saved, RUN, 30, LEARNER.init(KEY), keep=2)
    assert names(saved) == before | {"step-00000030"}
    checkpoint.save(saved, RUN, 40, LEARNER.init(KEY), keep=2)
    assert names(saved) == before - {"step-00000010"} | {"step-00000030", "step-00000040"}


def test_a_save_reads_few_of_the_checkpoints_that_it_keeps(tmp_path, monkeypatch):
    """The new one, and the one before once more; a change of any other is seen by its file."""
    read = []
    arrays = checkpoint._arrays
    monkeypatch.setattr(
        checkpoint, "_arrays", lambda path, manifest: (read.append(path.name), arrays(path, manifest))[1]
    )
    for step in range(1, 9):
        checkpoint.save(tmp_path, RUN, step, LEARNER.init(KEY), keep=4)
    assert len(read) == 8 + 7
    flip_a_bit(tmp_path / "step-00000006")
    checkpoint.save(tmp_path, RUN, 9, LEARNER.init(KEY), keep=3)
    assert names(tmp_path) == {f"step-{step:08d}" for step in (6, 7, 8, 9)}


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_what_a_killed_save_left_is_cleared(saved):
    before = names(saved)
    for step in (20, 30):
        shutil.copytree(saved / "step-00000010", saved / f"step-{step:08d}.0123abcd.draft")
    checkpoint.save(saved, RUN, 30, LEARNER.init(KEY), keep=3)
    assert names(saved) == before | {"step-00000030"}


def test_an_unfinished_draft_is_no_checkpoint(saved):
    shutil.copytree(saved / "step-00000020", saved / "draft-00000030")
    assert checkpoint.newest(saved, RUN, LIKE)[0] == 20


def test_checkpoints_are_ordered_by_number(tmp_path):
    """Also where a number has outgrown the zeros before it; other folders are none."""
    for step in (99_999_998, 99_999_999, 100_000_000, 100_000_001, 100_000_002):
        checkpoint.save(tmp_path, RUN, step, LEARNER.init(jax.random.fold_in(KEY, step)), keep=3)
    (tmp_path / "step-by-step").mkdir()
    assert [int(path.name[5:]) for path in checkpoint.found(tmp_path)] == [100_000_000, 100_000_001, 100_000_002]
    step, state = checkpoint.newest(tmp_path, RUN, LIKE)
    assert step == 100_000_002
    assert_same(state, LEARNER.init(jax.random.fold_in(KEY, step)))
