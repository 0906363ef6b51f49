"""Teachers: anything that can be one, named, read and rated."""

from jkd.teachers.named import Named, parse, register
from jkd.teachers.teacher import Teacher

__all__ = ["Named", "Teacher", "parse", "register"]
