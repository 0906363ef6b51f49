"""One mesh axis over all devices: the batch is split along it, everything else is whole on each."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

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

    def round_up(self, size: int) -> int:
        """Returns the least multiple of the number of devices that is not below `size`."""
        return -(-size // self.count) * self.count

    def replicate(self, tree: Any) -> Any:
        """Puts a pytree in full on every device. Each process has it whole."""
        if not hosts.joined():
            return jax.device_put(tree, self.whole)

        def put(leaf: Any) -> jax.Array:
            if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
                return leaf
            # `device_put` would compare the processes' values, on all of them.
            return jax.make_array_from_process_local_data(self.whole, np.asarray(leaf), np.shape(leaf))

        return jax.tree.map(put, tree)

    def shard(self, tree: Any) -> Any:
        """Splits arrays inside a compiled program along their first axis."""
        split = NamedSharding(self.mesh, PartitionSpec("data"))
        return jax.lax.with_sharding_constraint(tree, split)

    def check_batch(self, batch_size: int, flag: str) -> None:
        """Raises UserError if a batch does not split evenly."""
        if batch_size % self.count:
            below = max(batch_size // self.count, 1) * self.count
            raise UserError(
                f"{flag}={batch_size} does not divide by the {self.count} devices; {below} would be right"
            )
