"""Teachers read from the folder of a finished run or from a PyTorch state dict."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from jkd import methods, models
from jkd import run as run_folder
from jkd.errors import UserError
from jkd.interop.checkpoint import load_state_dict
from jkd.interop.torch import from_state_dict
from jkd.methods import METHODS
from jkd.teachers.named import Named
from jkd.teachers.teacher import Teacher, TrainedOn


def read(named: Named, num_classes: int, dtype: str) -> Teacher:
    """Reads a teacher from the path it was named with.

    One that jkd trained sees images as it did then, unless the name says otherwise.

    Args:
        named: Its name, with a path.
        num_classes: How many classes it must know.
        dtype: The type it computes in.

    Raises:
        UserError: it is of another architecture, has other classes, is not finished, or is damaged.
    """
    path = named.path
    assert path is not None
    network = models.create(named.architecture, num_classes, dtype)
    view: dict[str, Any] = {"mean": named.mean, "std": named.std, "image_size": named.image_size}
    if path.is_dir():
        variables, seen = _from_run(named, path, num_classes)
        view = {name: seen[name] if value is None else value for name, value in view.items()}
        known = {"accuracy": named.accuracy, "trained_on": seen["trained_on"]}
        return Teacher.of(network, variables, named.name, **known, **view)
    entries = load_state_dict(path)
    try:
        variables = from_state_dict(named.architecture, entries)
    except UserError as error:
        raise UserError(f"{named.name}: {error}") from None
    head = models.head(variables)
    (classes,) = head.bias.shape
    if classes != num_classes:
        raise _other_classes(named, classes, num_classes)
    return Teacher.of(network, variables, named.name, accuracy=named.accuracy, **view)


def abstract(network: object, image_size: tuple[int, int]) -> PyTree:
    """Returns the shapes and types of a network's variables."""
    images = jax.ShapeDtypeStruct((1, *image_size, 3), jnp.float32)
    made = jax.eval_shape(lambda x: network.init(jax.random.key(0), x, train=False), images)  # type: ignore[attr-defined]
    return {name: made[name] for name in ("params", "batch_stats")}


def _from_run(named: Named, folder: Path, num_classes: int) -> tuple[PyTree, dict]:
    contents = run_folder.read(folder)
    config = contents.config
    if config["student"] != named.architecture:
        raise UserError(f"--teachers={named.name}: the network in {folder} is a {config['student']}")
    method = config["method"]
    if method in METHODS and methods.create(method, **config["hyperparameters"]).predict is not None:
        raise UserError(
            f"--teachers={named.name}: a student of {method} predicts with its teachers' "
            "heads, so it cannot teach; give a network that predicts alone"
        )
    seen = config["dataset"]
    if seen["num_classes"] != num_classes:
        raise _other_classes(named, seen["num_classes"], num_classes)
    if contents.summary is None:
        raise UserError(
            f"--teachers={named.name}: its run is not finished (epoch {len(contents.records)} of "
            f"{config['recipe']['epochs']}); the command that began it finishes it"
        )
    run_folder.check_finished(folder)
    height, width = seen["image_size"]
    form = abstract(models.create(named.architecture, num_classes), (height, width))
    variables = run_folder.restore_item(folder, "student", form)
    size = height if height == width else None
    view = {"mean": tuple(seen["mean"]), "std": tuple(seen["std"]), "image_size": size}
    return variables, view | {"trained_on": trained_on(config)}


def trained_on(config: dict[str, Any]) -> TrainedOn | None:
    """Returns what the network of a run was trained on, from the run's configuration."""
    seen = {"fingerprint": None, "held_out": 0.0} | config["dataset"]
    if not config["recipe"]["epochs"]:
        return TrainedOn(seen["fingerprint"], 1.0)
    if seen.get("trained_on_held_out"):
        return TrainedOn(seen["fingerprint"], 0.0)
    if seen["held_out"] and "trained_on_held_out" not in seen:
        return None  # before there was one split for all runs, each drew its own
    return TrainedOn(seen["fingerprint"], seen["held_out"])


def _other_classes(named: Named, theirs: int, ours: int) -> UserError:
    return UserError(f"--teachers={named.name} knows {theirs} classes, the data set has {ours}")
