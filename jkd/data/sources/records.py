"""Records of tensorflow-datasets that are read one by one, in any order: array_record, without TensorFlow."""

import contextlib
import dataclasses
import re
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from jkd.data.dataset import Part
from jkd.data.streamed import Streamed, is_needed
from jkd.errors import UserError
from jkd.machine.files import cache_folder


def random_access(builder: Any) -> bool:
    """Whether prepared data can be read in any order, which needs no TensorFlow."""
    import tensorflow_datasets as tfds

    return bool(builder.info.available_file_formats() & tfds.core.FileFormat.with_random_access())


@dataclasses.dataclass(frozen=True)
class Records:
    """A prepared data set whose images are read when they are needed."""

    builder: Any
    name: str
    image_key: str
    label_key: str
    image_size: int | None
    cache_dir: str | None

    def are_needed(self, stream: bool | None) -> bool:
        """Whether the data set is to be streamed.

        Raises:
            UserError: It is asked for and its format cannot be, or grain is missing.
        """
        if not random_access(self.builder):
            if stream:
                raise UserError(
                    f"--stream: data set '{self.name}' was prepared in {self.builder.data_path} as "
                    f"{self.builder.info.file_format.value}; as array_record it can be streamed"
                )
            return False
        count = sum(split.num_examples for split in self.builder.info.splits.values())
        return is_needed(self.name, stream, count, self._size)

    def read(self, split: str) -> Part:
        """Returns the images of a split, to be read, and their labels."""
        import tensorflow_datasets as tfds

        with reading(self.builder, self.name):
            skip = {self.image_key: tfds.decode.SkipDecoding()}
            labels = [record[self.label_key] for record in self.builder.as_data_source(split, decoders=skip)]
            source = self.builder.as_data_source(split)
        images = Streamed(
            partial(self._image, source, split),
            np.arange(len(labels)),
            self._size,
            self.image_size is not None,
            self._origin(split),
            cache_folder(self.cache_dir) / "surveys",
        )
        return images, np.asarray(labels, np.int32)

    @cached_property
    def _size(self) -> tuple[int, int]:
        if self.image_size:
            return self.image_size, self.image_size
        with reading(self.builder, self.name):
            any_split = next(iter(self.builder.info.splits))
            height, width = self.builder.as_data_source(any_split)[0][self.image_key].shape[:2]
        return height, width

    def _image(self, source: Any, split: str, number: int) -> tuple[str, Image.Image]:
        with reading(self.builder, self.name):
            return picture(self.name, split, number, source[number][self.image_key])

    def _origin(self, split: str) -> str:
        """Stands for the records: the data set's name and version, and its files' sizes and times."""
        found = [f"{self.builder.info.full_name} {split}"]
        for file in sorted(Path(self.builder.data_path).iterdir()):
            stat = file.stat()
            found.append(f"{file.name} {stat.st_size} {stat.st_mtime_ns}")
        return " ".join(found)


def picture(name: str, split: str, index: int, image: np.ndarray) -> tuple[str, Image.Image]:
    """Returns an image as errors call it, and as Pillow has it."""
    grey = image.shape[-1] == 1
    return f"image {index} of '{name}', split {split},", Image.fromarray(image[..., 0] if grey else image)


@contextlib.contextmanager
def reading(builder: Any, name: str) -> Iterator[None]:
    """Tells in one line what went wrong while records were read."""
    try:
        yield
    except Exception as error:  # array_record, protobuf and Pillow each have their own
        raise UserError(
            f"data set '{name}' cannot be read from {builder.data_path} ({reason(error)}); "
            "delete that folder to have it prepared again"
        ) from error


def reason(error: Exception) -> str:
    """What happened, in one line, without the arguments that tensorflow-datasets puts before the message."""
    message = re.sub('^Failed to construct dataset .*?}": | Here are [0-9]+ BuilderConfigs.*', "", str(error))
    return " ".join(message.split())[:300] or type(error).__name__
