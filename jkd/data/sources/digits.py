"""scikit-learn's 1,797 scanned digits: real images that need no download."""

import numpy as np

from jkd.data.dataset import Dataset, assemble
from jkd.data.images import three_channels
from jkd.data.splits import split_test


def load(image_size: int | None = None) -> Dataset:
    """Loads the digits, split for good, enlarged from 8x8 to 16x16 pixels unless `image_size` says otherwise.

    Sixteen pixels are the fewest that a network made for 32 can halve three times with some space left.
    """
    from sklearn.datasets import load_digits

    digits = load_digits()
    grey = np.round(digits.images * (255 / 16)).astype(np.uint8)  # the scans count 0 to 16
    images = three_channels(grey, "digits", image_size or 16)
    train, test = split_test(images, digits.target)
    return assemble("digits", train, test, class_names=tuple(map(str, digits.target_names)))
