"""Image classification data sets of tensorflow-datasets, by their names there.

Prepared data is read without TensorFlow. Preparing a data set (downloading it and writing its records) needs
TensorFlow, and so does data that was prepared as TFRecord, the library's default; what jkd prepares is
ArrayRecord, which does not.
"""

import contextlib
import importlib.util
import io
import logging
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jkd.data.dataset import Dataset, Part, assemble
from jkd.data.images import stack
from jkd.data.sources import cache, npz, registry
from jkd.data.sources.arrays import REQUIRED
from jkd.data.sources.records import Records, picture, random_access, reading, reason
from jkd.data.splits import TEST_NOTE, split_test
from jkd.errors import UserError, nearest
from jkd.machine.bars import bar

# What the test images are, where they are no test split, is kept with them.
_ORIGIN = "test_split"
_NOTES = {
    "validation": "has no test split with labels: its validation split is the test part",
    "train": f"has no test split with labels: {TEST_NOTE}",
}


def check(name: str, data_dir: str | None, image_size: int | None, cache_dir: str | None) -> None:
    """Checks that the name stands for an image classification data set and that its data can be had here.

    Raises:
        UserError: It is not, or preparing or reading it needs a package that is not installed.
    """
    builder = _builder(name, data_dir)
    _keys(builder, name)
    if not cache.place(builder, image_size, cache_dir).exists():
        _check_tensorflow(builder, name)


def load(
    name: str,
    data_dir: str | None,
    image_size: int | None,
    cache_dir: str | None,
    stream: bool | None = None,
) -> Dataset:
    """Loads a data set, downloading and preparing it first if need be, and keeps the decoded images.

    If `stream` says so, or says nothing and they would not fit into memory, images are read when needed.

    Training images are the split `train`. Test images are `test` where that has labels, else `validation`; a
    data set with neither is split for good as the digits are. In the latter two cases its notes say so.

    Raises:
        UserError: As `check` does; preparing fails; the data is damaged; images differ in size and no size is
            given.
    """
    builder = _builder(name, data_dir)
    image_key, label_key = _keys(builder, name)
    file = cache.place(builder, image_size, cache_dir)
    # Images that were kept fitted into memory.
    if stream or (stream is None and not file.exists()):
        _prepare(builder, name)
        records = Records(builder, name, image_key, label_key, image_size, cache_dir)
        if records.are_needed(stream):
            return _assemble(builder, name, label_key, *_parts(builder, name, label_key, records.read))
    try:
        arrays = npz.read(file, optional=[_ORIGIN])
    except UserError:  # not there yet, or damaged
        _prepare(builder, name)
        train, test, origin = _decode(builder, name, image_key, label_key, image_size)
        found = (np.asarray(array) for array in (*train, *test))
        arrays = dict(zip(REQUIRED, found, strict=True)) | {_ORIGIN: np.array(origin)}
        cache.save(file, arrays)
    x_train, y_train, x_test, y_test = (arrays[key] for key in REQUIRED)
    origin = str(arrays.get(_ORIGIN))  # files of earlier versions do not tell
    return _assemble(builder, name, label_key, (x_train, y_train), (x_test, y_test), origin)


def _assemble(builder: Any, name: str, label_key: str, train: Part, test: Part, origin: str) -> Dataset:
    note = _NOTES.get(origin)
    label = builder.info.features[label_key]
    return assemble(
        name,
        train,
        test,
        tuple(label.names),
        label.num_classes,
        notes=(f"{name} {note}",) if note else (),
    )


