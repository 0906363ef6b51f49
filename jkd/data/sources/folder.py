"""Images from folders, one for each class."""

import hashlib
import os
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from jkd.data.dataset import Dataset, Part, assemble
from jkd.data.images import read, stack
from jkd.data.splits import TEST_NOTE, split_test
from jkd.data.streamed import Images, Streamed, is_needed
from jkd.errors import UserError
from jkd.machine.files import cache_folder

_FORMS = "it must hold train/CLASS/* and test/CLASS/*, or CLASS/* alone"
_VALIDATION = ("val", "validation")

# The files of each class, in the order of the classes' names; a million as text, which takes little memory.
Classes = dict[str, list[str]]


def check(path: Path) -> None:
    """Checks that the parts are there with the same classes, none empty, without opening an image.

    Raises:
        UserError: They are not, or there is a single class.
    """
    classes = _layout(path)[0]["training"]
    if len(classes) < 2:
        raise UserError(
            f"folder:{path}: there is one class, '{next(iter(classes))}'; at least two are needed"
        )


def load(
    path: Path, image_size: int | None = None, stream: bool | None = None, cache_dir: str | None = None
) -> Dataset:
    """Loads a folder for each class; classes are numbered in the order of their folders' names.

    - `train/CLASS/*` and `test/CLASS/*`, and `val/CLASS/*` or `validation/CLASS/*` as the validation part;
    - `train/` and `val/` or `validation/` without `test/`: that is then the test part;
    - `CLASS/*` alone: a part of each class, always the same one, is the test part.

    In the latter two cases the data set's notes say so. Any image format that
    Pillow decodes by itself; hidden files are passed over. Images are read when they are needed if `stream`
    says so, or says nothing and they would not fit into memory.

    Raises:
        UserError: A folder is missing, empty or a link in a circle, or a file is no image, damaged or of
            another size.
    """
    folders, notes = _layout(path)
    names = tuple(folders["training"])
    parts = _parts(path, folders, image_size, stream, cache_dir)
    if "test" in parts:
        train, test = parts["training"], parts["test"]
    else:
        train, test = split_test(*parts["training"])
    return assemble(
        f"folder:{path}", train, test, names, len(names), validation=parts.get("validation"), notes=notes
    )


def _layout(path: Path) -> tuple[dict[str, Classes], tuple[str, ...]]:
    """The classes of `training`, perhaps `test` and `validation`, and what is to be said of them."""
    where = f"folder:{path}"
    if not path.is_dir():
        raise UserError(f"{where}: there is no folder '{path / 'train'}', nor '{path}' itself; {_FORMS}")
    there = [part for part in ("train", "test", *_VALIDATION) if _is_folder(path / part, where)]
    if not there:
        classes = {"training": _classes(path, where, at_least=2)}
        return classes, (f"{where} is one folder of classes: {TEST_NOTE}",)
    folders = {"training": "train"} | _folders(path, there)
    classes = {part: _classes(path / folder, where) for part, folder in folders.items()}
    for part, folder in folders.items():
        sides = (("train", classes["training"]), (folder, classes[part]))
        for (one, names), (other, others) in (sides, sides[::-1]):
            missing = sorted(names.keys() - others.keys())
            if missing:
                raise UserError(
                    f"{where}: there is {one}/{missing[0]} but no {other}/{missing[0]}; "
                    f"training and {part} images must have the same classes"
                )
    stands_in = folders["test"] != "test"
    return classes, (f"{where} has no test/: its {folders['test']}/ is the test part",) if stands_in else ()


