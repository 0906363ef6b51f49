"""MKCD: multi-knowledge collaborative distillation with an encoder-decoder projector and a reused classifier.

Given by the paper's title and abstract (doi 10.6919/ICJE.202503_11(3).0014): the teacher's classifier is
reused; an encoder-decoder projector aligns the deep features of student and teacher; several kinds of
knowledge are used together; the temperature is adjusted progressively instead of being tuned.

Ours, because the abstract does not say:
- Encoder: a 1×1 convolution to half the teacher's channels, then a 3×3 one of stride 2. Decoder: its
  mirror, a transposed 3×3 one of stride 2 and a 1×1 to the teacher's channels. Batch norm and ReLU follow
  each; the last ReLU because the teacher's map comes out of one. `--projector=bottleneck` is SimKD's (Chen et
  al., CVPR 2022, with its factor 2), without stride: the 1×1, a 3×3 and the 1×1.
- The maps are the last features, those that the two heads see.
  The projection has the height and width of the student's map, so that deploying it needs nothing of the
  teacher but its classifier; for mse_k the larger of it and the teacher's map is pooled to the smaller.
- Loss: mean_k [CE_k + α KD_k + β mse_k + γ similarity_k]. CE_k and KD_k are of the logits that teacher k's
  classifier gives to the pooled projection; mse_k is between projection and teacher's map; similarity_k (SP)
  between the student's own map and the teacher's, so that the backbone, too, gets a relation to keep.
- The temperature is T_0 + (T_1 − T_0)(1 − cos πp)/2, with p the fraction of training done.
- Several teachers: a projector and a reused classifier each. The prediction is the mean of their
  probabilities, as in an ensemble; the classifiers are trained each for itself, not their mean.
- The deployed student is backbone, projectors and reused classifiers, and its cost is reported so. The
  student network's own classifier is never used.
- γ = 1000 makes the gradient of the similarity as large as that of the cross-entropy; RepDistiller gives
  3000 to SP alone, which here outweighs all else (experiments/results/methods). β = 10 is between the 1 of
  SimKD and MMKD's 100, with which the error of features outweighs all else.
"""

from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
from flax import linen as nn
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from jkd.flags import Flag
from jkd.losses.features import mse
from jkd.losses.logits import kd, standardise
from jkd.losses.relations import similarity
from jkd.methods.base import Batch, Loss, Method, TeacherOutputs, Variables
from jkd.methods.parts import StandardiseLogits
from jkd.methods.scratch import cross_entropies
from jkd.models import Head, Outputs
from jkd.models.layers import HE_FAN_OUT, BatchNorm


class Projector(nn.Module):
    """From the student's map to a teacher's channels, at the same height and width.

    "encoder-decoder" halves the space and restores it, "bottleneck" keeps it.
    """

    channels: int
    form: str = "encoder-decoder"

    @nn.compact
    def __call__(
        self, x: Float[Array, "batch height width from"], train: bool
    ) -> Float[Array, "batch height width channels"]:
        """Returns the projected map; odd heights and widths are cropped on the way back."""
        height, width, half = *x.shape[1:3], self.channels // 2

        def after(layer: nn.Module, x: Array, name: str) -> Array:
            return nn.relu(BatchNorm(use_running_average=not train, name=name)(layer(x)))

        def conv(channels: int, size: int, stride: int, name: str) -> nn.Conv:
            return nn.Conv(
                channels,
                (size, size),
                stride,
                padding=size // 2,
                use_bias=False,
                kernel_init=HE_FAN_OUT,
                name=name,
            )

        x = after(conv(half, 1, 1, "encode1"), x, "encode1_norm")
        strided = self.form == "encoder-decoder"
        x = after(conv(half, 3, 1 + strided, "encode2"), x, "encode2_norm")
        if strided:
            up = nn.ConvTranspose(
                half, (3, 3), (2, 2), use_bias=False, kernel_init=HE_FAN_OUT, name="decode1"
            )
            x = after(up, x, "decode1_norm")[:, :height, :width]
        return after(conv(self.channels, 1, 1, "decode2"), x, "decode2_norm")


