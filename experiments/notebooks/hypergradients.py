# %% [markdown]
# # Hypergradients: what to learn from, how fast, and seen how
#
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER/jkd/blob/main/experiments/notebooks/hypergradients.ipynb)
#
# `jkd.bilevel.hypergradient` differentiates a loss *after* some training steps with respect to whatever the steps depended on. Here that is
# the weight of each training example, the learning rate, and an augmentation. Nothing else of jkd is used, and nothing is distilled.

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
# ## A small network
# Two layers that read scanned digits. 300 images to train on, and 300 held out: these say what training should have been like.

# %%
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import optax
from sklearn.datasets import load_digits

from jkd.bilevel import hypergradient

digits = load_digits()
order = np.random.default_rng(0).permutation(len(digits.target))
images, labels = jnp.asarray(digits.images[order] / 16), jnp.asarray(digits.target[order])
train, held_out = (images[:300], labels[:300]), (images[300:600], labels[300:600])
test = images[600:], labels[600:]


def start(key):
    keys = jax.random.split(key)
    return {
        "hidden": 0.15 * jax.random.normal(keys[0], (64, 64)),
        "out": 0.15 * jax.random.normal(keys[1], (64, 10)),
    }


def logits(params, images):
    return jnp.tanh(images.reshape(len(images), -1) @ params["hidden"]) @ params["out"]


def losses(params, batch):
    return optax.softmax_cross_entropy_with_integer_labels(logits(params, batch[0]), batch[1])


@jax.jit
def accuracy(params, batch):
    return (logits(params, batch[0]).argmax(-1) == batch[1]).mean()


def outer_loss(params, upper, state, batch):
    return losses(params, batch).mean(), ()


# %% [markdown]
# ## Weights of examples
# Four in ten training labels are wrong. Each example has a weight, which is learned: what would have made the held-out loss
# after three more steps smaller? No one says which labels are wrong.

# %%
wrong = jax.random.bernoulli(jax.random.key(1), 0.4, (300,))
lies = (train[1] + jax.random.randint(jax.random.key(2), (300,), 1, 10)) % 10
noisy = train[0], jnp.where(wrong, lies, train[1])


def weighted(params, upper, state, batch):
    return (jax.nn.sigmoid(upper) * losses(params, batch)).mean(), state


def learn(weights_too, rounds):
    inner, outer = optax.sgd(0.5, momentum=0.9), optax.adam(0.2)
    step = jax.jit(hypergradient(weighted, outer_loss, inner))
    params, upper = start(jax.random.key(0)), jnp.zeros(300)
    inner_state, outer_state = inner.init(params), outer.init(upper)
    for _ in range(rounds):
        result = step(upper, params, inner_state, (), [noisy] * 3, held_out)
        params, inner_state = result.params, result.opt_state  # the steps are kept
        if weights_too:
            updates, outer_state = outer.update(result.gradient, outer_state)
            upper = optax.apply_updates(upper, updates)
    return params, jax.nn.sigmoid(upper)


rounds = 20 if small else 100
equal, _ = learn(False, rounds)
params, weights = learn(True, rounds)
print(
    f"test accuracy: {accuracy(equal, test):.1%} with equal weights, {accuracy(params, test):.1%} with learned ones"
)

plt.figure(figsize=(6, 2.5), layout="constrained")
bins = np.linspace(0, 1, 21)
plt.hist(weights[~wrong], bins, alpha=0.7, label="right labels", color="#0072B2")
plt.hist(weights[wrong], bins, alpha=0.7, label="wrong labels", color="#D55E00")
plt.xlabel("learned weight of an example")
plt.ylabel("examples")
plt.legend()
plt.show()

# %% [markdown]
# ## A learning rate
# What the optimizer is made of can be learned too: a function of the upper-level variables stands where the optimizer
# was. Each round starts anew, takes five steps, and asks how rate and momentum should have been.

# %%


def plain(params, upper, state, batch):
    return losses(params, batch).mean(), state


def optimizer(upper):
    return optax.sgd(jnp.exp(upper["log_rate"]), momentum=jax.nn.sigmoid(upper["momentum"]))


step = jax.jit(hypergradient(plain, outer_loss, optimizer))
params, upper = start(jax.random.key(0)), {"log_rate": jnp.log(0.01), "momentum": jnp.array(0.0)}
outer = optax.adam(0.15)
outer_state, rates, values = outer.init(upper), [], []
for _ in range(15 if small else 80):
    result = step(upper, params, optimizer(upper).init(params), (), [train] * 5, held_out)
    rates.append(float(jnp.exp(upper["log_rate"])))
    values.append(float(result.value))
    updates, outer_state = outer.update(result.gradient, outer_state)
    upper = optax.apply_updates(upper, updates)
