"""Against small data sets written by tensorflow-datasets, which needs no TensorFlow for encoded images."""

import importlib.util
import io

import chex
import numpy as np
import pytest
from PIL import Image

from jkd import data
from jkd.errors import UserError

tfds = pytest.importorskip("tensorflow_datasets")

SPLITS = {"train": 10, "test": 4}


def _prepare(folder, name="tiny", splits=SPLITS, size=lambda index: 4, test_label=None, channels=3):
    """Writes a data set whose image `i` has all pixels equal to `i`, and its label is `i % 2`."""

    def examples(split):
        for index in range(splits[split]):
            pixels = np.full((size(index), size(index), channels), index, np.uint8)
            image = io.BytesIO()
            Image.fromarray(pixels[..., 0] if channels == 1 else pixels).save(image, "png")
            image.seek(0)
            label = -1 if split == test_label else index % 2
            yield index, {"image": image, "label": label}

    class Written(tfds.core.GeneratorBasedBuilder, skip_registration=True):
        """A data set for one test."""

        VERSION = tfds.core.Version("1.0.0")

        def _info(self):
            features = {
                "image": tfds.features.Image(shape=(None, None, channels)),
                "label": tfds.features.ClassLabel(names=["even", "odd"]),
            }
            return tfds.core.DatasetInfo(
                builder=self,
                features=tfds.features.FeaturesDict(features),
                supervised_keys=("image", "label"),
                disable_shuffling=True,
            )

        def _split_generators(self, dl_manager):
            del dl_manager
            return {split: examples(split) for split in splits}

        def _generate_examples(self):
            raise NotImplementedError

    Written.name = name
    builder = Written(data_dir=folder)
    builder.download_and_prepare(file_format="array_record")
    return builder.data_path


@pytest.fixture
def folders(tmp_path):
    return {"data_dir": str(tmp_path / "data"), "cache_dir": str(tmp_path / "cache")}


@pytest.fixture
def no_tensorflow(monkeypatch):
    find_spec = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *rest: None if name == "tensorflow" else find_spec(name, *rest),
    )


def test_prepared_data_is_read_without_tensorflow(folders, no_tensorflow):
    _prepare(folders["data_dir"])
    data.check("tiny", **folders)
    loaded = data.load("tiny", **folders)
    chex.assert_shape([loaded.train_images, loaded.test_images], [(10, 4, 4, 3), (4, 4, 4, 3)])
    np.testing.assert_array_equal(loaded.train_images[:, 0, 0], np.arange(10)[:, None].repeat(3, 1))
    np.testing.assert_array_equal(loaded.train_labels, np.arange(10) % 2)
    assert loaded.class_names == ("even", "odd") and loaded.num_classes == 2


def test_a_second_start_decodes_nothing(folders):
    prepared = _prepare(folders["data_dir"])
    first = data.load("tiny", **folders)
    for file in prepared.glob("*array_record*"):
        file.write_bytes(b"")
    second = data.load("tiny", **folders)
    chex.assert_trees_all_equal(second.train_images, first.train_images)
    chex.assert_trees_all_equal(second.test_labels, first.test_labels)


