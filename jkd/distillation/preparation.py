"""What a method finds out about its teachers before distillation: once, and kept in the run's folder."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import PyTree

from jkd.data.streamed import select
from jkd.machine import archive, files, hosts
from jkd.methods.base import Examples, Preparation
from jkd.steps.asking import teacher_outputs
from jkd.steps.evaluate import Predictor
from jkd.steps.state import State
from jkd.training.job import Job

_REPORT, _ARRAYS = "preparation.json", "preparation.npz"


def prepare(
    job: Job, teachers: tuple[PyTree, ...], state: State, names: tuple[str, ...], folder: Path
) -> tuple[State, dict[str, Any]]:
    """Lets a method find out what it wants to know, or reads what is kept of it in `folder`; prints it.

    Args:
        job: what is to be trained.
        teachers: the teachers' variables.
        state: the state before the first step.
        names: the teachers'.
        folder: the run's.

    Returns:
        The state with what was found, and the report for the summary; nothing for a method without `prepare`.

    Raises:
        UserError: what was kept is damaged.
    """
    method = job.task.method
    if method.prepare is None:
        return state, {}
    # The report is written last: where it is, all is.
    if hosts.agreed((folder / _REPORT).exists):
        found = _read(folder, state.stats.method)
    else:
        learned_from = np.setdiff1d(job.train_indices, job.held_out)
        seen = (_examples(job, teachers, indices) for indices in (learned_from, job.held_out))
        found = method.prepare(state.stats.method, names, *seen)
        if hosts.is_first():
            _write(folder, found)
    print(found.text, flush=True)
    state = state._replace(stats=state.stats._replace(method=found.state))
    return state, {"preparation": found.report}


def _examples(job: Job, teachers: tuple[PyTree, ...], indices: np.ndarray) -> Examples:
    """Returns training images, without augmentation, with a way to see what the teachers make of them."""
    task, images = job.task, select(job.dataset.train_images, indices)

    def observe(function: Callable[[Any], PyTree]) -> list[PyTree]:
        def seen(network: Any, variables: PyTree, images: Any) -> PyTree:
            return function(teacher_outputs((network,), (variables,), images)[0])

        return [
            Predictor(partial(seen, network), task.augmentation, task.devices, job.eval_batch_size)(
                task.devices.replicate(variables), images
            )
            for network, variables in zip(task.teachers, teachers, strict=True)
        ]

    return Examples(job.dataset.train_labels[indices], observe)


def _write(folder: Path, found: Preparation) -> None:
    state: dict[str, Any] = {
        f"state{i}": np.asarray(leaf) for i, leaf in enumerate(jax.tree.leaves(found.state))
    }
    files.replace(folder / _ARRAYS, lambda file: np.savez(file, **(state | found.arrays)))
    files.write_json(folder / _REPORT, {"report": files.plain(found.report), "text": found.text})


def _read(folder: Path, state: PyTree) -> Preparation:
    kept = files.read_json(folder / _REPORT)
    try:
        arrays = archive.read(folder / _ARRAYS)
        leaves, form = jax.tree.flatten(state)
        restored = jax.tree.unflatten(form, [arrays.pop(f"state{i}") for i in range(len(leaves))])
    except (archive.Unreadable, OSError, KeyError) as error:
        raise files.damaged(folder / _ARRAYS, error) from error
    return Preparation(restored, kept["report"], kept["text"], arrays)
