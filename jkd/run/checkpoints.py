"""Checkpoints of named items, by orbax: saved in the background, whole or absent, read item by item.

Beside its items each holds a *seal*: its step, a checksum of each item's arrays, and how many records the run
had, with their digest. Orbax sees no flipped bit in an array, so what is read is held against the seal.
"""

import importlib
import logging
import operator
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from jkd.errors import UserError
from jkd.machine import files, hosts, system
from jkd.provenance import checksum

_SEAL = "seal"

# Orbax's threads print the errors, traceback and all, that orbax then raises.
logging.getLogger("absl").addFilter(lambda record: "orbax" not in record.pathname)

# For a line of its log, orbax asks tensorstore several times a save how much it has written, and tensorstore
# (0.1.86) never frees its answers: 0.06 MiB a save.
with suppress(ImportError):
    _statistics = importlib.import_module("orbax.checkpoint._src.serialization.tensorstore_utils")
    _statistics.get_tensorstore_raw_bytes = lambda *_, **__: 0  # type: ignore[attr-defined]
    _statistics.print_ts_debug_data = lambda *_, **__: ""  # type: ignore[attr-defined]


class Damaged(UserError):
    """A checkpoint is not what was saved."""


def open_to_write(folder: Path) -> ocp.CheckpointManager:
    """Opens a folder of checkpoints, making it where missing; half-written ones are removed."""
    # Two, so that there is a complete one while an old one is being deleted or the newest proves damaged.
    kept = ocp.checkpoint_managers.LatestN(2)
    options = ocp.CheckpointManagerOptions(preservation_policy=kept, cleanup_tmp_directories=True)
    return ocp.CheckpointManager(folder.absolute(), options=options)


def open_to_read(folder: Path) -> ocp.CheckpointManager:
    """Opens a folder of checkpoints that another process may be writing."""
    # Not by orbax's `read_only`, which warns that it is so at every use; nothing is written without a save.
    return ocp.CheckpointManager(folder.absolute(), options=ocp.CheckpointManagerOptions(create=False))


def save(
    manager: ocp.CheckpointManager, step: int, state: Mapping[str, PyTree], records: dict[str, Any]
) -> None:
    """Saves the items in the background. Does nothing unless `step` is later than the newest checkpoint's.

    Args:
        manager: An open folder of checkpoints.
        step: The number of training steps done.
        state: The items; their arrays may be donated once this returns.
        records: What `seal` gives back of the run's records.
    """
    if not manager.should_save(step):
        return
    items = _filled(state)
    # Taken here and not in orbax's threads: once this returns, the arrays may be donated.
    seal = {"step": step, "items": {name: checksum(item) for name, item in items.items()}, "records": records}
    arguments = {name: ocp.args.StandardSave(item) for name, item in items.items()}
    manager.save(step, args=ocp.args.Composite(**arguments, **{_SEAL: ocp.args.JsonSave(seal)}))


def restore(manager: ocp.CheckpointManager, step: int, abstract: Mapping[str, PyTree]) -> dict[str, PyTree]:
    """Reads the items of a checkpoint that `abstract` names, as arrays or `jax.ShapeDtypeStruct`s.

    Each array is placed by its sharding there, or else on the first device, however it was when saved.

    Raises:
        Damaged: The checkpoint is not what was saved.
        UserError: It lacks an item, or an item has other entries, shapes or types.
    """
    folder = Path(manager.directory) / str(step)
    sealed = seal(folder)
    if sealed is None:
        print(f"{folder} was saved before checkpoints had checksums: it is taken as it is", flush=True)
    items = {name: jax.tree.map(_placed, item) for name, item in _filled(abstract).items()}
    for name, item in items.items():
        if not (folder / name).is_dir():
            raise UserError(f"{folder} has no item '{name}'")
        wrong = files.differences(_saved_entries(folder / name), _entries(item))
        if wrong:
            more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            raise UserError(
                f"{folder / name} does not fit this network or version: {'; '.join(wrong[:3])}{more}"
            )
    arguments = {name: ocp.args.StandardRestore(item) for name, item in items.items()}
    try:
        with _reading(folder):
            restored = manager.restore(step, args=ocp.args.Composite(**arguments))
    except Damaged:
        hosts.anywhere(True)
        raise
    if hosts.anywhere(False):  # of what is split each reads its own rows, and all would wait for their sum
        raise _damaged(folder, "another process cannot read its part")
    for name in items:
        if sealed is not None and checksum(restored[name]) != sealed["items"].get(name):
            raise _damaged(folder / name, "its arrays are not those that were saved")
    return {name: restored[name] if name in items else item for name, item in abstract.items()}