def test_a_truncated_cache_is_made_anew(tmp_path, folders):
    _prepare(folders["data_dir"])
    first = data.load("tiny", **folders)
    (cache,) = (tmp_path / "cache").iterdir()
    whole = cache.read_bytes()
    cache.write_bytes(whole[: len(whole) // 2])
    chex.assert_trees_all_equal(data.load("tiny", **folders).train_images, first.train_images)
    assert [file.read_bytes() for file in (tmp_path / "cache").iterdir()] == [whole]


def test_an_unwritable_cache_is_only_a_warning(tmp_path, folders):
    _prepare(folders["data_dir"])
    (tmp_path / "cache").touch()
    with pytest.warns(UserWarning, match="decoded images are not kept"):
        chex.assert_shape(data.load("tiny", **folders).test_images, (4, 4, 4, 3))


def test_the_cache_follows_the_standard_for_its_place(tmp_path, folders, monkeypatch):
    _prepare(folders["data_dir"])
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    data.load("tiny", data_dir=folders["data_dir"])
    assert len(list((tmp_path / "home" / "jkd").glob("tiny-1.0.0-*.npz"))) == 1


def test_two_data_directories_do_not_share_a_cache(tmp_path, folders):
    _prepare(folders["data_dir"])
    _prepare(str(tmp_path / "other"), splits={"train": 6, "test": 2})
    data.load("tiny", **folders)
    other = data.load("tiny", data_dir=str(tmp_path / "other"), cache_dir=folders["cache_dir"])
    assert len(other.train_images) == 6


def test_images_of_several_sizes_need_a_size(folders):
    _prepare(folders["data_dir"], size=lambda index: 4 + index // 3)
    with pytest.raises(
        UserError, match=r"image 3 of 'tiny', split train, is 5x5 .* 4x4; give --image-size=N"
    ):
        data.load("tiny", **folders)
    chex.assert_shape(data.load("tiny", image_size=8, **folders).train_images, (10, 8, 8, 3))
    chex.assert_shape(data.load("tiny", image_size=6, **folders).train_images, (10, 6, 6, 3))


def test_grey_images_get_three_channels(folders):
    _prepare(folders["data_dir"], channels=1)
    images = data.load("tiny", **folders).train_images
    np.testing.assert_array_equal(images[:, 0, 0], np.arange(10)[:, None].repeat(3, 1))


def test_a_test_split_without_labels_gives_way_to_validation(folders):
    _prepare(folders["data_dir"], splits={"train": 6, "test": 3, "validation": 2}, test_label="test")
    for _ in range(2):  # decoded, and from the cache
        loaded = data.load("tiny", **folders)
        chex.assert_shape(loaded.test_images, (2, 4, 4, 3))
        assert loaded.notes == ("tiny has no test split with labels: its validation split is the test part",)


def test_beside_test_validation_is_not_used(folders):
    _prepare(folders["data_dir"], splits={"train": 6, "test": 3, "validation": 2})
    loaded = data.load("tiny", **folders)
    chex.assert_shape(loaded.test_images, (3, 4, 4, 3))
    assert loaded.validation_images is None and loaded.notes == ()


def test_a_data_set_without_test_images_is_split_for_good(folders):
    _prepare(folders["data_dir"], splits={"train": 20})
    loaded = data.load("tiny", **folders)
    np.testing.assert_array_equal(np.bincount(loaded.test_labels), [2, 2])
    pixels = np.concatenate([loaded.train_images, loaded.test_images])[:, 0, 0, 0]
    np.testing.assert_array_equal(np.sort(pixels), np.arange(20))
    note = "tiny has no test split with labels: 20 % of each class, drawn with seed 0, are the test part"
    assert loaded.notes == data.load("tiny", **folders).notes == (note,)


def test_a_data_set_without_training_images_is_told(folders):
    _prepare(folders["data_dir"], splits={"test": 4})
    with pytest.raises(UserError, match="'tiny' has no split 'train'; it has test"):
        data.load("tiny", **folders)


def test_damaged_records_are_told_with_their_place(folders):
    prepared = _prepare(folders["data_dir"])
    for file in prepared.glob("*array_record*"):
        file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(UserError, match=f"'tiny' cannot be read from {prepared}") as caught:
        data.load("tiny", **folders)
    assert "\n" not in str(caught.value)


def test_cifar_has_the_published_constants(folders):
    _prepare(folders["data_dir"], name="cifar10")
    loaded = data.load("cifar10:1.0.0", **folders)
    assert loaded.mean == (0.4914, 0.4822, 0.4465) and loaded.std == (0.2470, 0.2435, 0.2616)


def test_preparing_without_tensorflow_is_told_before_any_work(folders, no_tensorflow):
    with pytest.raises(UserError, match=r"'cifar10' is not yet prepared .* pip install 'jkd\[tensorflow\]'"):
        data.check("cifar10", **folders)


def test_tfrecord_without_tensorflow_is_told_before_any_work(folders, no_tensorflow):
    info = _prepare(folders["data_dir"]) / "dataset_info.json"
    info.write_text(info.read_text().replace('"array_record"', '"tfrecord"'))
    with pytest.raises(
        UserError, match=r"prepared in .* as tfrecord, and reading that needs TensorFlow: pip"
    ):
        data.check("tiny", **folders)


def test_without_tensorflow_datasets_its_names_say_what_is_missing(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None)
    with pytest.raises(UserError, match="pip install tensorflow-datasets"):
        data.check("cifar10")


@pytest.mark.parametrize("image_size", [None, 3])
def test_streamed_it_is_the_same_without_tensorflow(folders, no_tensorflow, image_size):
    pytest.importorskip("grain")
    _prepare(folders["data_dir"], splits={"train": 10, "validation": 4}, channels=1)
    given = {"image_size": image_size, **folders}
    streamed = data.load("tiny", **given, stream=True)
    assert streamed.streamed
    resident = data.load("tiny", **given)
    assert streamed.fingerprint == resident.fingerprint and streamed.notes == resident.notes
    assert (streamed.mean, streamed.std) == (resident.mean, resident.std)
    np.testing.assert_array_equal(streamed.train_images[:], resident.train_images)
    np.testing.assert_array_equal(streamed.test_labels, resident.test_labels)
