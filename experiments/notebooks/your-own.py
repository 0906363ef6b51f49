# %% [markdown]
# # Your teachers, your data, your student
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/jkd/blob/main/experiments/notebooks/your-own.ipynb)
#
# A folder of pictures, a PyTorch checkpoint, a PyTorch network that jkd does not know, and a student that is a Flax module of your own; at the
# end, files that run without jkd. Each part stands for yours: put your folder, your checkpoint and your module in its place.

# %%
# Installs jkd where it is not there yet. What JAX consists of (its TPU or GPU part too) stays as it was found.
import importlib.util
import os
import subprocess
import sys
from importlib.metadata import distributions

SOURCE = os.environ.get("JKD_SOURCE", "git+https://github.com/OWNER/jkd")
if importlib.util.find_spec("jkd") is None:
    found = {
        d.name: d.version
        for d in distributions()
        if d.name.lower().startswith(("jax", "libtpu", "flax", "numpy"))
    }
    with open("keep.txt", "w") as file:
        file.writelines(f"{name}=={version}\n" for name, version in found.items())
    subprocess.run([sys.executable, "-m", "pip", "install", "-q", "-c", "keep.txt", SOURCE], check=True)

# %%
import jax

import jkd

small = "JKD_SMALL" in os.environ  # as in the project's own tests: minutes become seconds
devices = jax.devices()
print(
    f"{len(devices)} × {devices[0].device_kind} ({devices[0].platform.upper()}), jax {jax.__version__}, "
    f"jkd {jkd.__version__}, {'small' if small else 'full'} settings"
)

# %% [markdown]
# ## Your data: a folder of pictures
# `train/CLASS/*` and `test/CLASS/*`, any format and size that Pillow reads. (Arrays do as well: `jkd.Data(train_images, train_labels,
# test_images, test_labels)`.)

# %%
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits

digits = load_digits()
pictures = (digits.images * 15.9).astype(np.uint8)
for i, (picture, label) in enumerate(zip(pictures, digits.target, strict=True)):
    folder = Path("pictures") / ("train" if i < 1400 else "test") / f"digit-{label}"
    folder.mkdir(parents=True, exist_ok=True)
    Image.fromarray(picture).save(folder / f"{i}.png")
dataset = "folder:pictures"

# %% [markdown]
# ## A PyTorch checkpoint of a published network
# As RepDistiller, mdistiller, MMKD, CA-MKD, torchvision and timm save them: it teaches as `ARCH@FILE`. This cell makes one; yours is there already.

# %%
import torch

from jkd.interop.torch import to_state_dict

epochs = 1 if small else 5
settings = {"dataset": dataset, "flip": False}  # a digit in a mirror is none
trained = jkd.distil("scratch", **settings, student="resnet8" if small else "resnet14", epochs=epochs)
state = {name: torch.tensor(entry) for name, entry in to_state_dict(trained.variables).items()}
torch.save({"epoch": epochs, "model": state}, "checkpoint.pth")
promised = 100 * trained.summary["last"]["test/top1"]
published = f"{trained.architecture}@checkpoint.pth:accuracy={promised:.2f}"
print(published)

# %% [markdown]
# ## A PyTorch network of your own
# A teacher is any pure function of variables and images. So its forward pass is written once more, in JAX, and its weights come along
# as they are. PyTorch's images are `[n, channels, height, width]`, JAX's `[n, height, width, channels]`.

# %%
torch.manual_seed(0)
network = torch.nn.Sequential(
    torch.nn.Conv2d(3, 32, 3, padding=1), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(32 * 8 * 8, 10)
)
x = torch.tensor(pictures[:1400] / 255, dtype=torch.float32)[:, None].expand(-1, 3, -1, -1)
y = torch.tensor(digits.target[:1400])
optimizer = torch.optim.Adam(network.parameters(), 0.002)
for _ in range(20 if small else 60):
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(network(x), y).backward()
    optimizer.step()

# %%
import jax.numpy as jnp


def forward(weights, images):
    x = images.transpose(0, 3, 1, 2)
    x = jax.lax.conv(x, weights["0.weight"], (1, 1), "SAME") + weights["0.bias"][:, None, None]
    x = jnp.maximum(x, 0).reshape(len(x), -1)
    return x @ weights["3.weight"].T + weights["3.bias"]


weights = {name: entry.numpy() for name, entry in network.state_dict().items()}
some = x[:8].contiguous()
with jax.default_matmul_precision("float32"):  # a TPU would else multiply in bfloat16
    apart = np.abs(
        forward(weights, some.numpy().transpose(0, 2, 3, 1)) - network(some).detach().numpy()
    ).max()
assert apart < 1e-3, apart
print(f"logits in JAX and in PyTorch are at most {apart:.0e} apart")
own = jkd.Teacher(forward, weights, name="mine", mean=0, std=1)  # it was trained on images in [0, 1]

# %% [markdown]
# ## Your student
# A Flax module. One that gives features beside its logits (`jkd.models.Outputs`) can be taught by methods that match them.

# %%
import flax.linen as nn


class Net(nn.Module):
    num_classes: int
    width: int = 32

    @nn.compact
    def __call__(self, images, train):
        x = nn.relu(nn.BatchNorm(use_running_average=not train)(nn.Conv(self.width, (3, 3))(images)))
        stem = x
        x = nn.relu(nn.Conv(2 * self.width, (3, 3), strides=2)(x))
        embedding = x.mean((1, 2))
        return jkd.models.Outputs(nn.Dense(self.num_classes)(embedding), (stem, x), embedding)


student = jkd.distil(
    "aver", **settings, teachers=[published, own], student=Net(num_classes=10), epochs=1 if small else 20
)

# %%
from IPython.display import Image as Shown

Shown(student.folder / "picture.png")

# %% [markdown]
# ## Out of here
# StableHLO holds the whole computation, preprocessing included: JAX alone runs it, on a CPU, a GPU or a TPU. Each file is reopened and compared with
# the student before it appears. A student of a published architecture leaves for PyTorch too (`trained.export("student.pth")`), and with
# `pip install 'jkd[onnx]'` any leaves as ONNX.

# %%
print(student.export("student.stablehlo", preprocess=True))
print(trained.export("student.safetensors"))

# %%
run = jax.export.deserialize(bytearray(Path("student.stablehlo").read_bytes())).call
test = np.stack([pictures[1400:]] * 3, axis=-1)  # grey as RGB
found = np.asarray(run(test)).argmax(-1)
print(
    f"student.stablehlo, without jkd: {(found == digits.target[1400:]).mean():.2%} of the test images are right"
)
