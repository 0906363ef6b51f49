"""Mirror descent on the weights of teachers: w = softmax(u), and u moves by the gradient with respect to w.

Also known as exponentiated gradient (Kivinen and Warmuth 1997; Beck and Teboulle 2003), here with an entropic
prior. With h_k = −∂ outer / ∂w_k, how useful more of teacher k is, and ĥ = h / rms(h) over the teachers,

    u ← u + η (ĥ − λ u),

whose fixed point w = softmax(E[ĥ] / λ) maximises ⟨E[ĥ], w⟩ − λ KL(w ‖ uniform). Teachers that are equally
useful keep equal weights, however reliably one is a little better; a useless one beside K − 1 useful ones
gets exp(−c/λ) of theirs, with c about 1. Softmax's own derivative would multiply h by w, so that a teacher
without weight could not get it back, and Adam would make a small difference as large as any.
"""

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float


@jax.custom_jvp
def weights(u: Float[Array, "teachers ..."]) -> Float[Array, "teachers ..."]:
    """Returns softmax(u) over the teachers, its derivative taken for the identity: that by u is that by w."""
    return jax.nn.softmax(u, axis=0)


weights.defjvp(lambda primals, tangents: (weights(*primals), *tangents))


def mirror_descent(learning_rate: float, prior: float) -> optax.GradientTransformation:
    """Returns u ← u − η (g / rms(g) + λ u), for each array of a pytree by itself; of a number rms(g) is |g|.

    Args:
        learning_rate: η; the weights forget after 1/(ηλ) updates.
        prior: λ, the pull towards equal weights; not negative.
    """

    def normalise(gradient: Array) -> Array:
        mean_square = jnp.mean(gradient**2)
        return jnp.where(mean_square > 0, gradient * jax.lax.rsqrt(jnp.maximum(mean_square, 1e-37)), 0.0)

    return optax.chain(
        optax.stateless(lambda gradients, _: jax.tree.map(normalise, gradients)),
        optax.add_decayed_weights(prior),
        optax.scale_by_learning_rate(learning_rate),
    )