def _folders(path: Path, there: list[str]) -> dict[str, str]:
    """The folders of the parts `test` and, where there is one, `validation`."""
    where = f"folder:{path}"
    validation = [part for part in there if part in _VALIDATION]
    if "train" not in there:
        raise UserError(f"{where}: there is {there[0]}/ but no folder '{path / 'train'}'; {_FORMS}")
    if len(validation) > 1:
        raise UserError(f"{where}: there are both val/ and validation/; give it one, or put them together")
    if "test" in there:
        return {"test": "test"} | ({"validation": validation[0]} if validation else {})
    if not validation:
        raise UserError(f"{where}: there is no folder '{path / 'test'}', nor val/ or validation/; {_FORMS}")
    return {"test": validation[0]}


def _classes(part: Path, where: str, at_least: int = 1) -> Classes:
    folders = sorted(
        entry for entry in part.iterdir() if _is_visible(entry.name) and _is_folder(entry, where)
    )
    if not folders:
        raise UserError(f"{where}: '{part}' has no folder; {_FORMS}")
    return {folder.name: _files(folder, where, at_least) for folder in folders}


def _files(folder: Path, where: str, at_least: int) -> list[str]:
    # Unlike Path.iterdir, scandir knows folders from files without asking for each of a million.
    with os.scandir(folder) as listing:
        entries = sorted(
            (entry for entry in listing if _is_visible(entry.name)), key=lambda entry: entry.name
        )
    for entry in entries:
        if entry.is_dir():
            raise UserError(f"{where}: '{entry.path}' cannot be read as an image, it is a folder; {_FORMS}")
    if not entries:
        raise UserError(f"{where}: class '{folder}' is empty; give it an image or remove it")
    if len(entries) < at_least:
        raise UserError(
            f"{where}: class '{folder}' has one image, and a part of each class is held out for testing; "
            "give it two or more, or make folders train/ and test/"
        )
    return [entry.path for entry in entries]


def _is_visible(name: str) -> bool:
    return not name.startswith(".")


def _is_folder(entry: Path, where: str) -> bool:
    """Whether it is a folder; a link must lead to something, and not to where it lies."""
    if entry.is_symlink():
        try:
            target = os.path.realpath(entry, strict=True)
        except OSError as error:  # nothing there, or a circle
            raise UserError(
                f"{where}: the link '{entry}' leads nowhere ({error.strerror}); mend or remove it"
            ) from error
        if Path(os.path.realpath(entry.parent)).is_relative_to(target):
            raise UserError(
                f"{where}: '{entry}' is a link to '{target}', in which it lies itself; "
                "it must lead to a folder of images"
            )
    return entry.is_dir()


def _parts(
    path: Path,
    folders: dict[str, Classes],
    image_size: int | None,
    stream: bool | None,
    cache_dir: str | None,
) -> dict[str, Part]:
    """Images and labels of each part."""
    found: dict[str, Part] = {}
    parts = {part: [file for members in each.values() for file in members] for part, each in folders.items()}
    size = (image_size, image_size) if image_size else _size(parts["training"][0])
    streamed = is_needed(f"folder:{path}", stream, sum(map(len, parts.values())), size)
    for part, files in parts.items():
        classes = folders[part].values()
        labels = np.repeat(np.arange(len(classes)), [len(members) for members in classes])
        if streamed:
            images: Images = Streamed(
                partial(_named, files),
                np.arange(len(files)),
                size,
                image_size is not None,
                _origin(path, files),
                cache_folder(cache_dir) / "surveys",
            )
        else:
            images = stack((_named(files, number) for number in range(len(files))), len(files), image_size)
        found[part] = images, labels
    return found


def _named(files: list[str], number: int) -> tuple[str, Image.Image]:
    return f"'{files[number]}'", read(Path(files[number]))


def _size(file: str) -> tuple[int, int]:
    first = read(Path(file))
    return first.height, first.width


def _origin(path: Path, files: list[str]) -> str:
    """Stands for the files: where they lie in the folder, their sizes and when they were written."""
    hashed = hashlib.sha256()
    for file in files:
        found = os.stat(file)
        hashed.update(f"{os.path.relpath(file, path)} {found.st_size} {found.st_mtime_ns}\n".encode())
    return hashed.hexdigest()