def restore_newest(
    manager: ocp.CheckpointManager,
    abstract: Mapping[str, PyTree],
    rewind: Callable[[int, dict[str, Any] | None], None],
) -> tuple[int, dict[str, PyTree]] | None:
    """Reads the newest whole checkpoint. Those after it are told on standard error and moved to `damaged/`.

    Args:
        manager: An open folder of checkpoints.
        abstract: As for `restore`.
        rewind: Called with the step and what `save` was given of the records (None before there were seals);
            raises UserError if the records do not agree with it.

    Returns:
        The step and the items, or None if there is no checkpoint.

    Raises:
        UserError: There are checkpoints, but none is whole and fits.
    """
    folder = Path(manager.directory)
    failed: dict[int, UserError] = {}
    for step in sorted(manager.all_steps(), reverse=True):
        try:
            state = restore(manager, step, abstract)
            sealed = seal(folder / str(step))
            rewind(step, None if sealed is None else sealed["records"])
        except UserError as error:
            failed[step] = error
        if not hosts.agreed(partial(operator.not_, step in failed)):
            failed.setdefault(step, Damaged(f"{folder / str(step)} is damaged"))
            continue
        for later, why in failed.items():
            print(
                f"{why}: going on from the checkpoint before it, of step {step}",
                file=sys.stderr,
                flush=True,
            )
            # Orbax saves none before its newest; moved, not deleted, as only the one before it proved whole.
            if hosts.is_first():
                _replace(folder / str(later), folder.parent / "damaged" / str(later))
        hosts.meet("damaged checkpoints are set aside")
        manager.reload()
        return step, state
    if failed:
        raise UserError(
            f"{failed[max(failed)]}; no checkpoint before it is whole: restore it, or give another --workdir"
        )
    return None


def seal(folder: Path) -> dict[str, Any] | None:
    """Reads a checkpoint's seal: `step`, `items` and `records`; None if it was saved before there were seals.

    Raises:
        Damaged: The seal is damaged or belongs to another checkpoint.
    """
    if not (folder / _SEAL).is_dir():
        if _SEAL in _items(folder):
            raise _damaged(folder, "its seal is missing")
        return None
    with _reading(folder / _SEAL):
        read = ocp.JsonCheckpointHandler().restore(folder / _SEAL)
        step, items, records = read["step"], dict(read["items"]), dict(read["records"])
    if str(step) != folder.name:
        raise _damaged(folder, f"it is the checkpoint of step {step}")
    return {"step": step, "items": items, "records": records}


def size(state: Mapping[str, PyTree]) -> int:
    """The bytes that a checkpoint takes at most, but for a few of description."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(dict(state)))


@contextmanager
def _reading(folder: Path) -> Iterator[None]:
    """Turns what orbax raises of a damaged checkpoint, which may be anything, into Damaged."""
    try:
        yield
    except Exception as error:
        # A file that may not be opened now, or memory that is full, says nothing about the checkpoint.
        full = isinstance(error, MemoryError) or "RESOURCE_EXHAUSTED" in str(error)
        if full or system.refusal(error) is not None:
            raise
        raise _damaged(folder, _root(error)) from error


def _root(error: BaseException) -> BaseException:
    return error if error.__cause__ is None else _root(error.__cause__)


def _replace(folder: Path, target: Path) -> None:
    shutil.rmtree(target, ignore_errors=True)
    target.parent.mkdir(exist_ok=True)
    folder.rename(target)


def _filled(state: Mapping[str, PyTree]) -> dict[str, PyTree]:
    """The items that have an array; orbax refuses the others."""
    return {name: item for name, item in state.items() if jax.tree.leaves(item)}


def _placed(leaf: Any) -> jax.ShapeDtypeStruct:
    sharding = getattr(leaf, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _items(folder: Path) -> set[str]:
    """The names of the items that a checkpoint was saved with, as orbax's own description of it has them."""
    described = files.read_json(folder / "_CHECKPOINT_METADATA")
    with _reading(folder):
        return set(described["item_handlers"])


def _saved_entries(folder: Path) -> dict[str, str]:
    with _reading(folder):
        return _entries(ocp.StandardCheckpointHandler().metadata(folder).tree)


def _damaged(folder: Path, why: object) -> Damaged:
    said = str(why).splitlines() or [type(why).__name__]
    return Damaged(f"{folder} is damaged ({said[0][:200]})")


def _entries(tree: PyTree) -> dict[str, str]:
    """Types and shapes by the names that orbax gives: a named tuple's fields, another tuple's indices."""
    entries = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if _is_key(leaf):
            leaf = jax.eval_shape(jax.random.key_data, leaf)  # what is saved of a key
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        entries[name] = f"{leaf.dtype}{list(leaf.shape)}"
    return entries


def _is_key(leaf: Any) -> bool:
    return jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)
