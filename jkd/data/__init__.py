"""Images: where they come from, how they are split and drawn, how they are augmented (`augment`)."""

from jkd.data.dataset import Dataset
from jkd.data.sampling import batches, epoch_indices, held_out_indices, stratified_split, view_of_epoch
from jkd.data.sources import can_stream, check, load
from jkd.data.sources.arrays import Data
from jkd.data.sources.registry import names, register
from jkd.data.splits import split_validation

__all__ = [
    "Data",
    "Dataset",
    "batches",
    "can_stream",
    "check",
    "epoch_indices",
    "held_out_indices",
    "load",
    "names",
    "register",
    "split_validation",
    "stratified_split",
    "view_of_epoch",
]
