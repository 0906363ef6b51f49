"""A teacher: any pure function of variables and images, with the way it sees images."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from jkd.errors import UserError
from jkd.models import Absent, Head, Outputs, OwnNetwork, head
from jkd.models.own import as_outputs
from jkd.provenance import fingerprint
from jkd.steps.asking import TeacherNetwork
from jkd.steps.images import Augmentation

Channels = tuple[float, float, float]


class TrainedOn(NamedTuple):
    """What a network was trained on: a data set, but for a fraction of each class's training images."""

    fingerprint: str  # of the data set
    held_out: float


@dataclasses.dataclass(frozen=True, eq=False)
class Teacher:
    """A network that teaches; it is always in evaluation mode and never gets a gradient.

    Teachers see the same crops as the student, each in its own normalisation and size.

    Attributes:
        apply: `apply(variables, images)` gives `jkd.models.Outputs`, or logits `[batch, classes]` alone, for
            standardised images `[batch, height, width, 3]`. It is called within compiled programs, for
            batches of any size.
        variables: A pytree of arrays.
        name: How it is called in tables and pictures.
        mean: Mean of each channel that it was trained with, of images in [0, 1]; None: as the student's.
        std: Standard deviation of each channel, likewise.
        image_size: Height and width that it sees images in (scaled bilinearly); None: as the student does.
        head: `head(variables)` gives its classifier, the linear layer from embedding to logits, for methods
            that use it (CA-MKD, MKCD); None: it has none to give.
        accuracy: Its test accuracy in percent by the table it comes from, to be printed beside the one it has
            here; None: unknown.
        trained_on: What it was trained on; None: that is not known, and runs that judge by images which it
            should not have seen say so.
    """

    apply: Callable[[PyTree, Float[Array, "b h w c"]], Outputs | Array]
    variables: PyTree
    name: str = "teacher"
    mean: Channels | None = None
    std: Channels | None = None
    image_size: int | None = None
    head: Callable[[PyTree], Head] | None = None
    accuracy: float | None = None
    trained_on: TrainedOn | None = None

    def __post_init__(self) -> None:
        """Checks what can be checked without images."""
        if not callable(self.apply):
            raise UserError(
                f"{self.name}: the first argument is a {type(self.apply).__name__}; a teacher is "
                "Teacher(apply, variables) with a function apply(variables, images)"
            )
        for what, least in (("mean", -float("inf")), ("std", 0.0)):
            value = getattr(self, what)
            if value is not None:
                object.__setattr__(self, what, channels(value, f"{self.name}: {what}", least))
        if self.image_size is not None and self.image_size < 1:
            raise UserError(f"{self.name}: image_size is {self.image_size}; it must be 1 or more")
        if self.accuracy is not None:
            percent(self.accuracy, f"{self.name}: accuracy")

    @classmethod
    def of(cls, network: Any, variables: PyTree, name: str, **more: Any) -> "Teacher":
        """Returns a network of `jkd.models` with its variables as a teacher."""
        return cls(partial(_evaluate, network), variables, name, head=head, **more)

    @property
    def is_jkds(self) -> bool:
        """Whether it is a network of `jkd.models`, of which all outputs are known."""
        return self.made_by is _evaluate

    @property
    def made_by(self) -> Any:
        """What its source is: its function, or the module of a network that is not jkd's."""
        if isinstance(self.apply, partial) and self.apply.func is _evaluate:
            (network,) = self.apply.args
            return network.module if isinstance(network, OwnNetwork) else _evaluate
        return self.apply

    @cached_property
    def fingerprint(self) -> str:
        """Hexadecimal digits that stand for its variables."""
        return fingerprint(self.variables)

    def network(self, augmentation: Augmentation) -> TeacherNetwork:
        """Returns how it sees images that were standardised by `augmentation` for the student."""

        def outputs(variables: PyTree, images: Float[Array, "b h w c"]) -> Outputs:
            return as_outputs(self.apply(variables, self._view(augmentation, images)), self.name)

        def own_head(variables: PyTree) -> Head:
            absent: Any = Absent("head", self.name)
            return absent if self.head is None else self.head(variables)

        return TeacherNetwork(outputs, own_head)

    def _view(self, augmentation: Augmentation, images: Float[Array, "b h w c"]) -> Float[Array, "b h w c"]:
        mean, std = self.mean or augmentation.mean, self.std or augmentation.std
        if (mean, std) != (augmentation.mean, augmentation.std):
            seen = images * jnp.asarray(augmentation.std) + jnp.asarray(augmentation.mean)
            images = (seen - jnp.asarray(mean)) / jnp.asarray(std)
        size = self.image_size
        if size is not None and images.shape[1:3] != (size, size):
            images = jax.image.resize(images, (len(images), size, size, images.shape[3]), "bilinear")
        return images


def channels(value: float | Sequence[float], where: str, above: float) -> Channels:
    """Returns three numbers, one a channel, from one for all or from three.

    Raises:
        UserError: there are others, or one is not above `above`.
    """
    found = (value,) * 3 if isinstance(value, int | float) else tuple(value)
    if len(found) not in (1, 3) or not all(isinstance(v, int | float) and v > above for v in found):
        more = f" above {above:g}" if above > -float("inf") else ""
        raise UserError(f"{where} is {value}; give one number{more}, or three, one for each channel")
    red, green, blue = map(float, found * 3 if len(found) == 1 else found)
    return red, green, blue


def percent(value: float, where: str) -> float:
    """Returns an accuracy in percent.

    Raises:
        UserError: it is not above 1, as fractions are not, or above 100.
    """
    if not 1 < value <= 100:
        raise UserError(f"{where} is {value:g}; give it in percent as tables do, such as 74.64")
    return value


def _evaluate(network: Any, variables: PyTree, images: Float[Array, "b h w c"]) -> Outputs:
    return network.apply(variables, images, train=False)
