# %% [markdown]
# # Start: three teachers, one student
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/jkd/blob/main/experiments/notebooks/start.ipynb)
#
# Three small networks learn to read scanned digits. A smaller one then learns from all three by BOMD, which
# also learns *whom the student should listen to*. It runs on a TPU, a GPU or a CPU alike, and downloads nothing
# but packages. In Colab: *Runtime → Change runtime type → TPU*, then *Run all*.

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
# ## What will be done
# A plan says it all before anything is trained; a mistake in the settings is told here, in one line.

# %%
settings = {
    "dataset": "digits",
    "teachers": ["resnet8"] * 2 if small else ["resnet14", "resnet14", "wrn_16_1"],
    "student": "resnet8",
    "epochs": 1 if small else 10,
    "seed": 0,
}
print(jkd.plan("bomd", **settings))

# %% [markdown]
# ## Teachers, then the student
# The stop button is safe. The run saves itself after the step it is in, and this same cell goes on from there, also
# in a new session, if the folders `teachers` and `runs` are still there.

# %%
student = jkd.distil("bomd", **settings)

# %% [markdown]
# ## The run in a picture
# Left, how the student learned, beside its teachers and their ensemble. Right, whom it listened to.

# %%
from IPython.display import Image

Image(student.folder / "picture.png")

# %% [markdown]
# ## What it says of images that it has not seen
# The 16 test images where it is least sure of its answer.

# %%
import matplotlib.pyplot as plt
import numpy as np

data = jkd.data.load("digits")
probabilities = student.predict(data.test_images)
hardest = np.argsort(probabilities.max(axis=1))[:16]
figure, axes = plt.subplots(2, 8, figsize=(10, 3.2), layout="constrained")
for axis, i in zip(axes.flat, hardest, strict=True):
    said, truth = int(probabilities[i].argmax()), int(data.test_labels[i])
    axis.imshow(data.test_images[i])
    axis.set_title(f"{said} ({probabilities[i, said]:.0%})", color="black" if said == truth else "red")
    axis.set_axis_off()
figure.suptitle("What the student says, and how sure it is; red: wrong")
plt.show()

# %% [markdown]
# ## Student and teachers in numbers

# %%
summary = student.summary
for teacher in summary["teachers"]:
    print(f"{teacher['name']:20} {teacher['top1']:.2%}")
print(f"{'their ensemble':20} {summary['ensemble']['top1']:.2%}")
print(f"{'the student':20} {summary['last']['test/top1']:.2%}")

# %% [markdown]
# ## On from here
# - The experiment of the papers is the same call with other settings: `jkd.distil("bomd", dataset="cifar100",
#   teachers=["vgg13"] * 3, student="vgg8")`. (It needs `pip install tensorflow-cpu` once, to prepare CIFAR-100; 240 epochs take hours.)
# - `student = jkd.load(student.folder)` is the same student later.
# - [your-own.ipynb](your-own.ipynb): your teachers, your data, your student.
# - [compare.ipynb](compare.ipynb): several methods and seeds, and what can be said of their differences.
# - [hypergradients.ipynb](hypergradients.ipynb): the upper level alone, for problems of your own.
