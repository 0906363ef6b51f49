import chex
import jax.numpy as jnp
import numpy as np
import pytest

from jkd import data
from jkd.data.augment import standardise
from jkd.errors import UserError


def test_digits_are_the_default_and_split_for_good():
    digits = data.load()
    chex.assert_shape(digits.train_images, (1438, 16, 16, 3))
    chex.assert_shape(digits.test_images, (359, 16, 16, 3))
    chex.assert_type([digits.train_images, digits.test_images], np.uint8)
    chex.assert_type([digits.train_labels, digits.test_labels], np.int32)
    assert digits.class_names == tuple("0123456789") and digits.num_classes == 10
    shares = np.bincount(digits.test_labels) / np.bincount(digits.train_labels)
    np.testing.assert_allclose(shares, 0.25, atol=0.01)
    assert not digits.flip and digits.padding == 2
    chex.assert_trees_all_equal(data.load("digits").test_images, digits.test_images)


def test_digits_take_another_size():
    digits = data.load("digits", image_size=32)
    chex.assert_shape(digits.train_images, (1438, 32, 32, 3))
    assert digits.padding == 4


def test_mean_and_deviation_are_those_of_the_training_images():
    digits = data.load()
    standardised = standardise(jnp.asarray(digits.train_images), digits.mean, digits.std)
    np.testing.assert_allclose(standardised.mean((0, 1, 2)), 0, atol=1e-4)
    np.testing.assert_allclose(standardised.std((0, 1, 2)), 1, atol=1e-4)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("digit", r"unknown data set 'digit' \(did you mean 'digits'\?\)"),
        ("cifar-100", "did you mean 'cifar100'"),
        ("CIFAR10", "did you mean 'cifar10'"),
        ("", "unknown data set ''"),
        ("npz:/nowhere/x.npz", "/nowhere/x.npz: the file is not there"),
        ("npz:" + 300 * "x", "cannot be read .File name too long"),
        ("folder:/nowhere", "there is no folder '/nowhere/train'"),
        ("imdb_reviews", "'imdb_reviews' is not for image classification: it has text, label"),
        ("emnist/letter", r"cannot be opened \(did you mean 'emnist/letters'\?\): .* not found with version"),
        ("mnist:9.9.9", "'mnist:9.9.9' cannot be opened: .* version 9.9.9"),
    ],
)
def test_a_wrong_specification_is_told_before_any_work_in_one_line(tmp_path, spec, message):
    with pytest.raises(UserError, match=message) as caught:
        data.check(spec, data_dir=str(tmp_path))
    assert "\n" not in str(caught.value)


def test_a_path_without_its_kind_is_recognised(tmp_path):
    file = tmp_path / "x.npz"
    file.touch()
    (tmp_path / "train").mkdir()
    with pytest.raises(UserError, match=f"did you mean 'npz:{file}'"):
        data.check(str(file))
    with pytest.raises(UserError, match=f"did you mean 'folder:{tmp_path}'"):
        data.check(str(tmp_path))


def test_a_folder_named_like_no_data_set_is_recognised(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow_datasets")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_pets" / "cat").mkdir(parents=True)
    with pytest.raises(UserError, match=r"unknown data set 'my_pets'.*did you mean 'folder:my_pets'"):
        data.check("my_pets")


def test_the_fingerprint_is_that_which_folders_of_runs_carry():
    # Of the commit before data sets could have a validation part.
    assert data.load().fingerprint == "6e4b65065c1e"


def test_an_image_size_must_be_positive():
    with pytest.raises(UserError, match="--image-size=0"):
        data.check("digits", image_size=0)
