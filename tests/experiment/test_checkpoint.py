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
        checkpoint.save(tmp_path, step, LEARNER.init(jax.random.fold_in(KEY, step)), keep=3)
    return tmp_path


def largest_file(path):
    return max((file for file in (path / "arrays").rglob("*") if file.is_file()), key=lambda file: file.stat().st_size)


def flip_a_bit(path):
    file = largest_file(path)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def cut_short(path):
    file = largest_file(path)
    file.write_bytes(file.read_bytes()[:-7])


def lose_a_file(path):
    largest_file(path).unlink()


def lose_the_manifest(path):
    (path / "manifest.json").unlink()


def empty_the_manifest(path):
    (path / "manifest.json").write_text("")


def change_the_step(path):
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps(manifest | {"step": 21}))


def swap_manifests(path):
    shutil.copy(path.parent / "step-00000010" / "manifest.json", path / "manifest.json")


DAMAGES = [
    flip_a_bit,
    cut_short,
    lose_a_file,
    lose_the_manifest,
    empty_the_manifest,
    change_the_step,
    swap_manifests,
]


def test_every_kind_of_leaf_comes_back(saved):
    step, state = checkpoint.newest(saved, LIKE)
    assert step == 20
    assert_same(state, LEARNER.init(jax.random.fold_in(KEY, 20)))


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_reported_and_the_one_before_taken(saved, damage, caplog):
    damage(saved / "step-00000020")
    step, state = checkpoint.newest(saved, LIKE)
    assert step == 10
    assert_same(state, LEARNER.init(jax.random.fold_in(KEY, 10)))
    assert "skipped checkpoint step-00000020" in caplog.text


def test_without_a_usable_checkpoint_loading_fails_and_changes_no_file(saved):
    for path in checkpoint.found(saved):
        flip_a_bit(path)
    before = {path: path.read_bytes() for path in saved.rglob("*") if path.is_file()}
    with pytest.raises(UnusableRun) as caught:
        checkpoint.newest(saved, LIKE)
    assert caught.value.exit_code == 4
    assert before == {path: path.read_bytes() for path in saved.rglob("*") if path.is_file()}


def test_an_absent_folder_has_no_newest_checkpoint(tmp_path):
    assert checkpoint.newest(tmp_path / "checkpoints", LIKE) is None


def test_a_checkpoint_that_is_not_finite_is_not_loaded(tmp_path):
    state = LEARNER.init(KEY)
    state = state._replace(meta_params=state.meta_params | {"w": state.meta_params["w"].at[0, 0].set(jnp.nan)})
    checkpoint.save(tmp_path, 1, state, keep=3)
    with pytest.raises(DamagedCheckpoint, match=r"meta_params\.w is not finite"):
        checkpoint.load(tmp_path / "step-00000001", LIKE)


@pytest.mark.parametrize("other", [jnp.zeros((3, 2), jnp.bfloat16), jnp.zeros((2, 3))])
def test_another_shape_or_dtype_is_not_loaded(saved, other):
    like = LIKE._replace(meta_params=LIKE.meta_params | {"w": jax.eval_shape(lambda: other)})
    with pytest.raises(DamagedCheckpoint, match="w is"):
        checkpoint.load(saved / "step-00000020", like)


def test_a_state_with_another_leaf_is_not_loaded(saved):
    like = LIKE._replace(meta_params=LIKE.meta_params | {"more": LIKE.meta_params["w"]})
    with pytest.raises(DamagedCheckpoint, match="more is None"):
        checkpoint.load(saved / "step-00000020", like)


def test_only_the_newest_checkpoints_are_kept(tmp_path):
    for step in (1, 2, 3, 10):
        checkpoint.save(tmp_path, step, LEARNER.init(KEY), keep=2)
    assert [path.name for path in checkpoint.found(tmp_path)] == ["step-00000003", "step-00000010"]


def test_a_damaged_one_is_set_aside_when_its_step_comes_again(saved):
    flip_a_bit(saved / "step-00000020")
    checkpoint.save(saved, 20, LEARNER.init(KEY), keep=3)
    assert checkpoint.newest(saved, LIKE)[0] == 20
    assert (saved / "damaged-00000020-1").is_dir()


def test_damaged_newer_ones_do_not_crowd_out_good_ones(saved):
    flip_a_bit(saved / "step-00000020")
    checkpoint.save(saved, 15, LEARNER.init(KEY), keep=1)
    assert checkpoint.newest(saved, LIKE)[0] == 15


def test_an_unfinished_draft_is_no_checkpoint(saved):
    shutil.copytree(saved / "step-00000020", saved / "draft-00000030")
    assert checkpoint.newest(saved, LIKE)[0] == 20


def test_checkpoints_are_ordered_by_number(tmp_path):
    """Also where a number has outgrown the zeros before it; other folders are none."""
    for step in (99_999_998, 99_999_999, 100_000_000, 100_000_001, 100_000_002):
        checkpoint.save(tmp_path, step, LEARNER.init(jax.random.fold_in(KEY, step)), keep=3)
    (tmp_path / "step-by-step").mkdir()
    assert [int(path.name[5:]) for path in checkpoint.found(tmp_path)] == [100_000_000, 100_000_001, 100_000_002]
    step, state = checkpoint.newest(tmp_path, LIKE)
    assert step == 100_000_002
    assert_same(state, LEARNER.init(jax.random.fold_in(KEY, step)))
