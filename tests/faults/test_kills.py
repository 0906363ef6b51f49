"""Killed dozens of times at random moments, runs and comparisons end as if never disturbed, to the bit."""

import json
import multiprocessing
import os
import random
import shutil
import threading
import time
from functools import partial
from pathlib import Path

import chex
import jax
import numpy as np
import pytest
from PIL import Image
from tiny import Tiny
from tqdm import tqdm

from jkd import run
from jkd.experiments.cli import run_method
from jkd.experiments.compare import run_compare

TINY = f"--import={Path(__file__).parents[1] / 'tiny.py'}"
SHARED = ("--teachers=tiny,tiny", "--student=tiny", "--teacher-epochs=1", "--batch-size=64")
# How often each is killed, and its flags. One teacher is enough where what is between the runs is tried.
COMMANDS = {
    "bomd": (20, "--epochs=2", "--every=4"),
    "mmkd": (8, "--epochs=2"),
    "camkd": (6, "--epochs=3", "--teacher-views=2"),
    "compare": (
        12,
        "--teachers=tiny",
        "--methods=bomd",
        "--seeds=0",
        "--epochs=2",
        "--tune",
        "--tune-trials=2",
        "--tune-seeds=9",
    ),
}


def call(name, flags, log):
    """The command line, in a process that had everything imported before it was forked."""
    os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND), 1)
    os.dup2(1, 2)
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
    tqdm.set_lock(threading.RLock())  # its own would be a semaphore that a kill leaves behind
    if name == "compare":
        run_compare([*flags])
    else:
        run_method(name, [*flags])


def start(name, flags, folder):
    """Starts a command; a comparison has teachers of its own to train, the others share theirs."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["jkd.experiments.cli", "jkd.experiments.compare"])
    folder.mkdir(exist_ok=True)
    given = (TINY, *SHARED, *flags, f"--workdir={folder / 'run'}")
    if name == "compare":
        given += (f"--teacher-dir={folder / 'teachers'}",)
    if "--teacher-views=2" in flags:
        given += (f"--teacher-outputs={folder / 'outputs'}",)
    process = context.Process(target=call, args=(name, given, folder / "log"))
    process.start()
    return process


def student(folder):
    begin = partial(Tiny(num_classes=4).init, train=False)
    form = jax.eval_shape(begin, jax.random.key(0), np.zeros((1, 8, 8, 3), np.float32))
    return run.restore_item(folder, "student", form)


def timeless(record):
    return {name: value for name, value in record.items() if not name.startswith("time/")}


def outcome(folder):
    """What a run, or the runs of a comparison with their tuning and teachers, came to."""
    found = {}
    for config in sorted(folder.rglob("config.json")):
        contents = run.read(config.parent)
        with Image.open(config.parent / "picture.png") as image:
            image.load()
        found[str(config.parent.relative_to(folder))] = (
            [timeless(record) for record in contents.records],
            timeless(contents.summary),
            student(config.parent),
        )
    for table in sorted(folder.rglob("t*.json")):
        if table.name == "tuning.json":
            found[table.name] = json.loads(table.read_text())
    for kept in sorted(folder.glob("outputs/*.npy")):
        found[kept.name] = kept.read_bytes()
    for picture in sorted((folder / "run").glob("*.png")):
        found[picture.name] = True
    return found


def finish(process, folder):
    process.join()
    assert process.exitcode == 0, (folder / "log").read_text()
    assert "Traceback" not in (folder / "log").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_killed_at_random_moments_all_ends_as_if_undisturbed(command_line, tmp_path, name):
    wanted, *flags = COMMANDS[name]
    shared = command_line.folder / "kills"
    flags += [f"--dataset=npz:{command_line.data}", f"--cache-dir={shared / 'cache'}"]
    flags += [f"--teacher-dir={shared / 'teachers'}"]
    undisturbed = tmp_path / "undisturbed"
    for _ in range(2):  # the second finds compiled programs, as those to be killed
        shutil.rmtree(undisturbed, ignore_errors=True)
        began = time.monotonic()
        finish(start(name, flags, undisturbed), undisturbed)
        length = time.monotonic() - began
    expected = outcome(undisturbed)
    moment, kills, folder = random.Random(name), 0, tmp_path / "killed"
    while kills < wanted:
        process = start(name, flags, folder)
        process.join(moment.uniform(0, length))
        if process.exitcode is None:
            process.kill()
            process.join()
            kills += 1
        else:
            finish(process, folder)
            chex.assert_trees_all_equal(outcome(folder), expected, strict=True)
            shutil.rmtree(folder)
    finish(start(name, flags, folder), folder)
    chex.assert_trees_all_equal(outcome(folder), expected, strict=True)
