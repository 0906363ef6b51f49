"""Checkpoints of named items, by orbax: saved in the background, whole or absent, read item by item."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp
from jaxtyping import PyTree

from jkd.errors import UserError


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


def save(manager: ocp.CheckpointManager, step: int, state: Mapping[str, PyTree]) -> None:
    """Saves the items in the background. Does nothing unless `step` is later than the newest checkpoint's."""
    items = {name: ocp.args.StandardSave(item) for name, item in _filled(state).items()}
    manager.save(step, args=ocp.args.Composite(**items))


def restore(manager: ocp.CheckpointManager, step: int, abstract: Mapping[str, PyTree]) -> dict[str, PyTree]:
    """Reads the items of a checkpoint that `abstract` names, as arrays or `jax.ShapeDtypeStruct`s.

    Each array is placed by the sharding it has there, or else on the first device, however it was placed when
    it was saved.

    Raises:
        UserError: The checkpoint is damaged, lacks an item, or an item has other entries, shapes or types.
    """
    folder = Path(manager.directory) / str(step)
    items = {name: jax.tree.map(_placed, item) for name, item in _filled(abstract).items()}
    for name, item in items.items():
        if not (folder / name).is_dir():
            raise UserError(f"{folder} has no item '{name}'")
        wrong = differences(_saved_entries(folder / name), _entries(item))
        if wrong:
            more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            raise UserError(
                f"{folder / name} does not fit this network or version: {'; '.join(wrong[:3])}{more}"
            )
    arguments = {name: ocp.args.StandardRestore(item) for name, item in items.items()}
    try:
        restored = manager.restore(step, args=ocp.args.Composite(**arguments))
    except (ValueError, OSError) as error:
        raise _damaged(folder, error) from error
    return {name: restored[name] if name in items else item for name, item in abstract.items()}


def differences(there: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """What two flat dictionaries do not agree on, one phrase each."""
    return [
        f"{name}: {there.get(name, 'absent')} there, {here.get(name, 'absent')} here"
        for name in there | here
        if name not in there or name not in here or there[name] != here[name]
    ]


def _filled(state: Mapping[str, PyTree]) -> dict[str, PyTree]:
    """The items that have an array; orbax refuses the others."""
    return {name: item for name, item in state.items() if jax.tree.leaves(item)}


def _placed(leaf: Any) -> jax.ShapeDtypeStruct:
    sharding = getattr(leaf, "sharding", None) or jax.sharding.SingleDeviceSharding(jax.devices()[0])
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)


def _saved_entries(folder: Path) -> dict[str, str]:
    try:
        return _entries(ocp.StandardCheckpointHandler().metadata(folder).tree)
    except (ValueError, OSError) as error:
        raise _damaged(folder, error) from error


def _damaged(folder: Path, error: Exception) -> UserError:
    step = next(path for path in (folder, *folder.parents) if path.name.isdigit())
    return UserError(
        f"{folder} is damaged ({str(error).splitlines()[0]}): restore it, or remove {step} to go on from "
        "what was saved before it"
    )


def _entries(tree: PyTree) -> dict[str, str]:
    """Types and shapes by the names that orbax gives: a named tuple's fields, another tuple's indices."""
    entries = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            leaf = jax.eval_shape(jax.random.key_data, leaf)  # what is saved of a key
        entries[jax.tree_util.keystr(path, simple=True, separator="/")] = f"{leaf.dtype}{list(leaf.shape)}"
    return entries
