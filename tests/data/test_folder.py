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


def _copy(path, source, *targets):
    for target in targets:
        shutil.copytree(path / source, path / target)


def _only_ants(path):
    for part in ("train", "test"):
        shutil.rmtree(path / part / "bee")


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda path: shutil.rmtree(path / "test"), "there is no folder '.*test'"),
        (lambda path: shutil.rmtree(path / "test" / "bee"), "there is train/bee but no test/bee"),
        (lambda path: (path / "test" / "cat").mkdir(), "class '.*test/cat' is empty"),
        (lambda path: shutil.rmtree(path / "train" / "ant"), "there is test/ant but no train/ant"),
        (lambda path: shutil.rmtree(path / "train"), "there is test/ but no folder '.*/train'"),
        (lambda path: (path / "train").rename(path / "val"), "there is test/ but no folder '.*/train'"),
        (lambda path: _copy(path, "test", "val", "validation"), "there are both val/ and validation/"),
        (
            lambda path: _copy(path, "test/bee", "val/bee"),
            "there is train/ant but no val/ant; training and val",
        ),
        (
            lambda path: _copy(path, "train/ant", "val/ant", "val/bee", "val/cat"),
            "is val/cat but no train/cat",
        ),
        (lambda path: _only_ants(path), "there is one class, 'ant'; at least two are needed"),
    ],
)
def test_folders_that_do_not_fit_are_told_before_any_work(folder, break_it, message):
    break_it(folder)
    with pytest.raises(UserError, match=message):
        data.check(f"folder:{folder}")


def _numbers(images):
    return set(images[:, 0, 0, 0].tolist())


@pytest.mark.parametrize("name", ["val", "validation"])
def test_validation_stands_in_for_a_missing_test_part_and_is_said_to(folder, name):
    (folder / "test").rename(folder / name)
    data.check(f"folder:{folder}")
    loaded = data.load(f"folder:{folder}")
    np.testing.assert_array_equal(loaded.test_labels, [0, 0, 1, 1])
    assert loaded.validation_images is None
    assert loaded.notes == (f"folder:{folder} has no test/: its {name}/ is the test part",)


@pytest.mark.parametrize("name", ["val", "validation"])
def test_beside_a_test_part_validation_is_itself(folder, name):
    without = data.load(f"folder:{folder}")
    assert without.validation_images is None and without.notes == ()
    shutil.copytree(folder / "train", folder / name)
    loaded = data.load(f"folder:{folder}")
    chex.assert_trees_all_equal(loaded.validation_images, loaded.train_images)
    chex.assert_trees_all_equal(loaded.validation_labels, loaded.train_labels)
    assert len(loaded.test_images) == 4 and loaded.notes == ()


def test_a_folder_of_classes_is_split_for_good_and_is_said_to_be(tmp_path):
    for label, (name, count) in enumerate({"ant": 10, "bee": 5}.items()):
        (tmp_path / name).mkdir()
        for index in range(count):
            pixels = np.full((6, 6, 3), 100 * label + index, np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    (tmp_path / ".cache").mkdir()
    (tmp_path / "README.txt").touch()
    data.check(f"folder:{tmp_path}")
    loaded, again = data.load(f"folder:{tmp_path}"), data.load(f"folder:{tmp_path}")
    assert loaded.class_names == ("ant", "bee") and loaded.fingerprint == again.fingerprint
    np.testing.assert_array_equal(np.bincount(loaded.train_labels), [8, 4])
    np.testing.assert_array_equal(np.bincount(loaded.test_labels), [2, 1])
    assert _numbers(loaded.train_images) | _numbers(loaded.test_images) == {*range(10), *range(100, 105)}
    assert loaded.notes == (
        f"folder:{tmp_path} is one folder of classes: "
        "20 % of each class, drawn with seed 0, are the test part",
    )


def test_a_class_that_cannot_be_split_is_told_before_any_work(folder):
    plain = folder / "train"
    for index in range(1, 3):
        (plain / "bee" / f"{index}.png").unlink()
    with pytest.raises(UserError, match=r"class '.*train/bee' has one image, .* held out for testing"):
        data.check(f"folder:{plain}")


@pytest.mark.parametrize(
    ("link", "target", "message"),
    [
        ("train/ant", "ant", "the link '.*train/ant' leads nowhere .*symbolic links"),
        ("train/ant", "nowhere", "the link '.*train/ant' leads nowhere .No such file"),
        ("train/cat", ".", "'.*train/cat' is a link to '.*train', in which it lies itself"),
        ("train/cat", "..", "'.*train/cat' is a link to '.*', in which it lies itself"),
        ("train/cat", "/", "'.*train/cat' is a link to '/', in which it lies itself"),
        ("train/ant/more", "..", "'.*train/ant/more' cannot be read as an image, it is a folder"),
        ("val", ".", "'.*val' is a link to '.*', in which it lies itself"),
    ],
)
def test_a_link_in_a_circle_is_refused_before_any_work(folder, link, target, message):
    if link == "train/ant":
        shutil.rmtree(folder / link)
    (folder / link).symlink_to(target)
    with pytest.raises(UserError, match=message) as caught:
        data.check(f"folder:{folder}")
    assert "\n" not in str(caught.value)


def test_a_class_may_be_a_link_to_elsewhere(folder, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "bees"
    (folder / "train" / "bee").rename(elsewhere)
    (folder / "train" / "bee").symlink_to(elsewhere)
    assert data.load(f"folder:{folder}").class_names == ("ant", "bee")


def test_a_folder_of_images_without_classes_is_told(tmp_path):
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        Image.new("RGB", (6, 6)).save(tmp_path / part / "0.png")
    with pytest.raises(UserError, match="train' has no folder; it must hold train/CLASS"):
        data.check(f"folder:{tmp_path}")
