"""Images that are read when they are needed are those that would have been in memory."""

import importlib.util
import shutil

import numpy as np
import pytest
from PIL import Image

import jkd
from jkd import data
from jkd.data.lessons import Lessons, taught
from jkd.data.streamed import Crops, Streamed, in_batches
from jkd.errors import UserError
from jkd.machine import system

pytest.importorskip("grain")

SIZE = 8


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """JPEGs of several sizes."""
    folder = tmp_path_factory.mktemp("images")
    generator = np.random.default_rng(0)
    for part, count in (("train", 9), ("test", 3)):
        for name in ("ant", "bee"):
            (folder / part / name).mkdir(parents=True)
            for index in range(count):
                pixels = generator.integers(0, 256, (10 + index, 14, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / part / name / f"{index}.jpg", quality=95)
    return folder


@pytest.fixture
def folder(pristine, tmp_path):
    return shutil.copytree(pristine, tmp_path / "images")


def load(folder, stream=True, image_size=SIZE, **given):
    return data.load(
        f"folder:{folder}", image_size=image_size, cache_dir=str(folder / ".cache"), stream=stream
    )


def assert_same(one, other):
    assert isinstance(other.train_images, Streamed) and not isinstance(one.train_images, Streamed)
    assert one.fingerprint == other.fingerprint, "another run would be begun"
    assert (one.mean, one.std, one.padding, one.notes) == (other.mean, other.std, other.padding, other.notes)
    for part in ("train", "test", "validation"):
        images, streamed = (getattr(dataset, f"{part}_images") for dataset in (one, other))
        if images is not None:
            assert images.shape == streamed.shape and images.nbytes == streamed.nbytes
            np.testing.assert_array_equal(images, streamed[:])
            np.testing.assert_array_equal(getattr(one, f"{part}_labels"), getattr(other, f"{part}_labels"))


def test_they_are_the_same_data_set(folder):
    assert_same(load(folder, stream=False), load(folder))


def test_so_are_its_validation_part_and_what_poor_teachers_see(folder):
    both = [data.split_validation(load(folder, stream=stream), 0.3) for stream in (False, True)]
    assert_same(*both)
    one, other = (taught(dataset, Lessons(grey=True, resolution=0.5), 0) for dataset in both)
    np.testing.assert_array_equal(one.train_images, other.train_images[:])


def test_and_that_without_a_test_part(folder):
    shutil.rmtree(folder / "test")
    for name in ("ant", "bee"):
        (folder / "train" / name).rename(folder / name)
    (folder / "train").rmdir()
    assert_same(load(folder, stream=False), load(folder))


@pytest.mark.parametrize("mine", [[0, 1, 2, 3], [0, 2], [1, 3]])
def test_batches_come_in_the_order_that_they_are_asked_for(folder, mine):
    resident, streamed = (load(folder, stream=stream).train_images for stream in (False, True))
    rows = [np.asarray([5, 2, 17, 0]), np.asarray([2, 2, 1, 9]), np.asarray([16])]
    both = (in_batches(images, rows, np.asarray(mine)) for images in (resident, streamed))
    for row, one, other in zip(rows, *both, strict=True):
        np.testing.assert_array_equal(one, resident[row][[place for place in mine if place < len(row)]])
        np.testing.assert_array_equal(one, other)


def test_a_second_start_reads_no_image_until_it_is_needed(folder, monkeypatch):
    first = load(folder)
    monkeypatch.setattr(Streamed, "image", lambda *_: pytest.fail("an image was read"))
    second = load(folder)
    assert second.fingerprint == first.fingerprint and second.mean == first.mean
    (file,) = (folder / ".cache" / "surveys").iterdir()
    monkeypatch.undo()
    file.write_text(file.read_text()[:50])
    assert load(folder).fingerprint == first.fingerprint, "what is damaged is made anew"


def test_a_changed_file_is_another_data_set(folder):
    first = load(folder).fingerprint
    Image.new("RGB", (9, 9)).save(folder / "test" / "bee" / "0.jpg")
    assert load(folder).fingerprint != first


@pytest.mark.parametrize("what", ["damaged", "of another size"])
def test_what_is_wrong_is_told_before_anything_is_trained_as_for_images_in_memory(folder, what):
    for file in (folder / "train").rglob("*.jpg"):
        Image.new("RGB", (6, 6)).save(file)
    for file in (folder / "test").rglob("*.jpg"):
        Image.new("RGB", (6, 6)).save(file)
    wrong = folder / "train" / "bee" / "7.jpg"
    if what == "damaged":
        wrong.write_bytes(wrong.read_bytes()[:200])
    else:
        Image.new("RGB", (7, 6)).save(wrong)
    told = []
    for stream in (False, True):
        with pytest.raises(UserError, match=str(wrong)) as error:
            load(folder, stream, image_size=None)
        told.append(str(error.value))
    assert told[0] == told[1]


def test_what_does_not_fit_into_memory_is_streamed(folder, monkeypatch):
    needed = 24 * SIZE * SIZE * 3
    monkeypatch.setattr(system, "memory", lambda: 2 * needed)
    assert not load(folder, stream=None).streamed
    monkeypatch.setattr(system, "memory", lambda: 2 * needed - 1)
    assert load(folder, stream=None).streamed
    assert not load(folder, stream=False).streamed
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "grain" else find_spec(name)
    )
    with pytest.raises(UserError, match=r"more than half; .* needs grain: pip install 'jkd\[stream\]'"):
        load(folder, stream=None)
    with pytest.raises(UserError, match=r"^--stream needs grain: pip install 'jkd\[stream\]'$"):
        load(folder)