def _builder(name: str, data_dir: str | None) -> Any:
    own = registry.names()
    if importlib.util.find_spec("tensorflow_datasets") is None:
        raise UserError(
            f"data set '{name}' is neither {' nor '.join(own)} nor npz:PATH nor folder:PATH"
            f"{nearest(name, own)}, and for any other name tensorflow-datasets is missing: "
            "pip install tensorflow-datasets importlib_resources"
        )
    import tensorflow_datasets as tfds

    try:
        with _quiet():
            return tfds.builder(name, data_dir=data_dir)
    except Exception as error:  # whatever the data set's own module raises
        names = tfds.list_builders(with_community_datasets=False)
        base = re.split("[/:]", name)[0]
        if base in names:
            hint = ""
            if "/" in name and not isinstance(error, ImportError):
                configs = tfds.builder_cls(base).builder_configs
                hint = nearest(name, (f"{base}/{config}" for config in configs))
            raise UserError(f"data set '{name}' cannot be opened{hint}: {reason(error)}") from error
        hint = nearest(name.lower(), [*own, *names])
        if name and Path(name).is_dir():
            hint = f" (did you mean 'folder:{name}'?)"
        raise UserError(
            f"unknown data set '{name}'{hint}; "
            f"it must be {', '.join(own)}, npz:PATH, folder:PATH or a name of tensorflow-datasets"
        ) from error


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silences notes on data not prepared and TensorFlow not installed: our errors say it where it counts."""
    logger = logging.getLogger("absl")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        logger.setLevel(level)


def _keys(builder: Any, name: str) -> tuple[str, str]:
    """The names of the image and the label among the data set's features."""
    import tensorflow_datasets as tfds

    keys = builder.info.supervised_keys or ("image", "label")
    features = builder.info.features
    kinds = (tfds.features.Image, tfds.features.ClassLabel)
    if (
        len(keys) != 2
        or not all(isinstance(key, str) and key in features for key in keys)
        or not all(isinstance(features[key], kind) for key, kind in zip(keys, kinds, strict=True))
    ):
        raise UserError(
            f"data set '{name}' is not for image classification: it has {', '.join(features)}; "
            "an image and one class label are needed"
        )
    if features[keys[0]].np_dtype != np.uint8:
        raise UserError(f"data set '{name}' has images of {features[keys[0]].np_dtype}; they must be uint8")
    return keys


def _check_tensorflow(builder: Any, name: str) -> None:
    if importlib.util.find_spec("tensorflow") is not None:
        return
    with _quiet():
        prepared = builder.is_prepared()
    remedy = "pip install 'jkd[tensorflow]', or give --data-dir=DIR with data prepared as array_record"
    if not prepared:
        raise UserError(
            f"data set '{name}' is not yet prepared in {builder.data_path}, "
            f"and preparing it needs TensorFlow: {remedy}"
        )
    if not random_access(builder):
        raise UserError(
            f"data set '{name}' was prepared in {builder.data_path} as {builder.info.file_format.value}, "
            f"and reading that needs TensorFlow: {remedy}"
        )


def _hide_devices_from_tensorflow() -> None:
    # It would reserve the whole memory of a GPU, which JAX needs.
    import tensorflow as tf

    tf.config.set_visible_devices([], "GPU")


def _prepare(builder: Any, name: str) -> None:
    _check_tensorflow(builder, name)
    with _quiet():
        if builder.is_prepared():
            return
    _hide_devices_from_tensorflow()
    try:
        builder.download_and_prepare(file_format="array_record")
    except Exception as error:  # of the network, the disk, the source's own code
        raise UserError(f"data set '{name}' cannot be prepared: {reason(error)}") from error


def _decode(
    builder: Any, name: str, image_key: str, label_key: str, image_size: int | None
) -> tuple[Part, Part, str]:
    """Training and test images, each with labels, and the split that the latter come from."""

    def read(split: str) -> Part:
        count = builder.info.splits[split].num_examples
        labels = np.empty(count, np.int32)

        def images() -> Iterator[tuple[str, Image.Image]]:
            for index, example in enumerate(_examples(builder, name, split)):
                labels[index] = example[label_key]
                yield picture(name, split, index, example[image_key])

        return stack(
            bar(sys.stderr, iterable=images(), desc=f"{name}: {split}", total=count), count, image_size
        ), labels

    return _parts(builder, name, label_key, read)


def _parts(builder: Any, name: str, label_key: str, read: Callable[[str], Part]) -> tuple[Part, Part, str]:
    splits = builder.info.splits
    if "train" not in splits:
        raise UserError(f"data set '{name}' has no split 'train'; it has {', '.join(splits)}")
    train = read("train")
    for split in ("test", "validation"):
        # Competitions publish test images without labels, as -1.
        if split in splits and next(iter(_examples(builder, name, split)))[label_key] >= 0:
            return train, read(split), split
    return *split_test(*train), "train"


def _examples(builder: Any, name: str, split: str) -> Iterator[dict[str, Any]]:
    import tensorflow_datasets as tfds

    with reading(builder, name):
        source: Iterable[dict[str, Any]]
        if random_access(builder):
            source = builder.as_data_source(split)
        else:
            _hide_devices_from_tensorflow()
            source = tfds.as_numpy(builder.as_dataset(split))
        yield from source
