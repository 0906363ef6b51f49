from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from jkd import models
from jkd.errors import UserError
from jkd.interop.checkpoint import load_state_dict
from jkd.interop.torch import from_state_dict, to_state_dict


@pytest.fixture
def entries():
    """A state dict of resnet8 with seven classes."""
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(models.create("resnet8", 7).init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    return to_state_dict(jax.tree.map(lambda leaf: rng.random(leaf.shape, np.float32), shapes))


def test_round_trip(entries):
    chex.assert_trees_all_equal(to_state_dict(from_state_dict("resnet8", entries)), entries)


def test_names_and_shapes_are_pytorchs(entries):
    assert entries["layer2.0.downsample.0.weight"].shape == (32, 16, 1, 1)
    assert entries["layer3.0.conv1.weight"].shape == (64, 32, 3, 3)
    assert entries["layer1.0.bn2.running_var"].shape == (16,)
    assert entries["fc.weight"].shape == (7, 64)


def test_data_parallel_and_counts_are_accepted(entries):
    entries["bn1.num_batches_tracked"] = np.array(5)
    parallel = {f"module.{key}": value for key, value in entries.items()}
    variables = from_state_dict("resnet8", parallel)
    chex.assert_trees_all_equal(variables["params"]["fc"]["kernel"], entries["fc.weight"].T)


@pytest.mark.parametrize("suffix", [".npz", ".safetensors"])
def test_files(tmp_path, entries, suffix):
    path = tmp_path / f"teacher{suffix}"
    np.savez(path, **entries) if suffix == ".npz" else save_file(entries, path)
    chex.assert_trees_all_equal(load_state_dict(path), entries)

    for size in (0, 10, path.stat().st_size // 2, path.stat().st_size - 1):
        short = tmp_path / f"short{suffix}"
        short.write_bytes(path.read_bytes()[:size])
        assert_told(partial(load_state_dict, short), str(short))


def test_other_files_are_refused(tmp_path):
    assert_told(lambda: load_state_dict(tmp_path / "missing.npz"), "missing.npz")
    assert_told(lambda: load_state_dict(tmp_path / "teacher.pth"), "teacher.pth", ".npz", ".safetensors")
    np.save(tmp_path / "array.npy", np.zeros(3))
    (tmp_path / "array.npy").rename(tmp_path / "array.npz")
    assert_told(lambda: load_state_dict(tmp_path / "array.npz"), "array.npz")


def test_faulty_entries_are_named(entries):
    del entries["conv1.weight"]
    entries["layer1.0.conv1.bias"] = np.zeros(16)
    entries["bn1.weight"] = np.zeros(17)
    assert_told(
        lambda: from_state_dict("resnet8", entries),
        "1 missing (conv1.weight)",
        "1 unexpected (layer1.0.conv1.bias)",
        "1 wrongly shaped (bn1.weight (17,), should be (16,))",
    )


@pytest.mark.parametrize("shape", [(), (0, 64), (7,), (7, 65)])
def test_classifier_of_another_shape_is_named(entries, shape):
    entries["fc.weight"] = np.zeros(shape)
    assert_told(lambda: from_state_dict("resnet8", entries), f"fc.weight {shape}, should be")


def test_classes_without_the_classifiers_weight(entries):
    del entries["fc.weight"]
    assert "wrongly shaped" not in assert_told(lambda: from_state_dict("resnet8", entries), "(fc.weight)")


def test_another_network_is_told_in_one_line(entries):
    message = assert_told(
        lambda: from_state_dict("vgg8", entries), "32 missing (", "47 unexpected (", ", ..."
    )
    assert len(message) < 400


def test_empty_state_dict():
    assert_told(lambda: from_state_dict("resnet8", {}), "missing")


def assert_told(call, *parts):
    with pytest.raises(UserError) as caught:
        call()
    message = str(caught.value)
    assert "\n" not in message
    for part in parts:
        assert part in message
    return message
