import chex
import jax.numpy as jnp
import numpy as np
import pytest

from jkd import data
from jkd.data import Data
from jkd.errors import UserError

random = np.random.default_rng(0)
GOOD = {
    "x_train": random.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8),
    "y_train": np.arange(12)[:, None] % 3,
    "x_test": random.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8),
    "y_test": np.arange(6) % 3,
}
VALIDATION = {"x_validation": GOOD["x_test"][:3], "y_validation": np.array([2, 0, 1])}


def test_arrays_come_back_as_they_were():
    given = Data(*GOOD.values(), ["ant", "bee", "cat"], **VALIDATION)
    data.check(given)
    loaded = data.load(given)
    chex.assert_trees_all_equal(loaded.train_images, GOOD["x_train"])
    chex.assert_trees_all_equal(loaded.test_images, GOOD["x_test"])
    chex.assert_trees_all_equal(loaded.validation_images, VALIDATION["x_validation"])
    chex.assert_trees_all_equal(loaded.train_labels, GOOD["y_train"][:, 0].astype(np.int32))
    chex.assert_trees_all_equal(loaded.validation_labels, VALIDATION["y_validation"].astype(np.int32))
    assert loaded.class_names == ("ant", "bee", "cat") and loaded.num_classes == 3
    assert loaded.name == "data" and loaded.flip and loaded.padding == 1 and loaded.notes == ()


def test_without_names_and_validation_there_are_none():
    loaded = data.load(Data(**GOOD))
    assert loaded.class_names is None and loaded.validation_images is loaded.validation_labels is None


def test_the_same_arrays_are_the_same_data_as_in_a_file(tmp_path):
    np.savez(tmp_path / "x.npz", **GOOD, **VALIDATION)
    from_file = data.load(f"npz:{tmp_path / 'x.npz'}")
    assert data.load(Data(**GOOD, **VALIDATION)).fingerprint == from_file.fingerprint
    assert data.load(Data(**GOOD)).fingerprint != from_file.fingerprint


@pytest.mark.parametrize("channel_axis", [(), (1,)])
def test_grey_images_get_three_channels_and_any_size(channel_axis):
    grey = {name: GOOD[name][..., 0].reshape(-1, 8, 8, *channel_axis) for name in ("x_train", "x_test")}
    loaded = data.load(Data(**GOOD | grey))
    for channel in range(3):
        chex.assert_trees_all_equal(loaded.test_images[..., channel], GOOD["x_test"][..., 0])
    chex.assert_shape(data.load(Data(**GOOD | grey), image_size=5).train_images, (12, 5, 5, 3))


def test_lists_and_jax_arrays_are_arrays_too():
    given = {name: jnp.asarray(array) for name, array in GOOD.items()}
    loaded = data.load(Data(**given | {"y_test": GOOD["y_test"].tolist()}, classes=np.array(["a", "b", "c"])))
    assert loaded.fingerprint == data.load(Data(**GOOD)).fingerprint
    assert loaded.class_names == ("a", "b", "c")


def test_mirroring_is_guessed_from_the_name_or_said_outright():
    for name, flip, expected in (
        ("cats", None, True),
        ("my mnist", None, False),
        ("my mnist", True, True),
        ("cats", False, False),
    ):
        assert data.load(Data(**GOOD, name=name, flip=flip)).flip == expected


def test_images_of_another_size_are_fine_where_a_size_is_asked_for():
    given = Data(**GOOD | {"x_test": GOOD["x_test"][:, :4]})
    with pytest.raises(UserError, match="training images are 8x8 and test images 4x8; give --image-size=N"):
        data.check(given)
    data.check(given, image_size=4)
    chex.assert_shape(data.load(given, image_size=4).test_images, (6, 4, 4, 3))


FLOATS = GOOD["x_train"] / 255


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"x_train": FLOATS},
            "x_train has type float64; images must be .*: multiply by 255 and convert to uint8",
        ),
        ({"x_test": np.float32(GOOD["x_test"])}, "x_test has type float32; .*: convert them"),
        ({"x_train": 4 * FLOATS - 2}, "x_train has type float64; images must be uint8, 0 to 255$"),
        (
            {"x_train": np.int64(GOOD["x_train"])},
            r"x_train has type int64; .* convert them, .*astype\('uint8'\)",
        ),
        (
            {"x_train": np.moveaxis(GOOD["x_train"], -1, 1)},
            r"shape \(12, 3, 8, 8\); .* x.transpose\(0, 2, 3, 1\)",
        ),
        ({"x_test": GOOD["x_test"][:5]}, "x_test has 5 images but y_test has 6 labels"),
        ({"x_test": GOOD["x_test"][:0], "y_test": []}, "y_test has type float64; labels must be integers"),
        ({"y_train": np.eye(12)}, r"y_train has shape \(12, 12\); labels must be \[N\]"),
        (
            {"y_test": np.array([0, 1, 2, 0, 3, 2])},
            "test label 3 of image 4 is not among the training labels",
        ),
        ({"y_train": 10**15 * GOOD["y_train"]}, "training labels go up to 2000000000000000 but none is 1"),
        ({"classes": ["a", "b"]}, "the number of class names is 2; there are 3 classes"),
        ({"classes": ["a", "b", "c", "d"]}, "the number of class names is 4; there are 3 classes"),
        ({"classes": "abc"}, "classes is 'abc'; it must be a list"),
        ({"classes": {"a": 0, "b": 1, "c": 2}}, "classes is {.*}; it must be a list"),
        ({"x_train": None}, "there is no x_train beside y_train"),
        ({"x_validation": GOOD["x_test"]}, "there is no y_validation beside x_validation"),
        ({"y_validation": GOOD["y_test"]}, "there is no x_validation beside y_validation"),
        (VALIDATION | {"y_validation": [0, 1, 5]}, "validation label 5 of image 2 is not among the training"),
        (VALIDATION | {"y_validation": [0, -1, 2]}, "validation label -1 of image 1 is negative"),
        (
            VALIDATION | {"x_validation": GOOD["x_test"][:3, :4]},
            "training images are 8x8 and validation images 4x8; give --image-size=N",
        ),
        (VALIDATION | {"x_validation": FLOATS[:3]}, "x_validation has type float64.*multiply by 255"),
        ({"x_train": [[1], [2, 3]]}, "x_train is a list that makes no array"),
        ({"flip": "no"}, "flip is 'no'; it must be True, False, or None"),
    ],
)
@pytest.mark.parametrize("look", [data.check, data.load])
def test_what_is_wrong_is_told_in_one_line_that_begins_with_the_name(look, changes, message):
    with pytest.raises(UserError, match=message) as caught:
        look(Data(**GOOD | {"name": "mine"} | changes))
    assert str(caught.value).startswith("mine: ") and "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", "  ", "two\nlines", None])
def test_a_name_must_be_one_line(name):
    with pytest.raises(UserError, match="the name of a data set is"):
        Data(**GOOD, name=name)


def test_what_is_no_data_set_is_told():
    with pytest.raises(
        UserError, match=r"the data set is a tuple; it must be a name, 'npz:PATH', .* or a Data"
    ):
        data.load(tuple(GOOD.values()))


def test_printed_it_is_one_line():
    assert repr(Data(**GOOD, name="mine")) == "Data(classes=None, name='mine', flip=None)"
