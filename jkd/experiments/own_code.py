"""`--import`: own methods, networks, teachers and data sets, by the file or module that registers them."""

import hashlib
import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType

from jkd.errors import UserError

FLAG = "--import"


def take(arguments: list[str]) -> list[str]:
    """Imports what `--import=FILE.py,MODULE,...` names; returns the other arguments.

    It comes before all flags, because these depend on what it brings.

    Raises:
        UserError: there is no such file or module, or it cannot be imported.
    """
    others, waiting = [], False
    for argument in arguments:
        if waiting or argument.startswith(f"{FLAG}="):
            names = argument if waiting else argument.partition("=")[2]
            for name in filter(None, names.split(",")):
                bring(name)
            waiting = False
        elif argument == FLAG:
            waiting = True
        else:
            others.append(argument)
    if waiting:
        raise UserError(f"{FLAG} names nothing; give a file such as {FLAG}=my_method.py, or a module's name")
    return others


def bring(name: str) -> ModuleType:
    """Imports a file, by its path, or a module, by its name.

    Raises:
        UserError: there is no such file or module, or it cannot be imported.
    """
    is_file = name.endswith(".py")
    path = Path(name).resolve()
    if is_file and not path.is_file():
        raise UserError(
            f"{FLAG}={name}: there is no such file; give the path of a .py file or a module's name"
        )
    try:
        return _load(path) if is_file else importlib.import_module(name)
    except UserError:
        raise
    except Exception as error:  # whatever somebody's file may raise
        told = str(error).strip().splitlines()
        raise UserError(
            f"{FLAG}={name}: it cannot be imported ({type(error).__name__}: {' '.join(told)})"
        ) from error


def _load(path: Path) -> ModuleType:
    # What the file imports from beside it is found, as when it is run.
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    # Its own name may be another module's; under this one the same file is imported once.
    name = f"{path.stem}_{hashlib.sha256(str(path).encode()).hexdigest()[:8]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