print(
    f"held-out loss after five steps: {values[0]:.2f} with rate {rates[0]:.2f}, {values[-1]:.2f} with rate {rates[-1]:.2f}"
)

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.5), layout="constrained")
left.semilogy(rates)
left.set(xlabel="upper-level step", ylabel="learning rate")
right.plot(values)
right.set(xlabel="upper-level step", ylabel="held-out loss after five steps")
plt.show()

# %% [markdown]
# ## An augmentation
# The images that matter are shifted sideways by up to two pixels; the training images are not. Training moves each image by a random
# distance, whose spread is learned for each direction. The held-out images tell that sideways is what is needed.

# %%


def shifted(images, down, right):
    """Moves each image by as many pixels as its entries say, fractions too; pixels from outside are black."""
    grid = jnp.stack(jnp.meshgrid(jnp.arange(8.0), jnp.arange(8.0), indexing="ij"))

    def one(image, down, right):
        at = grid - jnp.stack([down, right])[:, None, None]
        return jax.scipy.ndimage.map_coordinates(image, at, order=1, mode="constant")

    return jax.vmap(one)(images, down, right)


def sideways(images, seed):
    move = jax.random.uniform(jax.random.key(seed), (len(images),), minval=-2, maxval=2)
    return shifted(images, jnp.zeros(len(images)), move)


held_out_shifted, test_shifted = (sideways(held_out[0], 3), held_out[1]), (sideways(test[0], 4), test[1])


def augmented(params, upper, state, batch):
    images, labels, noise = batch
    moved = shifted(images, jnp.exp(upper["down"]) * noise[0], jnp.exp(upper["right"]) * noise[1])
    return losses(params, (moved, labels)).mean(), state


def learn_spread(learned, rounds):
    inner, outer = optax.sgd(0.3, momentum=0.9), optax.adam(0.05)
    step = jax.jit(hypergradient(augmented, outer_loss, inner))
    params, upper = start(jax.random.key(0)), {"down": jnp.log(0.3), "right": jnp.log(0.3)}
    inner_state, outer_state, path = inner.init(params), outer.init(upper), []
    noise = np.random.default_rng(0)
    for _ in range(rounds):
        batches = [(*train, noise.normal(size=(2, 300)).astype(np.float32)) for _ in range(3)]
        result = step(upper, params, inner_state, (), batches, held_out_shifted)
        params, inner_state = result.params, result.opt_state
        if learned:
            updates, outer_state = outer.update(result.gradient, outer_state)
            upper = optax.apply_updates(upper, updates)
        path.append([float(jnp.exp(upper["down"])), float(jnp.exp(upper["right"]))])
    return params, np.array(path)


rounds = 15 if small else 150
fixed, _ = learn_spread(False, rounds)
params, path = learn_spread(True, rounds)
print(
    f"test accuracy on shifted images: {accuracy(fixed, test_shifted):.1%} as it began, {accuracy(params, test_shifted):.1%} learned"
)

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 2.5), layout="constrained", width_ratios=(2, 1))
left.plot(path[:, 0], label="up and down", color="#0072B2")
left.plot(path[:, 1], label="sideways", color="#D55E00")
left.set(xlabel="upper-level step", ylabel="spread of the moves [pixels]")
left.legend()
right.imshow(np.hstack([test[0][0], test_shifted[0][0]]), cmap="gray")
right.set_title("an image, and shifted")
right.set_axis_off()
plt.show()

# %% [markdown]
# ## How exact are the cheaper estimators?
# `unrolled` is exact. The others save memory or time, and how far they are off can be looked at before they are trusted: here the angle of
# each to the exact hypergradient of the examples' weights, in the middle of training.

# %%
from jkd.bilevel import ESTIMATORS

inner = optax.sgd(0.1, momentum=0.9)
params, upper, batches = start(jax.random.key(0)), jnp.zeros(300), [noisy] * 4
exact = None
for name in ESTIMATORS:
    find = jax.jit(hypergradient(weighted, outer_loss, inner, estimator=name))
    gradient = find(upper, params, inner.init(params), (), batches, held_out).gradient
    exact = gradient if name == "unrolled" else exact
    cosine = gradient @ exact / (jnp.linalg.norm(gradient) * jnp.linalg.norm(exact))
    print(
        f"{name:12} cosine to exact {cosine:.3f}, length {jnp.linalg.norm(gradient) / jnp.linalg.norm(exact):.2f}"
    )

# %% [markdown]
# What each estimator assumes and costs: [docs/hypergradients.md](../../docs/hypergradients.md).
