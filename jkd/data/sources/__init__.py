"""From a specification, as `--dataset=` takes it, or the user's own arrays, to a data set."""

from pathlib import Path

from jkd.data import images
from jkd.data.dataset import Dataset
from jkd.data.sources import arrays, digits, folder, npz, registry, tfds
from jkd.data.sources.arrays import Data
from jkd.data.streamed import check_grain
from jkd.errors import UserError


def check(
    spec: str | Data = "digits",
    data_dir: str | None = None,
    image_size: int | None = None,
    cache_dir: str | None = None,
    stream: bool | None = None,
) -> None:
    """Checks cheaply, before any work, that `load` with the same arguments has something to load.

    Args:
        spec: As for `load`.
        data_dir: As for `load`.
        image_size: As for `load`.
        cache_dir: As for `load`.
        stream: As for `load`.

    Raises:
        UserError: An unknown name, a missing file or package, an image size that is not positive; arrays with
            a mistake; images to be streamed that are in memory anyway.
    """
    images.check_size(image_size)
    if stream:
        if not can_stream(spec):
            name = spec if isinstance(spec, str) else spec.name
            raise UserError(
                f"--stream: data set '{name}' is in memory as it is; folder:PATH and data sets of "
                "tensorflow-datasets can be streamed"
            )
        check_grain()
    if isinstance(spec, Data):
        arrays.check(spec, image_size)
        return
    if not isinstance(spec, str):
        raise UserError(
            f"the data set is a {type(spec).__name__}; it must be a name, 'npz:PATH', 'folder:PATH' or a Data"
        )
    try:
        _check_source(spec, data_dir, image_size, cache_dir)
    except OSError as error:  # no permission to look, a name too long, a disk that fails
        raise UserError(f"data set '{spec}': '{error.filename}' cannot be read ({error.strerror})") from error


def can_stream(spec: str | Data) -> bool:
    """Whether a specification is of images that lie in files or records, each to be read by itself."""
    if not isinstance(spec, str):
        return False
    return spec != "digits" and not spec.startswith("npz:") and not registry.is_registered(spec)


def _check_source(spec: str, data_dir: str | None, image_size: int | None, cache_dir: str | None) -> None:
    kind, _, path = spec.partition(":")
    if kind == "npz":
        npz.check(Path(path).expanduser())
    elif kind == "folder":
        folder.check(Path(path).expanduser())
    elif registry.is_registered(spec):
        pass  # its function may take long: what it returns is checked when it is loaded
    elif Path(spec).is_file() or Path(spec, "train").is_dir():
        kind = "npz" if Path(spec).is_file() else "folder"
        raise UserError(f"data set '{spec}' is a path; did you mean '{kind}:{spec}'?")
    elif spec != "digits":
        tfds.check(spec, data_dir, image_size, cache_dir)


def load(
    spec: str | Data = "digits",
    data_dir: str | None = None,
    image_size: int | None = None,
    cache_dir: str | None = None,
    stream: bool | None = None,
) -> Dataset:
    """Loads a data set into memory, or makes it ready to be read while it is used.

    Args:
        spec: `digits`, a registered name, the name of a data set of tensorflow-datasets, `npz:PATH`,
            `folder:PATH`, or the arrays themselves.
        data_dir: Where tensorflow-datasets keeps its data; None is its own default.
        image_size: Height and width to scale and crop images to; None keeps the size they have.
        cache_dir: Where decoded images of tensorflow-datasets are kept; None is `$XDG_CACHE_HOME/jkd` or
            `~/.cache/jkd`.
        stream: Whether images are read when they are needed; None: where they would not fit into memory.

    Returns:
        The data set.

    Raises:
        UserError: The specification, or what it points at, cannot be used.
    """
    check(spec, data_dir, image_size, cache_dir, stream)
    if isinstance(spec, Data):
        return arrays.load(spec, image_size)
    kind, _, path = spec.partition(":")
    if kind == "npz":
        return npz.load(Path(path).expanduser(), image_size)
    if kind == "folder":
        return folder.load(Path(path).expanduser(), image_size, stream, cache_dir)
    if spec == "digits":
        return digits.load(image_size)
    if registry.is_registered(spec):
        return arrays.load(registry.create(spec), image_size)
    return tfds.load(spec, data_dir, image_size, cache_dir, stream)
