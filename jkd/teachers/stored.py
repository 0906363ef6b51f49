"""Teachers: named on the command line, read from a folder or file, and rated before they teach."""

from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from jkd import files, methods, models
from jkd import run as run_folder
from jkd.data import Dataset
from jkd.errors import UserError
from jkd.interop import torch as interop
from jkd.provenance import fingerprint
from jkd.run import Run
from jkd.training.devices import Devices
from jkd.training.evaluate import Predictor, accuracy_metrics, network_logits, vote
from jkd.training.step import Augmentation


class Entry(NamedTuple):
    """One of `--teachers`: an architecture with the path it is read from or the seed it is trained with."""

    architecture: str
    path: Path | None
    seed: int | None

    @property
    def name(self) -> str:
        """How the teacher is called in tables and pictures."""
        return f"{self.architecture}@{self.path}" if self.path else f"{self.architecture}-seed{self.seed}"


class Teacher(NamedTuple):
    """A teacher ready to teach."""

    name: str
    architecture: str
    variables: PyTree


def entries(specs: tuple[str, ...], first_seed: int) -> list[Entry]:
    """Reads `--teachers`: each ARCH without a path gets the next seed that its architecture has not had.

    Raises:
        UserError: there is none, an architecture is unknown, or a path does not exist.
    """
    if not specs:
        raise UserError(
            "--teachers= names no teacher; give architectures such as --teachers=resnet14,wrn_16_1"
        )
    found: list[Entry] = []
    for spec in specs:
        architecture, at, path = spec.partition("@")
        check_architecture(architecture, "--teachers")
        if at:
            if not Path(path).exists():
                raise UserError(
                    f"--teachers={spec}: there is no '{path}'; give a run's folder or a state-dict file "
                    "(.npz, .safetensors)"
                )
            found.append(Entry(architecture, Path(path), None))
        else:
            before = sum(e.architecture == architecture and e.path is None for e in found)
            found.append(Entry(architecture, None, first_seed + before))
    return found


def check_architecture(name: str, flag: str) -> None:
    """Raises UserError if there is no such network."""
    try:
        models.create(name, 2)
    except UserError as error:
        raise UserError(f"{flag}: {error}") from None


def load(entry: Entry, num_classes: int) -> Teacher:
    """Reads a teacher from the folder of a finished run or from a PyTorch state dict.

    Raises:
        UserError: it is of another architecture, has other classes, is not finished, or is damaged.
    """
    path = entry.path
    assert path is not None
    if path.is_dir():
        return _from_run(entry, path, num_classes)
    variables = interop.from_state_dict(entry.architecture, interop.load_state_dict(path))
    (classes,) = models.head(variables).bias.shape
    if classes != num_classes:
        raise _other_classes(entry, classes, num_classes)
    return Teacher(entry.name, entry.architecture, variables)


def _from_run(entry: Entry, folder: Path, num_classes: int) -> Teacher:
    config, records, summary = run_folder.read(folder)
    if config.get("student") != entry.architecture:
        raise UserError(f"--teachers={entry.name}: the network in {folder} is a {config.get('student')}")
    if methods.create(config["method"], **config["hyperparameters"]).predict is not None:
        raise UserError(
            f"--teachers={entry.name}: a student of {config['method']} predicts with its teachers' "
            "heads, so it cannot teach; give a network that predicts alone"
        )
    classes = config["dataset"]["num_classes"]
    if classes != num_classes:
        raise _other_classes(entry, classes, num_classes)
    if summary is None:
        raise UserError(
            f"--teachers={entry.name}: its run is not finished (epoch {len(records)} of "
            f"{config['recipe']['epochs']}); the command that began it finishes it"
        )
    model = models.create(entry.architecture, num_classes)
    images = jax.ShapeDtypeStruct((1, *config["dataset"]["image_size"], 3), jnp.float32)
    abstract = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
    abstract = {name: abstract[name] for name in ("params", "batch_stats")}
    return Teacher(entry.name, entry.architecture, run_folder.restore_item(folder, "student", abstract))


def _other_classes(entry: Entry, theirs: int, ours: int) -> UserError:
    return UserError(f"--teachers={entry.name} knows {theirs} classes, the data set has {ours}")


def table(rated: list[dict[str, Any]], ensemble: dict[str, Any]) -> str:
    """Returns the accuracies of the teachers and of their ensemble as lines of text."""
    rows = [*rated, {"name": "ensemble (mean of probabilities)"} | ensemble]
    width = max(len(row["name"]) for row in rows)
    lines = [
        f"  {row['name']:<{width}}  test top-1 {row['top1']:.2%}, "
        f"top-5 {row['top5']:.2%}, loss {row['loss']:.3f}"
        for row in rows
    ]
    return "\n".join(["teachers:", *lines])


def rate(
    ready: list[Teacher], dataset: Dataset, augmentation: Augmentation, dtype: str, batch_size: int
) -> tuple[list[dict[str, Any]], dict[str, Any], np.ndarray]:
    """Prints and returns test metrics of each teacher and of their ensemble, and the ensemble's logits."""
    devices = Devices.all()
    logits = []
    for teacher in ready:
        model = models.create(teacher.architecture, dataset.num_classes, dtype)
        predict = Predictor(
            network_logits(model),
            augmentation,
            devices,
            batch_size,
        )
        logits.append(predict(devices.replicate(teacher.variables), dataset.test_images))
    ensemble_logits = vote(logits)

    def metrics(values: np.ndarray) -> dict[str, Any]:
        return {name: float(v) for name, v in accuracy_metrics(values, dataset.test_labels).items()}

    rated = [{"name": t.name} | metrics(values) for t, values in zip(ready, logits, strict=True)]
    ensemble = metrics(ensemble_logits)
    print(table(rated, ensemble), flush=True)
    return rated, ensemble, ensemble_logits


def check_same(run: Run, ready: list[Teacher], rated: list[dict[str, Any]], ensemble: dict[str, Any]) -> None:
    """Raises UserError if a run began with other teachers than these; `teachers.json` remembers them."""
    path = run.workdir / "teachers.json"
    now = [row | {"fingerprint": fingerprint(t.variables)} for row, t in zip(rated, ready, strict=True)]
    if path.exists():
        for old, new in zip(files.read_json(path)["teachers"], now, strict=True):
            if old["fingerprint"] != new["fingerprint"]:
                raise UserError(
                    f"{run.workdir} began with another teacher {new['name']} "
                    f"(weights {old['fingerprint']}, now {new['fingerprint']}): "
                    "put it back, or give another --workdir"
                )
    else:
        files.write_json(path, {"teachers": now, "ensemble": ensemble})
