"""The shortest weighted mean of vectors: a small quadratic program, solved inside a compiled step."""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def minimum_norm_weights(vectors: Float[Array, "vectors dimensions"], cap: float) -> Float[Array, " vectors"]:
    """The weights of the shortest weighted mean of K vectors, none of them above `cap`.

    Minimises ‖Σ_k w_k v_k‖ over Σ w = 1, 0 ≤ w_k ≤ cap by a primal active-set method: exact up to rounding
    for any K, in 4K small linear systems (8 vectors never needed more than 14; a loop that ends when it is
    done would ask the host each time). Where several weightings do equally well, as for identical vectors,
    it returns one of them. No gradient flows through the weights.

    Args:
      vectors: v_k.
      cap: the largest weight; below 1/K it counts as 1/K.

    Source: Nocedal and Wright, "Numerical optimization", algorithm 16.3.
    """
    vectors = jax.lax.stop_gradient(vectors)
    count = len(vectors)
    cap = max(cap, 1 / count)
    product = partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
    gram = product(vectors, vectors.T)
    largest = jnp.abs(gram).max()
    gram = gram / jnp.where(largest > 0, largest, 1.0)
    rounding = jnp.finfo(gram.dtype).eps

    def face_step(weights, free):
        """The step to the minimum over the free weights, their sum kept, and the multiplier of the sum."""
        both_free = free[:, None] & free[None, :]
        # Where vectors depend on each other a face has many minima: the rounding added here picks one.
        block = jnp.where(both_free, gram, 0.0) + jnp.diag(jnp.where(free, rounding, 1.0))
        ones = free.astype(gram.dtype)
        system = jnp.block([[block, ones[:, None]], [ones[None, :], jnp.zeros((1, 1), gram.dtype)]])
        solution = jnp.linalg.solve(system, jnp.append(-ones * product(gram, weights), 0.0))
        return solution[:-1], solution[-1]

    def iterate(state):
        weights, free, done = state
        step, multiplier = face_step(weights, free)
        room = jnp.where(step > 0, cap - weights, weights)
        moving = free & (jnp.abs(step) > rounding)
        lengths = jnp.where(moving, room / jnp.where(moving, jnp.abs(step), 1.0), jnp.inf)
        first = jnp.argmin(lengths)
        blocked = lengths[first] < 1
        weights = jnp.clip(weights + jnp.minimum(lengths[first], 1.0) * step, 0.0, cap)
        bound = jnp.where(step[first] > 0, cap, 0.0)
        weights = weights.at[first].set(jnp.where(blocked, bound, weights[first]))
        # At the minimum over a face the bound that costs most is given up; where none costs, this is the end.
        slope = product(gram, weights) + multiplier
        cost = jnp.where(free, -jnp.inf, jnp.where(weights > 0, slope, -slope))
        worst = jnp.argmax(cost)
        release = ~blocked & (cost[worst] > 10 * count * rounding)
        free = free.at[first].set(free[first] & ~blocked)
        free = free.at[worst].set(free[worst] | release)
        after = weights, free, ~blocked & ~release
        return jax.tree.map(lambda old, new: jnp.where(done, old, new), state, after)

    start = (
        jnp.full(count, 1 / count, gram.dtype),
        jnp.ones(count, bool),
        jnp.zeros((), bool),
    )
    return jax.lax.fori_loop(0, 4 * count, lambda _, state: iterate(state), start)[0]
