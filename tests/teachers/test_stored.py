"""Which runs can teach."""

import json

import numpy as np
import pytest

from jkd.errors import UserError
from jkd.teachers.named import Named
from jkd.teachers.stored import read


def test_a_student_that_predicts_with_its_teachers_heads_cannot_teach(tmp_path):
    config = {"method": "mkcd", "hyperparameters": {}, "student": "resnet8", "dataset": {"num_classes": 4}}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "metrics.jsonl").touch()
    (tmp_path / "summary.json").write_text("{}")
    with pytest.raises(UserError, match="a student of mkcd predicts with its teachers' heads"):
        read(Named("resnet8", tmp_path), 4, "float32")


def test_weights_of_ones_own_network_are_named_with_the_way_that_they_can_teach(tmp_path):
    path = tmp_path / "mine.npz"
    np.savez(path, **{"body.weight": np.ones((4, 3, 3, 3)), "head.weight": np.ones((4, 4))})
    with pytest.raises(
        UserError, match=r"resnet8@.*mine\.npz: not a state dict of resnet8 nor .*jkd\.Teacher"
    ):
        read(Named("resnet8", path), 4, "float32")
