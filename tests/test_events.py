"""What TensorBoard is given beside curves: hyperparameters, histograms, a sheet of images."""

import numpy as np
import tiny
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

import jkd
from jkd.run.events import Events
from jkd.training.sheet import sheet

CONFIG = {
    "method": "bomd",
    "student": "resnet8",
    "seed": 3,
    "hyperparameters": {"beta": 30.0, "flat": True},
    "recipe": {"epochs": 5, "optimizer": "sgd"},
    "dataset": {"name": "digits"},
    "teachers": [{"name": "a"}, {"name": "b"}],
}


def read(folder):
    events = EventAccumulator(str(folder), size_guidance={"histograms": 0})
    events.Reload()
    return events


def test_hyperparameters_are_those_of_the_run_and_its_end_is_told(tmp_path):
    events = Events(tmp_path)
    events.drop_from(0)
    events.begin(CONFIG)
    events.log(10, {"epoch": 1, "test/top1": 0.5})
    events.drop_from(11)  # as after a kill
    events.end()
    events.close()
    found = read(tmp_path).PluginTagToContent("hparams")
    assert set(found) == {"_hparams_/session_start_info", "_hparams_/session_end_info"}
    start = plugin_data_pb2.HParamsPluginData.FromString(found["_hparams_/session_start_info"])
    values = {name: getattr(v, v.WhichOneof("kind")) for name, v in start.session_start_info.hparams.items()}
    assert values == {
        "method": "bomd",
        "student": "resnet8",
        "seed": 3,
        "method/beta": 30,
        "method/flat": True,
        "epochs": 5,
        "optimizer": "sgd",
        "dataset": "digits",
        "teachers": "a, b",
    }


def test_histograms_are_of_teachers_and_of_classes(tmp_path):
    events = Events(tmp_path)
    by_class = [[0.13, 0.0, 0.31], [0.27, 0.0, 0.09]]  # the second class was not there
    events.log(
        1, {"train/weight_kd": [0.5, 0.5], "train/weight_kd_std": [9, 9], "train/class_weight_kd": by_class}
    )
    events.close()
    found = read(tmp_path)
    assert set(found.Tags()["histograms"]) == {"weights/kd", "weights_by_class/kd/0", "weights_by_class/kd/1"}
    (first,) = found.Histograms("weights_by_class/kd/0")
    values = first.histogram_value
    np.testing.assert_allclose((values.min, values.max, values.num, values.sum), (0.325, 0.775, 2, 1.1))
    limits = [limit for limit, count in zip(values.bucket_limit, values.bucket, strict=True) if count]
    np.testing.assert_allclose(limits, [0.35, 0.8])


def test_a_run_shows_its_images_and_its_learning_rate(tmp_path, tiny_npz):
    made = tiny.settings(tmp_path, dataset=f"npz:{tiny_npz}", crop=False, learning_rate=0.5, decay_at=(0.5,))
    made = {name: value for name, value in made.items() if not name.startswith("teacher")}
    student = jkd.distil("scratch", **made)
    assert [record["train/learning_rate"] for record in student.records] == [0.5, np.float32(0.05)]
    events = read(tmp_path / "run" / "tensorboard")
    (shown,) = events.Images("train/augmented")
    assert (shown.height, shown.width) == (32, 64), "four rows of eight images of 8×8"
    assert shown.encoded_image_string.startswith(b"\x89PNG")
    assert [event.value for event in events.Scalars("train/learning_rate")] == [0.5, np.float32(0.05)]
    assert "method" in str(events.PluginTagToContent("hparams")["_hparams_/session_start_info"])
    for name in ("report.html", "tested.json", "picture.png"):
        assert (tmp_path / "run" / name).exists()


def test_a_sheet_without_augmentation_is_the_images(tiny_npz):
    job = jkd.plan("scratch", dataset=f"npz:{tiny_npz}", student="tiny", crop=False, flip=False).job
    images = sheet(job).reshape(4, 8, 8, 8, 3).swapaxes(1, 2).reshape(32, 8, 8, 3)
    known = {image.tobytes() for image in job.dataset.train_images}
    assert all(image.tobytes() in known for image in images)
