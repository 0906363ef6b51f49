"""Images from folders, one for each class."""

from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from jkd import system
from jkd.data.dataset import Dataset, assemble
from jkd.data.images import formats, stack
from jkd.errors import UserError


def check(path: Path) -> None:
    """Checks that `train` and `test` are there with the same classes, none empty, without opening an image.

    Raises:
        UserError: They are not.
    """
    classes = {part: [folder.name for folder, _ in _classes(path, part)] for part in ("train", "test")}
    for one, other in (("train", "test"), ("test", "train")):
        missing = sorted(set(classes[one]) - set(classes[other]))
        if missing:
            raise UserError(
                f"folder:{path}: there is {one}/{missing[0]} but no {other}/{missing[0]}; "
                "training and test images must have the same classes"
            )


def load(path: Path, image_size: int | None = None) -> Dataset:
    """Loads `train/CLASS/*` and `test/CLASS/*`; classes are numbered in the order of their folders' names.

    Any image format that Pillow reads; hidden files are passed over.

    Raises:
        UserError: A folder is missing or empty, or a file is no image, damaged or of another size.
    """
    check(path)
    train, test = (_load_part(path, part, image_size) for part in ("train", "test"))
    names = tuple(folder.name for folder, _ in _classes(path, "train"))
    return assemble(f"folder:{path}", train, test, names, len(names))


def _classes(path: Path, part: str) -> list[tuple[Path, list[Path]]]:
    """The folders of the classes, each with its files, in the order of their names."""
    layout = "it must hold train/CLASS/* and test/CLASS/*"
    if not (path / part).is_dir():
        raise UserError(f"folder:{path}: there is no folder '{path / part}'; {layout}")
    folders = sorted(entry for entry in (path / part).iterdir() if entry.is_dir() and _is_visible(entry))
    classes = [(folder, sorted(filter(_is_visible, folder.iterdir()))) for folder in folders]
    if not classes:
        raise UserError(f"folder:{path}: '{path / part}' has no folder; {layout}")
    for folder, files in classes:
        if not files:
            raise UserError(f"folder:{path}: class '{folder}' is empty; give it an image or remove it")
    return classes


def _is_visible(path: Path) -> bool:
    return not path.name.startswith(".")


def _load_part(path: Path, part: str, image_size: int | None) -> tuple[np.ndarray, np.ndarray]:
    classes = _classes(path, part)
    files = [file for _, members in classes for file in members]
    labels = np.repeat(np.arange(len(classes)), [len(members) for _, members in classes])
    return stack(((f"'{file}'", _open(file)) for file in files), len(files), image_size), labels


def _open(file: Path) -> Image.Image:
    if not file.is_file():  # opening a pipe would wait for ever
        raise UserError(
            f"'{file}' cannot be read (it is no file); a class's folder may hold nothing but images"
        )
    try:
        image = Image.open(file, formats=formats())
        image.load()
    except UnidentifiedImageError as error:
        raise UserError(
            f"'{file}' is not an image of a format that Pillow decodes by itself; "
            "a class's folder may hold nothing else"
        ) from error
    except Exception as error:  # each format has its own
        if isinstance(error, MemoryError) or system.refusal(error) is not None:
            raise
        raise UserError(f"'{file}' cannot be read ({error}); replace or remove it") from error
    if image.mode[0] in "IF":
        # Pillow would clip these to 255 instead of scaling them.
        raise UserError(f"'{file}' has more than 8 bits a channel (mode {image.mode}); convert it to 8")
    return image
