import shutil

import chex
import numpy as np
import pytest
from PIL import Image

from jkd import data
from jkd.errors import UserError


@pytest.fixture
def folder(tmp_path):
    for part, count in (("train", 3), ("test", 2)):
        for label, name in enumerate(("ant", "bee")):
            (tmp_path / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = np.full((6, 6, 3), 100 * label + 10 * index, np.uint8)
                Image.fromarray(pixels).save(tmp_path / part / name / f"{index}.png")
    (tmp_path / "train" / ".DS_Store").touch()
    (tmp_path / "train" / "ant" / ".DS_Store").touch()
    return tmp_path


def test_classes_are_the_folders_in_order(folder):
    loaded = data.load(f"folder:{folder}")
    chex.assert_shape([loaded.train_images, loaded.test_images], [(6, 6, 6, 3), (4, 6, 6, 3)])
    assert loaded.class_names == ("ant", "bee") and loaded.num_classes == 2
    np.testing.assert_array_equal(loaded.train_labels, [0, 0, 0, 1, 1, 1])
    np.testing.assert_array_equal(loaded.train_images[:, 0, 0, 0], [0, 10, 20, 100, 110, 120])
    np.testing.assert_array_equal(loaded.test_labels, [0, 0, 1, 1])


def test_grey_and_transparent_images_and_jpegs_become_rgb(folder):
    for name, mode in (("g.png", "L"), ("a.png", "RGBA"), ("p.png", "P"), ("j.jpg", "RGB")):
        Image.new("RGB", (6, 6), (204, 204, 204)).convert(mode).save(folder / "test" / "bee" / name)
    loaded = data.load(f"folder:{folder}")
    chex.assert_shape(loaded.test_images, (8, 6, 6, 3))
    assert np.sum(np.abs(loaded.test_images.astype(int) - 204).max((1, 2, 3)) <= 2) == 4


def test_images_of_two_sizes_need_a_size(folder):
    odd = folder / "test" / "bee" / "1.png"
    Image.new("RGB", (9, 7)).save(odd)
    with pytest.raises(UserError, match=rf"'{odd}' is 7x9 pixels but '.*' is 6x6; give --image-size=N"):
        data.load(f"folder:{folder}")
    chex.assert_shape(data.load(f"folder:{folder}", image_size=5).test_images, (4, 5, 5, 3))


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-30])


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda path: (path / "train/ant/notes.txt").write_text("x"), "train/ant/notes.txt' is not an image"),
        (lambda path: (path / "train/ant/1.png").write_bytes(b""), "train/ant/1.png' is not an image"),
        (lambda path: (path / "train/ant/more").mkdir(), "train/ant/more' cannot be read"),
        (lambda path: _truncate(path / "test/bee/0.png"), "test/bee/0.png' cannot be read"),
        (
            lambda path: Image.new("I;16", (6, 6)).save(path / "test/bee/0.png"),
            "test/bee/0.png' has more than 8 bits",
        ),
    ],
)
def test_a_file_that_is_no_usable_image_is_named(folder, break_it, message):
    break_it(folder)
    with pytest.raises(UserError, match=message) as caught:
        data.load(f"folder:{folder}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda path: shutil.rmtree(path / "test"), "there is no folder '.*test'"),
        (lambda path: shutil.rmtree(path / "test" / "bee"), "there is train/bee but no test/bee"),
        (lambda path: (path / "test" / "cat").mkdir(), "class '.*test/cat' is empty"),
        (lambda path: shutil.rmtree(path / "train" / "ant"), "there is test/ant but no train/ant"),
    ],
)
def test_folders_that_do_not_fit_are_told_before_any_work(folder, break_it, message):
    break_it(folder)
    with pytest.raises(UserError, match=message):
        data.check(f"folder:{folder}")


def test_a_folder_of_images_without_classes_is_told(tmp_path):
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        Image.new("RGB", (6, 6)).save(tmp_path / part / "0.png")
    with pytest.raises(UserError, match="train' has no folder; it must hold train/CLASS"):
        data.check(f"folder:{tmp_path}")