def temperature_at(progress: float | Float[Array, ""], start: float, end: float) -> float | Float[Array, ""]:
    """Returns the temperature after the fraction `progress` of training: a half cosine from start to end."""
    return start + (end - start) * (1 - jnp.cos(jnp.pi * progress)) / 2


def mkcd(
    *,
    projector: Annotated[
        Literal["encoder-decoder", "bottleneck"], Flag("from the student's last map to the teachers'")
    ] = "encoder-decoder",
    temperature_start: Annotated[float, Flag("distillation temperature T_0 at the start", above=0)] = 1.0,
    temperature_end: Annotated[float, Flag("distillation temperature T_1 at the end", above=0)] = 4.0,
    standardise_logits: StandardiseLogits = False,
    alpha: Annotated[
        float,
        Flag("coefficient α of the KD through the reused classifiers", at_least=0, tune=(0.3, 1.0, 3.0)),
    ] = 1.0,
    beta: Annotated[
        float, Flag("coefficient β of the projected features' error", at_least=0, tune=(1.0, 10.0, 100.0))
    ] = 10.0,
    gamma: Annotated[
        float, Flag("coefficient γ of the similarity of examples", at_least=0, tune=(300.0, 1000.0, 3000.0))
    ] = 1000.0,
) -> Method:
    """Mean over teachers of CE_k + α KD_k + β mse_k + γ similarity_k, through the teachers' classifiers."""

    def init(key: PRNGKeyArray, student: Outputs, teachers: tuple[TeacherOutputs, ...]) -> Variables:
        def variables(key: PRNGKeyArray, teacher: TeacherOutputs) -> PyTree:
            example = jnp.zeros((1, *student.features[-1].shape[1:]))
            return Projector(teacher.features[-1].shape[-1], projector).init(key, example, train=False)

        keys = jax.random.split(key, len(teachers))
        each = jax.jit(lambda keys: [variables(k, t) for k, t in zip(keys, teachers, strict=True)])(keys)
        return Variables(tuple(v["params"] for v in each), tuple(v["batch_stats"] for v in each))

    def loss(
        variables: Variables, student: Outputs, teachers: tuple[TeacherOutputs, ...], batch: Batch, progress
    ) -> Loss:
        temperature = temperature_at(progress, temperature_start, temperature_end)
        terms, reused, state = [], [], []
        for params, stats, teacher in zip(variables.params, variables.state, teachers, strict=True):
            projected, changed = Projector(teacher.features[-1].shape[-1], projector).apply(
                {"params": params, "batch_stats": stats},
                student.features[-1],
                train=True,
                mutable=["batch_stats"],
            )
            logits = teacher.head(projected.mean((1, 2)))
            ce = cross_entropies(logits, batch)
            seen = logits, teacher.logits
            if standardise_logits:
                seen = standardise(logits), standardise(teacher.logits)
            terms.append(
                {
                    "ce": ce.mean(),
                    "kd": kd(*seen, temperature).mean(),
                    "features": mse(projected, teacher.features[-1]).mean(),
                    "similarity": similarity(student.features[-1], teacher.features[-1]).mean(),
                }
            )
            reused.append(logits)
            state.append(changed["batch_stats"])
        mean = jax.tree.map(lambda *values: jnp.stack(values).mean(), *terms)
        total = mean["ce"] + alpha * mean["kd"] + beta * mean["features"] + gamma * mean["similarity"]
        right = jnp.mean(_together(reused).argmax(-1) == batch.labels)
        return Loss(total, mean | {"temperature": temperature, "top1": right}, tuple(state))

    def predict(
        variables: Variables, student: Outputs, heads: tuple[Head, ...]
    ) -> Float[Array, "batch classes"]:
        logits = []
        for params, stats, head in zip(variables.params, variables.state, heads, strict=True):
            projected: Any = Projector(head.kernel.shape[0], projector).apply(
                {"params": params, "batch_stats": stats}, student.features[-1], train=False
            )
            logits.append(head(projected.mean((1, 2))))
        return _together(logits)

    return Method(init, loss, predict=predict)


def _together(logits: list[Float[Array, "batch classes"]]) -> Float[Array, "batch classes"]:
    """Returns the logarithm of the mean of the probabilities."""
    return jax.nn.logsumexp(jax.nn.log_softmax(jnp.stack(logits)), axis=0) - jnp.log(len(logits))