def test_what_is_in_memory_anyway_is_not_streamed(tiny_npz):
    for spec in ("digits", f"npz:{tiny_npz}"):
        with pytest.raises(UserError, match=r"--stream: data set .* is in memory as it is"):
            jkd.plan("scratch", dataset=spec, stream=True)


def test_parts_of_images_are_of_the_files_so_these_are_streamed(folder):
    given = {
        "dataset": f"folder:{folder}",
        "image_size": SIZE,
        "cache_dir": str(folder / ".cache"),
        "epochs": 1,
    }
    given |= {"batch_size": 4, "student": "resnet8"}
    plan = jkd.plan("scratch", **given, resized_crop=0.3)
    assert plan.job.dataset.streamed and plan.identity["dataset"]["resized_crop"] == 0.3
    assert plan.job.task.augmentation.resized_crop is None, "they are not cropped again"
    assert "streamed  read by" in str(plan) and "streamed" not in str(jkd.plan("scratch", **given))
    with pytest.raises(UserError, match="leave out --no-stream"):
        jkd.plan("scratch", **given, resized_crop=0.3, stream=False)
    streamed, resident = (jkd.plan("scratch", **given, stream=stream) for stream in (True, False))
    assert streamed.identity == resident.identity


def test_crops_are_a_function_of_seed_step_and_place(folder):
    images = load(folder).train_images
    rows = [np.asarray([3, 1, 2, 0]), np.asarray([7, 7, 5, 0]), np.asarray([4, 6, 8, 0])]
    whole = list(images.batches(rows, Crops(1, 10, 3, 0.1)))
    (resumed,) = images.batches(rows[2:], Crops(1, 12, 3, 0.1))
    np.testing.assert_array_equal(whole[2], resumed)
    of_one_host = images.batches(rows, Crops(1, 10, 3, 0.1), mine=np.asarray([1, 2]))
    np.testing.assert_array_equal([batch[[1, 2]] for batch in whole], list(of_one_host))
    assert (whole[1][0] != whole[1][1]).any(), "the same image at two places has two parts"
    (other,) = images.batches(rows[2:], Crops(2, 12, 3, 0.1))
    assert (other[:3] != resumed[:3]).any(axis=(1, 2, 3)).all()
    np.testing.assert_array_equal(resumed[3], images[:1][0], "held-out images come last and are not cropped")


def test_crops_lie_within_the_image_and_keep_what_they_promise():
    crops = Crops(0, 0, 2000, 0.08)
    boxes = np.asarray([crops.box(0, place, 60, 40) for place in range(2000)])
    left, upper, right, lower = boxes.T
    assert left.min() >= 0 and upper.min() >= 0 and right.max() <= 60 and lower.max() <= 40
    across, down = right - left, lower - upper
    shares = across * down / 2400
    whole = (across < 60) & (down < 40)  # not cut to the image
    shapes = np.log(across / down)[whole]
    assert 0.08 <= shares[whole].min() < 0.1 and shares.max() <= 1
    assert abs(shapes).max() <= np.log(4 / 3) + 1e-9 and abs(shapes.mean()) < 0.05
    assert abs(np.mean(left + right) - 60) < 1 and abs(np.mean(upper + lower) - 40) < 1


def test_no_more_is_read_ahead_than_is_promised(folder, monkeypatch):
    images = load(folder).train_images
    begun = []
    image = Streamed.image
    monkeypatch.setattr(Streamed, "image", lambda self, *rest: (begun.append(rest), image(self, *rest))[1])
    rows = [np.arange(6)] * 50
    batches = images.batches(rows)
    next(batches)
    assert len(begun) <= 6 + images.ahead(6) < 300
    batches.close()
