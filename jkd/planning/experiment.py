"""The settings of a run, nothing resolved: what a command line or keyword arguments say."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from jkd import methods
from jkd.errors import UserError, nearest
from jkd.flags import settings
from jkd.methods import Method
from jkd.planning.settings import PARTS, Data, Execution, Recipe, Student, Teachers


@dataclasses.dataclass(frozen=True)
class Experiment:
    """All settings of a run: which method with which hyperparameters, and everything around it."""

    method: str
    hyperparameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    data: Data = dataclasses.field(default_factory=Data)
    teachers: Teachers = dataclasses.field(default_factory=Teachers)
    student: Student = dataclasses.field(default_factory=Student)
    recipe: Recipe = dataclasses.field(default_factory=Recipe)
    execution: Execution = dataclasses.field(default_factory=Execution)

    @property
    def teaching_dtype(self) -> str:
        """What teachers compute in when they teach."""
        return self.teachers.teacher_dtype or self.recipe.dtype

    @classmethod
    def of(cls, method: str | Callable[..., Method], **given: Any) -> "Experiment":
        """Sorts settings into the parts they belong to.

        Args:
            method: Its name, or a function that makes it, which is then registered under its own name.
            given: Settings by the names of their flags, hyperparameters of the method among them.

        Raises:
            UserError: There is no such method or no such setting.
        """
        if not isinstance(method, str):
            methods.register(method.__name__, method)
            method = method.__name__
        own = {s.name for s in settings(methods.find(method))}
        parts = {name: {s.name for s in settings(owner)} for name, owner in PARTS.items()}
        for name in given:
            known = own.union(*parts.values())
            if name not in known:
                raise UserError(f"unknown setting '{name}'{nearest(name, known)}")
        return cls(
            method,
            {name: value for name, value in given.items() if name in own},
            **{
                part: PARTS[part](**{name: value for name, value in given.items() if name in names})
                for part, names in parts.items()
            },
        )
