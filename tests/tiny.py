"""Networks and settings so small that a run takes seconds, for tests of everything around training."""

from functools import partial

import flax.linen as nn

import jkd
from jkd.models import Outputs


class Tiny(nn.Module):
    """A stem and one stage."""

    num_classes: int
    width: int = 8
    dtype: str = "float32"

    @nn.compact
    def __call__(self, images, train):
        """Returns all that a network can give."""
        conv = partial(nn.Conv, self.width, (3, 3), dtype=self.dtype)
        stem = nn.relu(conv(strides=2)(images))
        x = nn.relu(nn.BatchNorm(use_running_average=not train, dtype=self.dtype)(conv()(stem)))
        embedding = x.mean((1, 2))
        return Outputs(nn.Dense(self.num_classes, dtype=self.dtype)(embedding), (stem, x), embedding)


class LogitsAlone(nn.Module):
    """A network that says nothing of its features; it drops out, and has no batch norm."""

    num_classes: int

    @nn.compact
    def __call__(self, images, deterministic):
        """Returns logits."""
        x = nn.relu(nn.Conv(8, (3, 3), strides=2)(images)).mean((1, 2))
        return nn.Dense(self.num_classes)(nn.Dropout(0.1, deterministic=deterministic)(x))


def settings(folder, **given):
    """Returns settings of a run in `folder`, of seconds."""
    return {
        "teachers": ["tiny"],
        "student": "tiny",
        "epochs": 2,
        "batch_size": 64,
        "learning_rate": 0.02,
        "teacher_dir": str(folder / "teachers"),
        "cache_dir": str(folder / "cache"),
        "workdir": str(folder / "run"),
    } | given


NETWORKS = {"tiny": Tiny, "logits_alone": LogitsAlone}
for name, network in NETWORKS.items():
    jkd.models.register(name, network)
