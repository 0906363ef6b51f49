"""Made-up runs and results of a comparison, for the tests of tables, pictures and pages."""

import numpy as np

from jkd import run
from jkd.comparison import reopened
from jkd.data.dataset import assemble
from jkd.distillation.tested import keep
from jkd.machine import files
from jkd.report.page import of_run
from jkd.report.results import Result
from jkd.report.table import Published
from jkd.steps.evaluate import accuracy_metrics
from jkd.teachers.ratings import Rating

CLASSES = 5

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


def make_folder(folder, method="camkd", seed=0, epochs=3, classes=None, teachers=TEACHERS, tested=True):
    """A finished run's folder, as jkd leaves it but for the checkpoints; returns its summary."""
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    teachers = (
        [] if method == "scratch" else [{"top5": 0.9, "loss": 1.0, "ece": 0.1} | row for row in teachers]
    )
    made = make_result(method, seed, 0.7 + 0.01 * seed, weights=bool(teachers), epochs=epochs)
    for number, record in enumerate(made.records):
        record |= {"step": 10 * number, "train/loss": 3 / (number + 1), "test/loss": 2 / (number + 1)}
        record |= {"test/top5": 0.9, "test/ece": 0.1}
        if teachers:
            record |= {"train/weight_logits_std": [0.1] * len(teachers), "test/agreement": 0.8}
            record["train/class_weight_logits"] = rng.uniform(size=(len(teachers), CLASSES)).tolist()
    labels = rng.integers(0, CLASSES, 60).astype(np.int32)
    images = rng.integers(0, 256, (60, 8, 8, 3)).astype(np.uint8)
    data = assemble("made-up", (images, labels), (images, labels), num_classes=CLASSES)
    logits = rng.normal(size=(len(teachers) + 2, 60, CLASSES)).astype(np.float32)
    student = {name: float(value) for name, value in accuracy_metrics(logits[0], labels).items()}
    made.records[-1] |= {f"test/{name}": value for name, value in student.items()}
    made.summary["last"] |= {f"test/{name}": value for name, value in student.items()}
    made.summary["best"]["chosen_on"] = "the test set, so it flatters"
    made.summary.update({"teachers": teachers, "time/images_per_second": 100.0, "notes": ["a <note>"]})
    if tested:
        rating = Rating(teachers, {"top1": 0.77}, logits[-1], list(logits[1:-1])) if teachers else None
        keep(folder, data, logits[0], rating)
    config = {"format": 3, "method": method, "student": "resnet8", "seed": seed, "recipe": {"epochs": epochs}}
    config["dataset"] = {"name": "made-up", "num_classes": CLASSES, "classes": classes, "fingerprint": "0123"}
    session = {"time": "now", "command": "python -m it --a='<b>'", "python": "3", "versions": {"jkd": "0"}}
    session |= {"commit": None, "devices": {"kind": "cpu", "count": 1}}
    files.write_json(folder / "config.json", config)
    files.write(folder / "metrics.jsonl", "".join(map(files.line, made.records)))
    files.write_json(folder / "summary.json", made.summary)
    files.write(folder / "sessions.jsonl", files.line(session))
    return made.summary


def make_comparison(folder, methods=("aver", "camkd"), seeds=2, epochs=3):
    """A finished comparison's folder with its runs; returns what a page is made of."""
    for method in methods:
        for seed in range(seeds):
            make_folder(folder / f"{method}-seed{seed}", method, seed, epochs)
            of_run.write(run.read(folder / f"{method}-seed{seed}"))
    results = [
        reopened.result_of(folder / f"{method}-seed{seed}", method, seed, 100)
        for seed in range(seeds)
        for method in methods
    ]
    facts = {"Data": "made up", "Student": "resnet8"}
    published = {methods[-1]: Published(75.25, "a paper")}
    made = reopened.Comparison(folder, results, methods[0], facts, published)
    reopened.keep(made)
    reopened.write_page(made)
    return made
