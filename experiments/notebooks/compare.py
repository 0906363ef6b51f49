# %% [markdown]
# # Compare: methods, seeds, and what the differences are worth
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/jkd/blob/main/experiments/notebooks/compare.ipynb)
#
# The same teachers and the same seeds for every method, then a table: mean and spread of the student's accuracy, the
# difference to a baseline paired by seed, and its 95 % interval.

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
# ## The comparison
# `scratch` learns from labels alone, `aver` from the mean of all teachers, `camkd` weighs each teacher by how right it is on each image, and
# `bomd` learns the weights by what held-out images say. One of the three teachers was trained with 40 % wrong labels.
# The stop button is safe here too: what is finished is not made again.

# %%
methods = ["scratch", "aver"] if small else ["scratch", "aver", "camkd", "bomd"]
table = jkd.compare(
    methods,
    seeds=[0, 1] if small else [0, 1, 2],
    baseline="aver",
    dataset="digits",
    teachers=["resnet8", "resnet8:wrong-labels=0.4"]
    if small
    else ["resnet14", "resnet14", "resnet14:wrong-labels=0.4"],
    student="resnet8",
    epochs=1 if small else 5,
    teacher_epochs=1 if small else 5,
)

# %% [markdown]
# ## The table
# All that must be known to read it stands above it; `runs.csv` in the same folder has every run.

# %%
table

# %% [markdown]
# ## The intervals
# A difference whose interval holds zero has not been shown. With so few seeds an interval is wide, and more seeds
# (`seeds=range(10)`: those that are there are not made again) make it narrower.

# %%
import matplotlib.pyplot as plt

rows = [row for row in table.rows if row.method != "aver"]
figure, axis = plt.subplots(figsize=(7, 0.6 + 0.5 * len(rows)), layout="constrained")
for place, row in enumerate(reversed(rows)):
    difference = row.difference
    axis.plot([100 * difference.low, 100 * difference.high], [place, place], color="#0072B2")
    axis.plot(100 * difference.mean, place, "o", color="#0072B2")
axis.axvline(0, color="black", linewidth=0.8)
axis.set_yticks(range(len(rows)), [row.method for row in reversed(rows)])
axis.set_xlabel("difference to aver in test top-1, percentage points: mean over seeds and 95 % interval")
plt.show()

# %% [markdown]
# ## The pictures that a comparison leaves

# %%
from IPython.display import Image, display

for picture in sorted(table.folder.glob("*.png")):
    display(Image(picture))

# %% [markdown]
# ## A method with other settings is another row
# By a name of its own; `flat` is BOMD with equal weights that are not learned:
# `jkd.compare(["aver", "bomd", "flat=bomd"], flat={"bilevel": False}, ...)`.
