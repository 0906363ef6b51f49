"""Made-up results of a comparison, for the tests of its tables and pictures."""

import numpy as np

from jkd.report.results import Result

TEACHERS = [{"name": "vgg13-seed0", "top1": 0.74}, {"name": "vgg13-seed1", "top1": 0.75}]


def make_result(method, seed, top1, *, weights=False, epochs=3):
    """A finished run whose accuracy grows to `top1` in the last epoch."""
    records = []
    for epoch in range(1, epochs + 1):
        record = {
            "epoch": epoch,
            "test/top1": top1 - 0.2 * (1 - (epoch / epochs) ** 0.5),
            "time/images_per_second": 10.0 if epoch == 1 else 100.0,
        }
        if weights:
            drawn = np.random.default_rng((seed, epoch)).dirichlet((20, 30)).tolist()
            record |= {"train/weight_logits": drawn, "train/weight_features": drawn[::-1]}
        records.append(record)
    tests = {"test/top1": top1, "test/top5": 0.9, "test/loss": 1.0, "test/ece": 0.1}
    summary = {
        "last": tests | {"epoch": epochs},
        "best": tests | {"test/top1": top1 + 0.01, "epoch": epochs},
        "parameters": 1234567,
        "multiply_adds": 7654321,
        "teachers": [] if method == "scratch" else TEACHERS,
        "ensemble": {} if method == "scratch" else {"top1": 0.77},
    }
    return Result(method, seed, records, summary)
