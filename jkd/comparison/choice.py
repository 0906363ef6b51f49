"""What sets a cell of a comparison apart."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from jkd import methods
from jkd.errors import UserError
from jkd.flags import resolve
from jkd.machine import files
from jkd.planning.experiment import Experiment
from jkd.planning.identity import digest


class Row(NamedTuple):
    """A row of the table: a method, under its own name or one that tells it from the same method's others."""

    name: str
    method: str

    @classmethod
    def of(cls, text: str) -> "Row":
        """Returns the row that METHOD or NAME=METHOD stands for.

        Raises:
            UserError: there is no such method, or the name cannot be a folder's or is another method's.
        """
        name, named, method = text.rpartition("=")
        methods.find(method)
        if named and not re.fullmatch(r"[A-Za-z0-9][\w+-]*", name):
            raise UserError(
                f"--methods={text}: a row's name is letters, digits, - and _, such as mine={method}"
            )
        if named and name != method and name in methods.METHODS:
            raise UserError(f"--methods={text}: {name} is another method; give the row another name")
        return cls(name or method, method)


@dataclasses.dataclass(frozen=True)
class Choice:
    """What sets a cell apart: its row, the hyperparameters that are not at their defaults, and a seed."""

    row: Row
    hyperparameters: Mapping[str, Any]
    seed: int

    @classmethod
    def of(cls, row: str, given: Mapping[str, Any], seed: int) -> "Choice":
        """Returns the choice that hyperparameters come to, whether defaults are among them or not.

        Raises:
            UserError: a hyperparameter is unknown, of another type or out of range.
        """
        called = Row.of(row)
        function = methods.find(called.method)
        try:
            resolved = resolve(function, given)
        except UserError as error:
            raise UserError(f"{called.name}: {error}") from None
        defaults = resolve(function, {})
        return cls(called, {name: v for name, v in resolved.items() if v != defaults[name]}, seed)

    @property
    def name(self) -> str:
        """The cell's folder: another one for other hyperparameters."""
        variant = f"-{digest(files.plain(dict(self.hyperparameters)))}" if self.hyperparameters else ""
        return f"{self.row.name}{variant}-seed{self.seed}"

    def experiment(self, base: Experiment) -> Experiment:
        """Returns the experiment: `base` with this method and seed."""
        return dataclasses.replace(
            base,
            method=self.row.method,
            hyperparameters=self.hyperparameters,
            student=dataclasses.replace(base.student, seed=self.seed),
        )
