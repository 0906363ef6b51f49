"""The hard buffer of MMKD: the images that the student gets wrong, kept for its upper level.

With them is kept what teachers say of them.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jkd.errors import UserError
from jkd.methods.asked import Kept, keep
from jkd.methods.base import Batch, Memory, TeacherOutputs
from jkd.models import Outputs


@struct.dataclass
class HardBuffer:
    """A store of fixed size; its first `filled` entries hold examples, in the form the networks see them."""

    images: Float[Array, "size height width channels"]
    labels: Int[Array, " size"]
    teachers: Kept
    filled: Int[Array, ""]
    batch_size: int = struct.field(pytree_node=False)


def hard_buffer(size: int) -> Memory:
    """Returns a memory of `size` hard examples, drawn from in batches of the training batch's size.

    Given (MMKD's published code): it is filled by the first batches, whole; from then on the images of each
    batch that the student has just got wrong replace as many distinct entries, chosen at random; batches are
    drawn without replacement.
    Ours: of a batch that would overfill the buffer, the first images are taken (there the buffer grows
    without end unless the batch size divides its size). An empty buffer gives images of zeros.

    `init` raises UserError if a batch does not fit.
    """

    def init(example: Batch, teachers: Kept) -> HardBuffer:
        batch_size = example.labels.shape[0]
        if batch_size > size:
            raise UserError(f"--buffer-size={size}: it must be at least the batch size, {batch_size}")

        def room(a: Any) -> Array:
            return jnp.zeros((size, *a.shape[1:]), a.dtype)

        images, labels, said = jax.tree.map(room, (example.images, example.labels, teachers))
        return HardBuffer(images, labels, said, jnp.zeros((), jnp.int32), batch_size)

    def update(
        key: PRNGKeyArray,
        buffer: HardBuffer,
        batch: Batch,
        student: Outputs,
        teachers: tuple[TeacherOutputs, ...],
    ) -> HardBuffer:
        places = jnp.arange(batch.labels.shape[0])
        wrong: Bool[Array, " batch"] = student.logits.argmax(-1) != batch.labels
        replaced = jax.random.permutation(key, size)[: len(places)]
        # `size` lies outside: nothing is written there.
        entries = jnp.where(buffer.filled < size, buffer.filled + places, jnp.where(wrong, replaced, size))

        def put(held: Array, new: Array) -> Array:
            return held.at[entries].set(new, mode="drop")

        return dataclasses.replace(
            buffer,
            images=put(buffer.images, batch.images),
            labels=put(buffer.labels, batch.labels),
            teachers=jax.tree.map(put, buffer.teachers, keep(buffer.teachers, teachers)),
            filled=jnp.minimum(buffer.filled + len(places), size),
        )

    def sample(key: PRNGKeyArray, buffer: HardBuffer) -> tuple[Batch, Kept]:
        held = jnp.arange(size) < buffer.filled
        drawn = jax.random.choice(key, size, (buffer.batch_size,), replace=False, p=held / buffer.filled)
        said = jax.tree.map(lambda x: x[drawn], buffer.teachers)
        return Batch(buffer.images[drawn], buffer.labels[drawn]), said

    return Memory(init, update, sample)
