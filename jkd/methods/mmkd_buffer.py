"""The hard buffer of MMKD: the images that the student gets wrong, kept for its upper level.

With them is kept what teachers say of them.
"""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from flax import struct
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from jkd.errors import UserError
from jkd.methods.asked import Kept, keep
from jkd.methods.base import Batch, Memory, TeacherOutputs
from jkd.models import Outputs

FORMS = ("parts", "whole")


@struct.dataclass
class HardBuffer:
    """A store of fixed size, in parts; the first `filled` entries of a part hold examples, in the form the
    networks see them. What is kept of the teachers begins with the same two axes."""

    images: Float[Array, "parts entries height width channels"]
    labels: Int[Array, "parts entries"]
    teachers: Kept
    filled: Int[Array, " parts"]
    batch_size: int = struct.field(pytree_node=False)


def hard_buffer(size: int, form: str = "parts") -> Memory:
    """Returns a memory of `size` hard examples, drawn from in batches of the training batch's size.

    Given (MMKD's published code): it is filled by the first batches, whole; from then on the images of each
    batch that the student has just got wrong replace as many distinct entries, chosen at random; batches are
    drawn without replacement.
    Ours: of a batch that would overfill the buffer, the first images are taken (there the buffer grows
    without end unless the batch size divides its size). An empty buffer gives images of zeros.

    Ours, and the default, since the images of a batch that is split over devices would have to be sent to
    where a random entry is: in as many parts as divide both the buffer and the batch, all of that holds
    within a part, whose images come from its own rows of the batch and are drawn for these. Which images are
    in which rows is drawn anew in each epoch, so that an entry is replaced, and drawn, as often as in the
    published form. Not given is how many at once: of 64 parts of 4 entries a batch has one image of each.
    The parts do not depend on the devices, nor do results.

    Args:
        size: How many examples.
        form: "parts", or "whole" for the published form.

    `init` raises UserError if a batch does not fit.
    """

    def init(example: Batch, teachers: Kept) -> HardBuffer:
        batch_size = example.labels.shape[0]
        if batch_size > size:
            raise UserError(f"--buffer-size={size}: it must be at least the batch size, {batch_size}")
        parts = math.gcd(size, batch_size) if form == "parts" else 1

        def room(a: Any) -> Array:
            return jnp.zeros((parts, size // parts, *a.shape[1:]), a.dtype)

        images, labels, said = jax.tree.map(room, (example.images, example.labels, teachers))
        return HardBuffer(images, labels, said, jnp.zeros(parts, jnp.int32), batch_size)

    def update(
        key: PRNGKeyArray,
        buffer: HardBuffer,
        batch: Batch,
        student: Outputs,
        teachers: tuple[TeacherOutputs, ...],
    ) -> HardBuffer:
        parts, entries = buffer.labels.shape
        rows = buffer.batch_size // parts

        def replaced(key: PRNGKeyArray, filled: Array, wrong: Bool[Array, " rows"]) -> Int[Array, " rows"]:
            places = jnp.arange(rows)
            chosen = jax.random.permutation(key, entries)[:rows]
            # `entries` lies outside: nothing is written there.
            return jnp.where(filled < entries, filled + places, jnp.where(wrong, chosen, entries))

        wrong = student.logits.argmax(-1) != batch.labels
        into = jax.vmap(replaced)(_keys(key, parts), buffer.filled, wrong.reshape(parts, rows))

        def put(held: Array, new: Array) -> Array:
            new = new.reshape(parts, rows, *new.shape[1:])
            return jax.vmap(lambda held, into, new: held.at[into].set(new, mode="drop"))(held, into, new)

        return dataclasses.replace(
            buffer,
            images=put(buffer.images, batch.images),
            labels=put(buffer.labels, batch.labels),
            teachers=jax.tree.map(put, buffer.teachers, keep(buffer.teachers, teachers)),
            filled=jnp.minimum(buffer.filled + rows, entries),
        )

    def sample(key: PRNGKeyArray, buffer: HardBuffer) -> tuple[Batch, Kept]:
        parts, entries = buffer.labels.shape

        def draw(key: PRNGKeyArray, filled: Array) -> Int[Array, " rows"]:
            held = jnp.arange(entries) < filled
            rows = (buffer.batch_size // parts,)
            return jax.random.choice(key, entries, rows, replace=False, p=held / filled)

        drawn = jax.vmap(draw)(_keys(key, parts), buffer.filled)

        def take(held: Array) -> Array:
            taken = jax.vmap(lambda held, drawn: held[drawn])(held, drawn)
            return taken.reshape(-1, *held.shape[2:])

        return Batch(take(buffer.images), take(buffer.labels)), jax.tree.map(take, buffer.teachers)

    return Memory(init, update, sample)


def _keys(key: PRNGKeyArray, parts: int) -> PRNGKeyArray:
    """Returns a key for each part; of one, the key itself."""
    return jax.random.split(key, parts) if parts > 1 else key[None]
