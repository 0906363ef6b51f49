"""The settings of a recipe beside the published ones of small images: what they do, and what cannot be."""

import dataclasses
import inspect
import sys

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from tiny import settings

import jkd
from jkd.methods import METHODS
from jkd.methods.base import Batch
from jkd.methods.scratch import cross_entropies
from jkd.planning import recipe as recipes
from jkd.planning.settings import Data, Recipe, Teachers
from jkd.run import read

DIGITS = {"teachers": ["resnet8"]}


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def rates(steps, epoch_steps=10, **given):
    rate = recipes.schedule(Recipe(**given), 0.4, epoch_steps, steps)
    return np.asarray([float(rate(jnp.asarray(step))) for step in range(steps)])


def test_the_rate_rises_evenly_and_then_follows_a_cosine():
    found = rates(100, schedule="cosine", warmup_epochs=2)
    np.testing.assert_allclose(found[:20], 0.4 * np.arange(1, 21) / 20, rtol=1e-6)
    np.testing.assert_allclose(found[20:], 0.2 * (1 + np.cos(np.pi * np.arange(80) / 80)), atol=1e-6)


def test_decays_are_counted_from_the_start_whatever_the_warm_up():
    plain, warmed = (rates(100, decay_at=(0.3, 0.6, 0.9), warmup_epochs=n) for n in (0, 1))
    np.testing.assert_allclose(plain[[0, 29, 30, 60, 90]], [0.4, 0.4, 0.04, 0.004, 0.0004], rtol=1e-5)
    np.testing.assert_allclose(warmed[10:], plain[10:], rtol=1e-5)


def test_settings_of_a_recipe_are_part_of_a_run_and_their_defaults_are_not():
    """A run that was begun before there were these settings goes on."""
    plain = jkd.plan("aver", **DIGITS)
    spelled = jkd.plan(
        "aver", **DIGITS, schedule="steps", optimizer="sgd", label_smoothing=0, warmup_epochs=0
    )
    assert plain.identity == spelled.identity
    later = {"schedule", "decay_at", "warmup_epochs", "label_smoothing", "optimizer", "resized_crop"}
    assert not later & (plain.identity["recipe"].keys() | plain.identity["dataset"].keys())
    others = [
        {"schedule": "cosine"},
        {"decay_at": [0.3, 0.6]},
        {"warmup_epochs": 1},
        {"label_smoothing": 0.1},
        {"optimizer": "adamw"},
        {"resized_crop": 0.5},
    ]
    plans = [plain, *(jkd.plan("aver", **DIGITS, **given) for given in others)]
    assert len({plan.folder for plan in plans}) == len({p.teachers[0].folder for p in plans}) == len(plans)
    assert "along a cosine" in str(plans[1]) and "labels smoothed by 0.1" in str(plans[4])


@pytest.mark.parametrize(
    "given, told",
    [
        ({"schedule": "cosine", "decay_at": [0.5]}, "--decay-at is of --schedule=steps"),
        ({"decay_at": [0.6, 0.3]}, "--decay-at=0.6,0.3"),
        ({"decay_at": [1.5]}, "--decay-at=1.5"),
        ({"optimizer": "adamw", "nesterov": True}, "--nesterov"),
        ({"optimizer": "adam"}, "sgd, adamw"),
        ({"warmup_epochs": 10, "schedule": "cosine"}, "--warmup-epochs=10 of --epochs=10"),
        ({"warmup_epochs": 7}, "the first decay, at 0.625"),
        ({"warmup_epochs": 4, "teacher_epochs": 4}, "--teacher-epochs=4"),
        ({"crop": False, "resized_crop": 0.5}, "--no-crop and --resized-crop"),
        ({"label_smoothing": 1.0}, "below 1"),
    ],
)
def test_what_cannot_be_is_told(given, told):
    with pytest.raises(jkd.UserError, match=told.replace("(", r"\(")):
        jkd.plan("aver", **DIGITS, **given)


def test_a_smoothed_label_is_the_cross_entropy_with_a_mixture():
    logits = jax.random.normal(jax.random.key(0), (4, 5))
    batch = Batch(jnp.zeros((4, 1, 1, 3)), jnp.asarray([0, 3, 4, 1]))
    targets = optax.smooth_labels(jax.nn.one_hot(batch.labels, 5), 0.1)
    smoothed = cross_entropies(logits, batch._replace(label_smoothing=jnp.float32(0.1)))
    chex.assert_trees_all_close(smoothed, optax.softmax_cross_entropy(logits, targets), rtol=1e-5)


def test_every_method_smooths_the_labels_of_its_lower_level():
    """In the source: no method has a cross-entropy of its own."""
    # by another test's own methods, which came out of files that are gone, nothing is found out here
    ours = {make.__module__ for make in METHODS.values() if make.__module__.startswith("jkd.methods.")}
    assert len(ours) > 10
    for name in ours - {"jkd.methods.scratch"}:
        assert "softmax_cross_entropy" not in inspect.getsource(sys.modules[name]), name


def test_adamw_has_no_rate_or_momentum_of_sgds():
    recipe = Recipe(optimizer="adamw")
    assert recipes.learning_rate(recipe, "vgg8") == recipes.learning_rate(recipe, "ShuffleV2") == 0.001
    assert recipes.nesterov(recipe, Teachers(), taught=True) is False
    recipes.check(dataclasses.replace(recipe, epochs=3), Data(), Teachers())


@pytest.mark.slow
def test_a_bi_level_run_learns_with_all_of_it(tiny_npz, tmp_path):
    given = {"optimizer": "adamw", "learning_rate": 0.01, "schedule": "cosine", "warmup_epochs": 1}
    given |= {"label_smoothing": 0.1, "resized_crop": 0.5, "dataset": f"npz:{tiny_npz}", "epochs": 3}
    trained = jkd.distil("bomd", **(settings(tmp_path) | given))
    losses = [record["train/ce"] for record in read(trained.folder).records]
    assert np.isfinite(losses).all() and losses[-1] < losses[0]
    assert all(np.isfinite(record["train/hypergradient_norm"]) for record in read(trained.folder).records)
