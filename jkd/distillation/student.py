"""A trained student, as it is deployed: what it predicts, what it is worth, where it comes from."""

import os
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree, UInt8

from jkd import data, methods, models
from jkd import run as run_folder
from jkd.data import Data, Dataset
from jkd.data.any_size import as_batch
from jkd.data.streamed import Streamed
from jkd.distillation.export import Export, Exported, export
from jkd.errors import UserError
from jkd.flags import resolve
from jkd.machine import files
from jkd.methods.base import Predict
from jkd.models import OwnNetwork
from jkd.run import Contents
from jkd.steps.deployed import Deployed, DeployedNetwork
from jkd.steps.devices import Devices
from jkd.steps.evaluate import Predictor, accuracy_metrics
from jkd.steps.images import Augmentation
from jkd.steps.state import Split
from jkd.teachers.shapes import from_shapes
from jkd.teachers.stored import abstract

_BATCH = 500  # images in a compiled batch


class Student:
    """A trained student.

    Attributes:
        model: Its network: `model.apply(variables, images, train=False).logits` for standardised images.
        variables: The network's variables, of the newest checkpoint.
        classes: Names of the classes in the order of the probabilities, or None where they are not known.
        summary: What the finished run says of itself, or None.
        records: One record per epoch.
        folder: The run's folder.
    """

    def __init__(self, model: Any, variables: PyTree, contents: Contents):
        """Use `jkd.load`, or `jkd.distil`."""
        self.model, self.variables = model, variables
        self.config, self.summary, self.records = contents.config, contents.summary, contents.records
        self.folder: Path = contents.folder
        names = self.config["dataset"].get("classes")
        self.classes: tuple[str, ...] | None = tuple(names) if names else None

    @classmethod
    def of(cls, trained: Contents, network: Any = None, dtype: str | None = None) -> "Student":
        """Puts the student of a run together from the run's folder.

        Args:
            trained: The run, finished or not.
            network: The student's Flax module, where it is not known by name.
            dtype: The type that it computes in, where that is not the one of training.

        Raises:
            UserError: there is no checkpoint yet, it is damaged, or it needs a network or method that this
                process does not know.
        """
        config, folder = trained.config, trained.folder
        spec, name = config["dataset"], config["student"]
        if network is not None:
            network = network if isinstance(network, OwnNetwork) else OwnNetwork(network, name)
        elif name in models.names():
            network = models.create(name, spec["num_classes"], dtype or config["recipe"]["dtype"])
        else:
            raise UserError(
                f"{folder}: its student is a '{name}', which is not known here; import what registers it, "
                "or give the module: jkd.load(folder, student=module)"
            )
        height, width = spec["image_size"]
        form = abstract(network, (height, width))
        variables = run_folder.restore_item(folder, "student", form)
        predict = _predict(trained)
        if predict is None:
            return cls(network, variables, trained)
        own = _restore_deployed(trained, network, form)
        whole = own._replace(
            params=own.params._replace(student=variables["params"]),
            stats=own.stats._replace(student=variables["batch_stats"]),
        )
        return cls(DeployedNetwork(network, predict), whole, trained)

    def __repr__(self) -> str:
        """Says whose student it is and how good."""
        last = self.summary["last"] if self.summary else self.records[-1] if self.records else {}
        worth = f", test top-1 {last['test/top1']:.2%}" if last else ""
        state = "" if self.summary else ", not finished"
        return f"Student({self.config['student']} by {self.config['method']}{worth}{state}, {self.folder})"

    def logits(self, images: UInt8[Any, "n h w c"] | Float[Any, "n h w c"]) -> Float[np.ndarray, "n classes"]:
        """Returns the logits for images, like `predict`."""
        batch = as_batch(images, self.image_size)
        if not len(batch):
            return np.zeros((0, self.config["dataset"]["num_classes"]), np.float32)
        return self._predictor(self._devices.replicate(self.variables), batch)

    def predict(
        self, images: UInt8[Any, "n h w c"] | Float[Any, "n h w c"]
    ) -> Float[np.ndarray, "n classes"]:
        """Returns the probabilities of the classes, the student's own preprocessing included.

        Args:
            images: Any number of images, uint8 or float in [0, 1], of any size, `[n, h, w, 3]`, or grey as
                `[n, h, w, 1]` or `[n, h, w]`. Those of another size than the student was trained with are
                scaled (bicubic) to cover that, and what stands over is cropped.

        Raises:
            UserError: they have another shape or type, or are out of range.
        """
        return np.asarray(jax.nn.softmax(self.logits(images)))

    def evaluate(
        self, dataset: str | Data | Dataset, data_dir: str | None = None, cache_dir: str | None = None
    ) -> dict[str, float]:
        """Returns top-1 and top-5 accuracy, loss and calibration error on the test images of a data set.

        Args:
            dataset: As `--dataset` has it, or `jkd.Data`; scaled where it has another size.
            data_dir: As `--data-dir`.
            cache_dir: As `--cache-dir`.

        Raises:
            UserError: the data set cannot be read or has other classes.
        """
        if not isinstance(dataset, Dataset):
            dataset = data.load(dataset, data_dir, None, cache_dir)
        ours = self.config["dataset"]["num_classes"]
        if dataset.num_classes != ours:
            raise UserError(f"{dataset.name} has {dataset.num_classes} classes, the student knows {ours}")
        images = dataset.test_images
        if isinstance(images, Streamed):  # of another size perhaps: a batch at a time
            logits = np.concatenate([self.logits(batch) for batch in images.pieces()])
        else:
            logits = self.logits(images)
        metrics = accuracy_metrics(logits, dataset.test_labels)
        return {name: float(value) for name, value in metrics.items()}

    def export(self, path: str | os.PathLike[str] | None, **given: Any) -> Exported:
        """Writes the student to a file that other programs run, reopens it and compares it on test images.

        Args:
            path: The file. Its ending says the format: `.safetensors`, `.pth` (PyTorch), `.stablehlo` or
                `.onnx`. It appears when the comparison is done. None is one in the run's folder; then
                `to="onnx"` says the format.
            given: The flags of `python -m jkd.experiments.export` by their names, with _ for -:
                `preprocess=True`, `batch_size=1`, `int8=True`, `overwrite=True`, `dataset=...`.

        Returns:
            The path, and how the file compares with the student.

        Raises:
            UserError: as the command line tells it; nothing is written then.
        """
        settings = Export(**resolve(Export, {"output": path, **given}))
        # Types that are narrower are for training; not every runtime has them.
        exact = self.config["recipe"]["dtype"] == "float32"
        return export(self if exact else Student.of(run_folder.read(self.folder), dtype="float32"), settings)

    @property
    def architecture(self) -> str | None:
        """The name of the published network that the student is, alone; None where it is another or more."""
        own = isinstance(self.model, OwnNetwork | DeployedNetwork)
        return None if own else self.config["student"]

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width of the images it was trained with."""
        height, width = self.config["dataset"]["image_size"]
        return height, width

    @cached_property
    def _devices(self) -> Devices:
        return Devices.all()

    @cached_property
    def _predictor(self) -> Predictor:
        spec = self.config["dataset"]
        augmentation = Augmentation(0, False, tuple(spec["mean"]), tuple(spec["std"]))
        return Predictor(partial(_logits, self.model), augmentation, self._devices, _BATCH)


def load(folder: str | Path, student: Any = None) -> Student:
    """Returns the student of a run, finished or not.

    Args:
        folder: The run's folder.
        student: Its Flax module, where the network is not one of jkd's or registered.

    Raises:
        UserError: as `Student.of` does, or it is no run's folder.
    """
    return Student.of(run_folder.read(folder), student)


def _logits(model: Any, variables: PyTree, images: Float[Array, "b h w c"]) -> Float[Array, "b classes"]:
    return model.apply(variables, images, train=False).logits


def _predict(trained: Contents) -> Predict | None:
    """Returns the method's way to predict, if it has one."""
    name, folder = trained.config["method"], trained.folder
    try:
        method = methods.create(name, **trained.config["hyperparameters"])
    except UserError as error:
        if "deployed" in run_folder.item_names(folder):
            raise UserError(
                f"{folder}: its student predicts with its method '{name}', which cannot be had here "
                f"({error}); import what registers it"
            ) from None
        return None
    if method.predict is not None and "deployed" not in run_folder.item_names(folder):
        raise UserError(
            f"{folder}: an earlier jkd made it and did not keep what the student of {name} needs of its "
            "teachers; make the run again, in another folder"
        )
    return method.predict


def _restore_deployed(trained: Contents, network: Any, form: PyTree) -> Deployed:
    """Reads what the student needs of its method and its teachers."""
    config, folder = trained.config, trained.folder
    method = methods.create(config["method"], **config["hyperparameters"])
    batch = config["recipe"]["batch_size"]
    rows = files.read_json(folder / "teachers.json")["teachers"]
    teachers = tuple(from_shapes(row["outputs"], row["name"], batch) for row in rows)
    images = jax.ShapeDtypeStruct((batch, *config["dataset"]["image_size"], 3), jnp.float32)
    seen = jax.eval_shape(partial(network.apply, train=False), form, images)
    own = jax.eval_shape(lambda key: method.init(key, seen, teachers), jax.random.key(0))
    heads = tuple(teacher.head for teacher in teachers)
    return run_folder.restore_item(
        folder, "deployed", Deployed(Split((), own.params), Split((), own.state), own.upper, heads)
    )
