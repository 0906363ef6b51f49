"""The user's own arrays, and the form that every source of arrays shares."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

import numpy as np
from jaxtyping import Integer, UInt8

from jkd.data.dataset import Dataset, Part, assemble, check_parts
from jkd.data.images import check_images, three_channels
from jkd.errors import UserError

REQUIRED = ("x_train", "y_train", "x_test", "y_test")
OPTIONAL = ("x_validation", "y_validation")
_ROLES = {"train": "training", "test": "test", "validation": "validation"}


@dataclasses.dataclass(frozen=True, eq=False)
class Data:
    """Images and labels of the user's own; `data.load` takes it wherever it takes a specification.

    The arrays may be whatever numpy makes arrays of. They are not copied where that can be helped: do not
    write into them afterwards. What is wrong with them is told by `data.check` and `data.load`.

    Attributes:
        x_train: Training images, 0 to 255: `[N, H, W, 3]`, or grey ones `[N, H, W]` or `[N, H, W, 1]`.
        y_train: Their classes `[N]` or `[N, 1]`, numbered from 0; each class has an image.
        x_test: Test images, of the same size unless an image size is asked for.
        y_test: Their classes.
        classes: Names of the classes, in the order of the labels; None where they have none.
        x_validation: Images to choose on (an epoch, hyperparameters); None where there are none.
        y_validation: Their classes.
        name: What a run calls the data, and what errors begin with. `cifar10` and `cifar100` stand for the
            published mean and standard deviation too.
        flip: Whether mirroring keeps an image's class. None guesses from the name: yes, unless it speaks of
            digits or letters.

    Raises:
        UserError: Something cannot be made an array of, or `classes`, `name` or `flip` is of the wrong kind.
    """

    x_train: UInt8[np.ndarray, "train height width *channels"] = dataclasses.field(repr=False)
    y_train: Integer[np.ndarray, " train *one"] = dataclasses.field(repr=False)
    x_test: UInt8[np.ndarray, "test height width *channels"] = dataclasses.field(repr=False)
    y_test: Integer[np.ndarray, " test *one"] = dataclasses.field(repr=False)
    classes: Sequence[str] | None = None
    _: dataclasses.KW_ONLY
    x_validation: UInt8[np.ndarray, "validation height width *channels"] | None = dataclasses.field(
        default=None, repr=False
    )
    y_validation: Integer[np.ndarray, " validation *one"] | None = dataclasses.field(default=None, repr=False)
    name: str = "data"
    flip: bool | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name.isprintable() or not self.name.strip():
            raise UserError(f"the name of a data set is {self.name!r}; it must be some letters in one line")
        if self.flip is not None and not isinstance(self.flip, bool | np.bool_):
            raise UserError(f"{self.name}: flip is {self.flip!r}; it must be True, False, or None to guess")
        for key in REQUIRED + OPTIONAL:
            value = getattr(self, key)
            if value is not None:
                object.__setattr__(self, key, _array(value, f"{self.name}: {key}"))
        if self.classes is not None:
            # A string is iterable too, as its letters; a dictionary and a set without the labels' order.
            unordered = isinstance(self.classes, str | bytes | Mapping | Set)
            if unordered or not isinstance(self.classes, Iterable):
                raise UserError(
                    f"{self.name}: classes is {self.classes!r}; it must be a list of the classes' names"
                )
            object.__setattr__(self, "classes", tuple(map(str, self.classes)))

    def arrays(self) -> dict[str, np.ndarray]:
        """Returns those arrays that there are, by name."""
        arrays = {key: getattr(self, key) for key in REQUIRED + OPTIONAL}
        return {key: array for key, array in arrays.items() if array is not None}


def check(data: Data, image_size: int | None = None) -> None:
    """Checks everything that `load` would find wrong, without copying an image.

    Raises:
        UserError: An array is missing, has a shape or type other than `Data` says, or the parts or the names
            of the classes do not fit each other.
    """
    parts = {}
    for part, (images, labels) in _parts(data.name, data.arrays()).items():
        size = images.shape[1:3] if image_size is None else (image_size, image_size)
        parts[_ROLES[part]] = (size, labels)
    check_parts(data.name, parts, _names(data))


def load(data: Data, image_size: int | None = None) -> Dataset:
    """Makes a data set of the user's arrays.

    Raises:
        UserError: As `check` does.
    """
    return from_arrays(data.name, data.arrays(), image_size, _names(data), data.flip)


def from_arrays(
    name: str,
    arrays: Mapping[str, np.ndarray],
    image_size: int | None = None,
    class_names: tuple[str, ...] | None = None,
    flip: bool | None = None,
) -> Dataset:
    """Makes a data set of arrays named as `Data` names them.

    Args:
        name: The data set's name, which begins the message of every error.
        arrays: Those of `REQUIRED`, and both of `OPTIONAL` or neither.
        image_size: Height and width to scale and crop images to; None keeps the size they have.
        class_names: Names of the classes, where known.
        flip: Whether mirroring keeps an image's class; None guesses from the name.

    Returns:
        The data set.

    Raises:
        UserError: An array is missing or has a shape or type other than `Data` says, or the parts do not fit
            each other.
    """
    parts: dict[str, Part] = {
        part: (three_channels(images, f"{name}: x_{part}", image_size), labels)
        for part, (images, labels) in _parts(name, arrays).items()
    }
    return assemble(
        name, parts["train"], parts["test"], class_names, validation=parts.get("validation"), flip=flip
    )


def _parts(name: str, arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The arrays, each checked by itself: images as they are and labels `[N]` of every part there is."""
    parts = {}
    for part in _ROLES:
        x, y = f"x_{part}", f"y_{part}"
        if part == "validation" and x not in arrays and y not in arrays:
            continue
        for key, other in ((x, y), (y, x)):
            if key not in arrays:
                beside = f" beside {other}" if other in arrays else ""
                raise UserError(f"{name}: there is no {key}{beside}; images and labels come together")
        check_images(arrays[x], f"{name}: {x}")
        labels = _labels(arrays[y], f"{name}: {y}")
        if len(arrays[x]) != len(labels):
            raise UserError(f"{name}: {x} has {len(arrays[x])} images but {y} has {len(labels)} labels")
        parts[part] = (arrays[x], labels)
    return parts


def _labels(labels: np.ndarray, where: str) -> np.ndarray:
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise UserError(
            f"{where} has shape {labels.shape}; labels must be [N] or [N, 1], one class number per image"
        )
    if labels.dtype.kind not in "iu":
        raise UserError(f"{where} has type {labels.dtype}; labels must be integers")
    return labels.astype(np.int64)


def _array(value: Any, where: str) -> np.ndarray:
    try:
        return np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # ragged lists; tensors that are not on the host
        reason = " ".join(str(error).split())
        raise UserError(f"{where} is a {type(value).__name__} that makes no array ({reason})") from error


def _names(data: Data) -> tuple[str, ...] | None:
    return None if data.classes is None else tuple(data.classes)
