import chex
import numpy as np
import pytest
from PIL import Image

from jkd import data
from jkd.errors import UserError

random = np.random.default_rng(0)
GOOD = {
    "x_train": random.integers(0, 256, (12, 8, 8, 3), dtype=np.uint8),
    "y_train": np.arange(12)[:, None] % 3,
    "x_test": random.integers(0, 256, (6, 8, 8, 3), dtype=np.uint8),
    "y_test": np.arange(6) % 3,
}


def _write(folder, **changes):
    arrays = {name: array for name, array in (GOOD | changes).items() if array is not None}
    path = folder / "images.npz"
    np.savez(path, **arrays)
    return path


def test_arrays_come_back_as_they_were(tmp_path):
    loaded = data.load(f"npz:{_write(tmp_path)}")
    chex.assert_trees_all_equal(loaded.train_images, GOOD["x_train"])
    chex.assert_trees_all_equal(loaded.test_images, GOOD["x_test"])
    chex.assert_trees_all_equal(loaded.train_labels, GOOD["y_train"][:, 0].astype(np.int32))
    chex.assert_trees_all_equal(loaded.test_labels, GOOD["y_test"].astype(np.int32))
    assert loaded.num_classes == 3 and loaded.class_names is None and loaded.flip
    np.testing.assert_allclose(loaded.mean, (GOOD["x_train"] / 255).mean((0, 1, 2)))
    np.testing.assert_allclose(loaded.std, (GOOD["x_train"] / 255).std((0, 1, 2)))


@pytest.mark.parametrize("channel_axis", [(), (1,)])
def test_grey_images_get_three_channels(tmp_path, channel_axis):
    grey = {name: GOOD[name][..., 0].reshape(-1, 8, 8, *channel_axis) for name in ("x_train", "x_test")}
    loaded = data.load(f"npz:{_write(tmp_path, **grey)}")
    for channel in range(3):
        chex.assert_trees_all_equal(loaded.test_images[..., channel], GOOD["x_test"][..., 0])


def test_a_validation_part_is_read_where_there_is_one(tmp_path):
    part = {"x_validation": GOOD["x_test"][:3], "y_validation": np.array([[2], [0], [1]])}
    loaded = data.load(f"npz:{_write(tmp_path, **part)}")
    chex.assert_trees_all_equal(loaded.validation_images, part["x_validation"])
    chex.assert_trees_all_equal(loaded.validation_labels, np.array([2, 0, 1], np.int32))
    without = data.load(f"npz:{_write(tmp_path)}")
    assert without.validation_images is None and without.fingerprint != loaded.fingerprint


def test_half_a_validation_part_is_told_before_any_work(tmp_path):
    path = _write(tmp_path, x_validation=GOOD["x_test"])
    with pytest.raises(UserError, match=r"there is no array 'y_validation'; it has x_train, .* x_validation"):
        data.check(f"npz:{path}")


def test_images_are_scaled_to_the_size_asked_for(tmp_path):
    wide = random.integers(0, 256, (6, 10, 20, 3), dtype=np.uint8)
    loaded = data.load(f"npz:{_write(tmp_path, x_test=wide)}", image_size=5)
    chex.assert_shape([loaded.train_images, loaded.test_images], [(12, 5, 5, 3), (6, 5, 5, 3)])
    middle = Image.fromarray(wide[0]).crop((5, 0, 15, 10))  # what stands over is cut off, not squeezed
    expected = np.asarray(middle.resize((5, 5), Image.Resampling.BICUBIC), int)
    # Equal but for what the filter sees beyond the crop, at its left and right edges.
    np.testing.assert_allclose(loaded.test_images[0, :, 2], expected[:, 2], atol=1)


def test_images_of_handwriting_are_not_mirrored(tmp_path):
    path = _write(tmp_path)
    (tmp_path / "digits").mkdir()
    for name, flip in (("mnist.npz", False), ("fashion_mnist.npz", True), ("digits/cats.npz", True)):
        (tmp_path / name).write_bytes(path.read_bytes())
        assert data.load(f"npz:{tmp_path / name}").flip == flip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"y_test": None}, "there is no array 'y_test'"),
        ({"x_train": None, "xtrain": GOOD["x_train"]}, r"'x_train' \(did you mean 'xtrain'\?\)"),
        ({"x_train": GOOD["x_train"] / 255}, "x_train has type float64; images must be uint8"),
        ({"x_test": GOOD["x_test"][..., :2]}, r"x_test has shape \(6, 8, 8, 2\)"),
        ({"x_test": np.moveaxis(GOOD["x_test"], -1, 1)}, r"x_test has shape \(6, 3, 8, 8\)"),
        (
            {"x_test": GOOD["x_test"][:, :4]},
            "training images are 8x8 and test images 4x8; give --image-size=N",
        ),
        ({"x_test": GOOD["x_test"][:5]}, "x_test has 5 images but y_test has 6 labels"),
        ({"x_test": GOOD["x_test"][:0], "y_test": GOOD["y_test"][:0]}, "there are no test images"),
        ({"y_train": np.eye(12)}, r"y_train has shape \(12, 12\); labels must be \[N\]"),
        ({"y_test": GOOD["y_test"] / 2}, "y_test has type float64; labels must be integers"),
        ({"y_test": np.array([0, 1, 2, 0, -1, 2])}, "test label -1 of image 4 is negative"),
        ({"y_test": np.array([0, 1, 2, 0, 3, 2])}, "test label 3 of image 4 is not among"),
        ({"y_train": np.arange(12) % 3 + 1}, "training labels go up to 3 but none is 0"),
        ({"y_train": np.zeros(12, int), "y_test": np.zeros(6, int)}, "there is one class"),
        (
            {"x_validation": GOOD["x_test"], "y_validation": np.arange(6)},
            "validation label 3 of image 3 is not among",
        ),
        ({"x_train": GOOD["x_train"] / 255}, "multiply by 255 and convert to uint8"),
        ({"y_train": np.array([{}] * 12)}, "an array cannot be read"),
    ],
)
def test_what_is_wrong_inside_is_named(tmp_path, changes, message):
    path = _write(tmp_path, **changes)
    with pytest.raises(UserError, match=message) as caught:
        data.load(f"npz:{path}")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_truncated_file_is_told_before_any_work(tmp_path):
    path = _write(tmp_path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(UserError, match="cannot be read"):
        data.check(f"npz:{path}")


def test_a_damaged_array_is_told(tmp_path):
    path = _write(tmp_path)
    content = bytearray(path.read_bytes())
    content[1000] ^= 255  # a pixel
    path.write_bytes(content)
    with pytest.raises(UserError, match="cannot be read"):
        data.load(f"npz:{path}")
