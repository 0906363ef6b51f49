"""One mesh axis over all devices: the batch is split along it, everything else is whole on each."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Int

from jkd.errors import UserError
from jkd.machine import hosts


@dataclasses.dataclass(frozen=True)
class Devices:
    """The devices a run uses."""

    mesh: Mesh

    @classmethod
    def all(cls) -> "Devices":
        """Returns all devices along the axis `data`: of every process, where several have joined."""
        return cls(Mesh(np.asarray(jax.devices()), ("data",)))

    @property
    def count(self) -> int:
        """How many they are."""
        return self.mesh.size

    @property
    def kind(self) -> str:
        """What they are, such as "cpu" or "TPU v5e"."""
        return self.mesh.devices.flat[0].device_kind

    @property
    def on_cpu(self) -> bool:
        """Whether they are CPUs, on which XLA runs convolutions inside loops slowly."""
        return self.mesh.devices.flat[0].platform == "cpu"

    @property
    def whole(self) -> NamedSharding:
        """The sharding of what every device holds in full."""
        return NamedSharding(self.mesh, PartitionSpec())

    @property
    def one(self) -> "Devices":
        """The first of them alone."""
        return Devices(Mesh(self.mesh.devices.flat[:1], self.mesh.axis_names))

    @property
    def here(self) -> "Devices":
        """Those of this process alone."""
        return Devices(Mesh(np.asarray(self.mesh.local_devices), self.mesh.axis_names))

    def round_up(self, size: int) -> int:
        """Returns the least multiple of the number of devices that is not below `size`."""
        return -(-size // self.count) * self.count

    def replicate(self, tree: Any) -> Any:
        """Puts a pytree in full on every device. Each process has it whole."""
        return self.place(tree, jax.tree.map(lambda _: self.whole, tree))

    def place(self, tree: Any, shardings: Any) -> Any:
        """Puts a pytree on the devices, each leaf by its sharding. Each process has it whole."""
        if not hosts.joined():
            return jax.device_put(tree, shardings)

        def put(leaf: Any, sharding: NamedSharding) -> jax.Array:
            if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
                return leaf
            # `device_put` would compare the processes' values, on all of them.
            held = np.asarray(leaf)
            return jax.make_array_from_callback(held.shape, sharding, held.__getitem__)

        return jax.tree.map(put, tree, shardings)

    def of_parts(self, tree: Any) -> NamedSharding:
        """Returns the sharding of arrays that are in parts (`jkd.methods.base.Memory`): split along the first
        axis, or whole where that does not go."""
        fits = all(leaf.ndim and leaf.shape[0] % self.count == 0 for leaf in jax.tree.leaves(tree))
        return self._split if fits and self.count > 1 else self.whole

    def rows(self, *sizes: int) -> Int[np.ndarray, " rows"]:
        """Returns which rows of batches, one after the other, are on this process's devices, in order."""
        found, start = [], 0
        for size in sizes:
            held = self._split.addressable_devices_indices_map((size,)).values()
            found += [start + np.arange(size)[index] for index in held]
            start += size
        return np.unique(np.concatenate(found))

    def split(self, rows: np.ndarray, size: int) -> jax.Array:
        """Puts a batch on the devices, split along its first axis; each process gives its `rows(size)`."""
        return jax.make_array_from_process_local_data(self._split, rows, (size, *rows.shape[1:]))

    def shard(self, tree: Any) -> Any:
        """Splits arrays inside a compiled program along their first axis."""
        if self.count == 1:
            return tree
        return jax.lax.with_sharding_constraint(tree, self._split)

    @property
    def _split(self) -> NamedSharding:
        return NamedSharding(self.mesh, PartitionSpec("data"))

    def check_batch(self, batch_size: int, flag: str) -> None:
        """Raises UserError if a batch does not split evenly."""
        if batch_size % self.count:
            below = max(batch_size // self.count, 1) * self.count
            raise UserError(
                f"{flag}={batch_size} does not divide by the {self.count} devices; {below} would be right"
            )
