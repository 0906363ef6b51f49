"""What a recipe comes to for one network: its epochs, its optimizer's rate and momentum."""

import optax

from jkd.errors import UserError
from jkd.planning.settings import (
    ADAMW_LEARNING_RATE,
    DECAYS,
    DIGITS_EPOCHS,
    LEARNING_RATE,
    PAPER_EPOCHS,
    SLOW_FAMILIES,
    SLOW_LEARNING_RATE,
    Data,
    Recipe,
    Teachers,
)


def check(recipe: Recipe, data: Data, teachers: Teachers) -> None:
    """Raises UserError where settings of a recipe do not fit each other, or of the crops."""
    if recipe.schedule == "cosine" and recipe.decay_at != DECAYS:
        raise UserError("--decay-at is of --schedule=steps; leave it out, or leave out --schedule=cosine")
    if sorted({at for at in recipe.decay_at if 0 < at < 1}) != list(recipe.decay_at):
        given = ",".join(f"{at:g}" for at in recipe.decay_at)
        raise UserError(f"--decay-at={given}: fractions must be between 0 and 1, each above the one before")
    if recipe.optimizer == "adamw":
        for flag, value in (("nesterov", recipe.nesterov), ("teacher-nesterov", teachers.teacher_nesterov)):
            if value:
                raise UserError(
                    f"--{flag} is of SGD's momentum; leave it out, or leave out --optimizer=adamw"
                )
    passes = {"--epochs": epochs(recipe, data)}
    passes |= {"--teacher-epochs": teachers.teacher_epochs} if teachers.teacher_epochs else {}
    falls = recipe.decay_at[0] if recipe.schedule == "steps" and recipe.decay_at else 1.0
    for flag, count in passes.items():
        if recipe.warmup_epochs and recipe.warmup_epochs >= falls * count:
            until = "the end" if falls == 1 else f"the first decay, at {falls:g} of them"
            raise UserError(
                f"--warmup-epochs={recipe.warmup_epochs} of {flag}={count}: the rate must be at its highest "
                f"before {until}"
            )
    if data.resized_crop is not None and not data.crop:
        raise UserError("--no-crop and --resized-crop: give one of them")


def learning_rate(recipe: Recipe, architecture: str) -> float:
    """Returns the rate at its highest: as the settings say, else as suits optimizer and network."""
    if recipe.learning_rate is not None:
        return recipe.learning_rate
    if recipe.optimizer == "adamw":
        return ADAMW_LEARNING_RATE
    return SLOW_LEARNING_RATE if architecture.lower().startswith(SLOW_FAMILIES) else LEARNING_RATE


def epochs(recipe: Recipe, data: Data) -> int:
    """Returns the passes over the training images: as the settings say, else as suits the data set."""
    return recipe.epochs or (DIGITS_EPOCHS if data.dataset == "digits" else PAPER_EPOCHS)


def nesterov(recipe: Recipe, spec: Teachers, taught: bool) -> bool:
    """Returns whether the momentum is Nesterov's, for who is taught and for who learns from labels alone."""
    students = recipe.optimizer == "sgd" if recipe.nesterov is None else recipe.nesterov
    return students if taught or spec.teacher_nesterov is None else spec.teacher_nesterov


def described(recipe: Recipe) -> str:
    """Returns what a plan says of the optimizer and its rate, where they are not as they always were."""
    words = [f"learning rate {recipe.learning_rate:g}"]
    words[0] += " along a cosine" if recipe.schedule == "cosine" else ""
    words[0] += f" after {recipe.warmup_epochs} epochs of warm-up" if recipe.warmup_epochs else ""
    words += ["AdamW"] if recipe.optimizer == "adamw" else []
    words += [f"labels smoothed by {recipe.label_smoothing:g}"] if recipe.label_smoothing else []
    return ", ".join(words)


def schedule(recipe: Recipe, rate: float, epoch_steps: int, steps: int) -> optax.Schedule:
    """Returns the learning rate over a training.

    In the warm-up (Goyal et al. 2017, "Accurate, large minibatch SGD", section 2.2) it rises from step to
    step by equal parts, the first of which is already that of the first step. Then it is constant and falls
    ×0.1 at fractions of the whole training, or falls along half a cosine (Loshchilov & Hutter 2017, "SGDR",
    equation 5, without restarts) to 0 at its end.

    Args:
        recipe: The settings.
        rate: The rate at its highest.
        epoch_steps: Steps in an epoch.
        steps: Steps of the whole training.
    """
    warmup = recipe.warmup_epochs * epoch_steps
    if recipe.schedule == "cosine":
        after = optax.cosine_decay_schedule(rate, steps - warmup)
    else:
        falls = {round(fraction * steps) - warmup: 0.1 for fraction in recipe.decay_at}
        after = optax.piecewise_constant_schedule(rate, falls)
    if not warmup:
        return after
    return optax.join_schedules([lambda step: rate * (step + 1) / warmup, after], [warmup])
