"""Teachers by name, as `--teachers=` has them."""

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from jkd import models
from jkd.data.lessons import Lessons
from jkd.errors import UserError, nearest
from jkd.flags import MAX_SEED
from jkd.interop import checkpoint
from jkd.teachers.teacher import Channels, Teacher, channels, percent

_LESSONS = (":untrained", ":wrong-labels=SHARE", ":classes=FIRST-LAST", ":grey", ":resolution=FACTOR")
# Teachers that somebody registered, by name.
_REGISTERED: dict[str, Callable[[], Teacher]] = {}


class Named(NamedTuple):
    """One of `--teachers`: an architecture with the path it is read from or the seed it is trained with.

    One with a seed is trained on `lessons`, or, `untrained`, has the random weights that it begins with.
    """

    architecture: str
    path: Path | None = None
    seed: int | None = None
    lessons: Lessons = Lessons()
    untrained: bool = False
    mean: Channels | None = None
    std: Channels | None = None
    image_size: int | None = None
    accuracy: float | None = None

    @property
    def name(self) -> str:
        """How the teacher is called in tables and pictures."""
        if self.path:
            return f"{self.architecture}@{self.path}"
        return called(self.architecture, self.seed or 0, self.less)

    @property
    def less(self) -> str:
        """What it is taught in place of what the student is, as `--teachers` has it; else nothing."""
        return "untrained" if self.untrained else str(self.lessons)


def called(architecture: str, seed: int, lessons: str) -> str:
    """Returns the name of a teacher that is trained here, or not at all."""
    return f"{architecture}-seed{seed}" + (f":{lessons}" if lessons else "")


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
    """Reads `--teachers`: each ARCH without a path or seed gets the next seed its architecture has not had.

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
            named = _trained_here(one)
            if named.seed is None:
                taken = {
                    t.seed for t in found if isinstance(t, Named) and t.architecture == named.architecture
                }
                named = named._replace(seed=next(s for s in itertools.count(first_seed) if s not in taken))
            found.append(named)
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


def _trained_here(text: str) -> Named:
    """Reads ARCH, with what it is taught if not what the student is: ARCH:wrong-labels=X:classes=A-B:..."""
    architecture, *parts = text.split(":")
    _check_architecture(architecture)
    lessons: dict[str, Any] = {}
    seed, untrained = None, False
    try:
        for part in parts:
            name, _, value = part.partition("=")
            if part == "untrained":
                untrained = True
            elif part == "grey":
                lessons["grey"] = True
            elif name == "wrong-labels":
                lessons["wrong_labels"] = float(value)
            elif name == "resolution":
                lessons["resolution"] = float(value)
            elif name == "classes":
                first, _, last = value.partition("-")
                lessons["classes"] = (int(first), int(last))
            elif name == "seed":
                seed = int(value)
            else:
                raise ValueError(part)
            if seed is not None and not 0 <= seed <= MAX_SEED:
                raise UserError(f"seed={seed} must be 0 to {MAX_SEED}")
        if untrained and lessons:
            raise UserError("an untrained teacher has had no lessons: give one or the other")
        return Named(architecture, seed=seed, lessons=Lessons(**lessons), untrained=untrained)
    except ValueError as error:
        told = str(error) if isinstance(error, UserError) else f"'{part}' cannot be read"
        raise UserError(
            f"--teachers={text}: {told}; after the architecture may stand {', '.join(_LESSONS)} and :seed=N"
        ) from None


def _at_path(text: str) -> Named:
    """Reads ARCH@PATH, with how it sees images and how good it should be.

    ARCH@PATH:mean=R/G/B:std=R/G/B:size=N:accuracy=PERCENT.
    """
    architecture, _, rest = text.partition("@")
    _check_architecture(architecture)
    path, *views = rest.split(":")
    if not Path(path).exists():
        raise UserError(
            f"--teachers={text}: there is no '{path}'; give a run's folder or a state-dict file "
            "(.pth, .pt, .safetensors, .npz)"
        )
    if not Path(path).is_dir():
        checkpoint.check(Path(path))
    view: dict[str, Any] = {}
    for part in views:
        name, _, value = part.partition("=")
        try:
            if name in ("mean", "std"):
                numbers = [float(number) for number in value.split("/")]
                view[name] = channels(numbers, name, 0.0 if name == "std" else -float("inf"))
            elif name == "size":
                view["image_size"] = int(value)
            elif name == "accuracy":
                view["accuracy"] = percent(float(value), name)
            else:
                raise ValueError(name)
        except ValueError as error:
            told = str(error) if isinstance(error, UserError) else f"'{part}' cannot be read"
            raise UserError(
                f"--teachers={text}: {told}; after the path may stand :mean=R/G/B, :std=R/G/B, :size=N and "
                ":accuracy=PERCENT"
            ) from None
    return Named(architecture, Path(path), **view)
