"""What a shell completes after `jkd`: `shtab --shell=bash jkd.experiments.completion.parser`."""

import argparse

from jkd import methods, models
from jkd.experiments import compare, export, listening, predict, report
from jkd.experiments.cli import method_parser, teacher_parser
from jkd.experiments.parser import Parser

_FOLDERS = (
    "workdir",
    "teacher_dir",
    "data_dir",
    "cache_dir",
    "teacher_outputs",
    "comparison",
    "run",
    "folders",
)
_FILES = ("images", "output")
# As shtab calls them, which only those need who write a script.
_FOLDER = {"bash": "_shtab_compgen_dirs", "zsh": "_files -/", "tcsh": "d"}
_FILE = {"bash": "_shtab_compgen_files", "zsh": "_files", "tcsh": "f"}


def parser() -> argparse.ArgumentParser:
    """Returns one parser of all commands, each with its flags and what may follow them."""
    root = argparse.ArgumentParser("jkd", allow_abbrev=False)
    commands = root.add_subparsers()
    for name, one in parsers().items():
        _complete(one)
        commands.add_parser(name, parents=[one], add_help=False, help=one.description)
    return root


def parsers() -> dict[str, Parser]:
    """Returns every command's parser by its name."""
    found = {name: method_parser("jkd", name, plan_only=True) for name in methods.METHODS}
    taught = [name for name in methods.METHODS if methods.create(name).needs_teachers]
    asking = method_parser("jkd", taught[0])
    asking.add_argument("method", choices=taught)
    return found | {
        "teacher": teacher_parser("jkd"),
        "compare": compare.parser({name: name for name in methods.METHODS}),
        "export": export.parser(),
        "listening": listening.parser(),
        "precompute": asking,
        "predict": predict.parser(),
        "report": report.parser(),
    }


def _complete(one: Parser) -> None:
    """Says of each argument what may follow it."""
    choices = {action.dest: setting.flag.choices for action, setting in one.added}
    for action in one._actions:
        if action.dest in ("student", "teachers"):
            action.choices = models.names()
        elif choices.get(action.dest):
            action.choices = choices[action.dest]
        elif action.dest in _FOLDERS:
            vars(action)["complete"] = _FOLDER
        elif action.dest in _FILES:
            vars(action)["complete"] = _FILE
