"""Teachers by name, as `--teachers=` has them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jkd import models
from jkd.errors import UserError, nearest
from jkd.teachers.teacher import Channels, Teacher, channels

# Teachers that somebody registered, by name.
_REGISTERED: dict[str, Callable[[], Teacher]] = {}


class Named(NamedTuple):
    """One of `--teachers`: an architecture with the path it is read from or the seed it is trained with."""

    architecture: str
    path: Path | None = None
    seed: int | None = None
    mean: Channels | None = None
    std: Channels | None = None
    image_size: int | None = None

    @property
    def name(self) -> str:
        """How the teacher is called in tables and pictures."""
        return f"{self.architecture}@{self.path}" if self.path else f"{self.architecture}-seed{self.seed}"


def register(name: str, make: Callable[[], Teacher]) -> None:
    """Makes a teacher known under a name, to be given like an architecture.

    Args:
        name: Its name.
        make: Gives the `Teacher`; called when an experiment names it.

    Raises:
        UserError: The name is an architecture's, or cannot be told from a path.
    """
    if name in models.names():
        raise UserError(f"'{name}' is an architecture: give your teacher another name")
    if not name or set(name) & set("@,:/"):
        raise UserError(f"'{name}' cannot name a teacher: leave out @ , : and /")
    _REGISTERED[name] = make


def parse(given: Sequence[str | Teacher], first_seed: int) -> list[Named | Teacher]:
    """Reads `--teachers`: each ARCH without a path gets the next seed that its architecture has not had.

    Raises:
        UserError: there is none, an architecture is unknown, a path does not exist, or what follows it
            cannot be read.
    """
    if not given:
        raise UserError(
            "--teachers= names no teacher; give architectures such as --teachers=resnet14,wrn_16_1"
        )
    found: list[Named | Teacher] = []
    for one in given:
        if isinstance(one, Teacher):
            found.append(one)
        elif one in _REGISTERED:
            found.append(_made(one))
        elif "@" in one:
            found.append(_at_path(one))
        else:
            _check_architecture(one)
            before = sum(isinstance(t, Named) and t.architecture == one and t.path is None for t in found)
            found.append(Named(one, seed=first_seed + before))
    return found


def _made(name: str) -> Teacher:
    teacher = _REGISTERED[name]()
    if not isinstance(teacher, Teacher):
        raise UserError(
            f"--teachers={name}: what was registered gives a {type(teacher).__name__}, not a Teacher"
        )
    return teacher


def _check_architecture(name: str) -> None:
    there = [*models.names(), *_REGISTERED]
    if name not in there:
        raise UserError(
            f"--teachers: unknown network '{name}'{nearest(name, there)}: choose from {', '.join(there)}"
        )


def _at_path(text: str) -> Named:
    """Reads ARCH@PATH, with how it sees images: ARCH@PATH:mean=R/G/B:std=R/G/B:size=N."""
    architecture, _, rest = text.partition("@")
    _check_architecture(architecture)
    path, *views = rest.split(":")
    if not Path(path).exists():
        raise UserError(
            f"--teachers={text}: there is no '{path}'; give a run's folder or a state-dict file "
            "(.npz, .safetensors)"
        )
    view: dict[str, Any] = {}
    for part in views:
        name, _, value = part.partition("=")
        try:
            if name in ("mean", "std"):
                numbers = [float(number) for number in value.split("/")]
                view[name] = channels(numbers, name, 0.0 if name == "std" else -float("inf"))
            elif name == "size":
                view["image_size"] = int(value)
            else:
                raise ValueError(name)
        except ValueError as error:
            told = str(error) if isinstance(error, UserError) else f"'{part}' cannot be read"
            raise UserError(
                f"--teachers={text}: {told}; after the path may stand :mean=R/G/B, :std=R/G/B and :size=N"
            ) from None
    return Named(architecture, Path(path), **view)
