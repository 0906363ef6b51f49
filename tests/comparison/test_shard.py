"""Which runs of a comparison a job of a cluster makes."""

import pytest

from jkd.comparison.compare import _shard
from jkd.errors import UserError

SLURM = {"SLURM_ARRAY_TASK_ID": "12", "SLURM_ARRAY_TASK_MIN": "10", "SLURM_ARRAY_TASK_COUNT": "4"}
KUBERNETES = {"JOB_COMPLETION_INDEX": "2"}


@pytest.mark.parametrize(
    ("text", "cluster", "expected"),
    [
        (None, {}, (1, 1)),
        ("2/4", SLURM, (2, 4)),
        ("auto", SLURM, (3, 4)),
        ("auto/8", SLURM, (3, 8)),
        ("auto/8", KUBERNETES, (3, 8)),
    ],
)
def test_a_shard_is_numbered_as_the_cluster_says(monkeypatch, text, cluster, expected):
    for name, value in cluster.items():
        monkeypatch.setenv(name, value)
    assert _shard(text) == expected


@pytest.mark.parametrize(
    ("text", "cluster"),
    [("auto", {}), ("auto/8", {}), ("auto", KUBERNETES), ("auto/2", SLURM), ("auto/x", SLURM), ("5/4", {})],
)
def test_what_the_cluster_does_not_say_is_told(monkeypatch, text, cluster):
    for name, value in cluster.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=f"--shard={text}"):
        _shard(text)
