"""Checkpoints as trainers save them: where the state dict lies in them, how its entries are called."""

import argparse
import importlib.util

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.flax import save_file as save_jax

from jkd import models
from jkd.errors import UserError
from jkd.interop.checkpoint import check, load_state_dict
from jkd.interop.torch import from_state_dict, to_state_dict


@pytest.fixture(scope="module")
def variables():
    rng = np.random.default_rng(0)
    shapes = jax.eval_shape(models.create("resnet8", 7).init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    return jax.tree.map(lambda leaf: jnp.asarray(rng.random(leaf.shape, np.float32)), shapes)


@pytest.fixture(scope="module")
def entries(variables):
    return to_state_dict(variables)


@pytest.mark.parametrize(
    "before", ["module.", "model.", "backbone.", "net.", "_orig_mod.module.", "student."]
)
def test_what_wrappers_put_before_names_is_dropped(variables, entries, before):
    given = {before + key: value for key, value in entries.items()}
    chex.assert_trees_all_equal(from_state_dict("resnet8", given), variables)


def test_of_a_whole_training_it_is_the_student(variables, entries):
    """As mdistiller's `latest` has it."""
    given = {f"module.student.{key}": value for key, value in entries.items()}
    given |= {f"module.teacher.{key}": np.zeros(1) for key in entries} | {
        "module.regressor.weight": np.zeros(1)
    }
    chex.assert_trees_all_equal(from_state_dict("resnet8", given), variables)


def test_bfloat16(tmp_path, entries):
    save_jax(
        {key: jnp.asarray(value, jnp.bfloat16) for key, value in entries.items()}, tmp_path / "a.safetensors"
    )
    found = from_state_dict("resnet8", load_state_dict(tmp_path / "a.safetensors"))
    assert found["params"]["fc"]["kernel"].dtype == jnp.float32
    np.testing.assert_allclose(found["params"]["fc"]["kernel"], entries["fc.weight"].T, rtol=0.01)


@pytest.mark.parametrize(
    "true, said", [("resnet14", "resnet8"), ("resnet8x4", "resnet8"), ("vgg8", "resnet14")]
)
def test_the_network_that_fits_is_named(monkeypatch, true, said):
    monkeypatch.setattr(models, "names", lambda: ("resnet8", "resnet14", "resnet8x4", "vgg8", "tiny"))
    network = models.create(true, 5)
    shapes = jax.eval_shape(network.init, jax.random.key(0), jnp.zeros((1, 16, 16, 3)))
    given = to_state_dict(jax.tree.map(lambda leaf: np.ones(leaf.shape, np.float32), shapes))
    with pytest.raises(UserError, match=f"not a state dict of {said} but of {true}: "):
        from_state_dict(said, given)
    given["more.weight"] = np.ones(3)
    with pytest.raises(
        UserError, match=rf"not a state dict of {said} \(nearest is {true}: 9\d% of the entries"
    ):
        from_state_dict(said, given)


def test_without_pytorch_its_files_are_told_what_they_need(tmp_path, monkeypatch):
    (tmp_path / "a.pth").write_bytes(b"PK\x03\x04")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UserError, match="needs PyTorch, which is not installed: pip install 'torch>="):
        check(tmp_path / "a.pth")


def with_torch(state):
    import torch

    return {key: torch.tensor(value) for key, value in state.items()}


# What RepDistiller, MMKD, MTKD-RL, mdistiller, timm, torchvision's references and Lightning save.
PLACES = {
    "itself": lambda state: state,
    "RepDistiller's": lambda state: {
        "opt": argparse.Namespace(model="resnet8", lr=0.05),
        "model": state,
        "optimizer": {"state": {0: {"momentum_buffer": state["fc.weight"]}}, "param_groups": [{"lr": 0.1}]},
    },
    "with its accuracy": lambda state: {"epoch": 240, "accuracy": state["fc.bias"].mean(), "model": state},
    "with numpy's numbers": lambda state: {"net": state, "best_acc": np.float64(74.6), "epoch": np.int64(3)},
    "with an average": lambda state: {
        "state_dict": state,
        "state_dict_ema": {k: v * 0 for k, v in state.items()},
    },
    "two deep": lambda state: {"checkpoint": {"epoch": 1, "model": state}},
    "under another name": lambda state: {"resnet": state, "metrics": {"loss": state["fc.bias"].mean()}},
    "Lightning's": lambda state: {"state_dict": {f"model.{key}": value for key, value in state.items()}},
}


@pytest.mark.torch
@pytest.mark.parametrize("old", [False, True], ids=["zip", "before 1.6"])
@pytest.mark.parametrize("place", PLACES)
def test_where_trainers_keep_the_state_dict(tmp_path, variables, entries, place, old):
    import torch

    content = PLACES[place](with_torch(entries) | {"bn1.num_batches_tracked": torch.tensor(3)})
    for name in ("a.pth", "a.pth.tar", "a.ckpt", "student_best"):
        torch.save(content, tmp_path / name, _use_new_zipfile_serialization=not old)
        found = from_state_dict("resnet8", load_state_dict(tmp_path / name))
        chex.assert_trees_all_equal(found, variables)


@pytest.mark.torch
@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_types_of_pytorchs(tmp_path, entries, dtype):
    import torch

    state = {
        key: torch.nn.Parameter(value.to(getattr(torch, dtype))) for key, value in with_torch(entries).items()
    }
    torch.save(state, tmp_path / "a.pt")
    kernel = from_state_dict("resnet8", load_state_dict(tmp_path / "a.pt"))["params"]["fc"]["kernel"]
    assert kernel.dtype == jnp.float32
    np.testing.assert_allclose(kernel, entries["fc.weight"].T, rtol=0.01)


@pytest.mark.torch
def test_a_pytorch_whose_loader_can_be_got_around_is_refused(tmp_path, monkeypatch):
    import torch

    torch.save({}, tmp_path / "a.pth")
    monkeypatch.setattr(torch, "__version__", "2.9.1+cu128")
    with pytest.raises(UserError, match=r"PyTorch 2\.9\.1.* pip install 'torch>=2\.10'"):
        check(tmp_path / "a.pth")
