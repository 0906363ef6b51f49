import numpy as np
import pytest

from jkd import data
from jkd.data import Data
from jkd.data.sources import registry
from jkd.errors import UserError

IMAGES = np.arange(8 * 16, dtype=np.uint8).reshape(8, 4, 4)
LABELS = np.arange(8) % 2


def birds():
    return Data(IMAGES, LABELS, IMAGES[:4], LABELS[:4], name="another")


@pytest.fixture(autouse=True)
def none_registered(monkeypatch):
    monkeypatch.setattr(registry, "_own", {})


def test_a_registered_name_stands_for_the_data():
    data.register("my_birds", birds)
    data.check("my_birds")
    loaded = data.load("my_birds", image_size=6)
    assert loaded.name == "my_birds" and loaded.train_images.shape == (8, 6, 6, 3)
    assert data.names() == ("digits", "my_birds")


def test_checking_does_not_make_the_data():
    def slow():
        raise RuntimeError("made")

    data.register("slow", slow)
    data.check("slow")
    with pytest.raises(RuntimeError, match="made"):
        data.load("slow")


def test_a_name_means_one_data_set():
    data.register("mine", birds)
    data.register("mine", birds)
    with pytest.raises(UserError, match="there is a data set 'mine' already"):
        data.register("mine", lambda: birds())
    with pytest.raises(UserError, match="there is a data set 'digits' already"):
        data.register("digits", birds)
    data.register("other", lambda: birds())
    with pytest.raises(UserError, match="there is a data set 'other' already"):
        data.register("other", lambda: birds())


def test_a_cell_run_twice_registers_its_function_as_it_now_is():
    for flip in (True, False):
        cell = {"__name__": "__main__", "birds": birds, "replace": registry.dataclasses.replace}
        exec(f"def make():\n    return replace(birds(), flip={flip})", cell)
        data.register("mine", cell["make"])
    assert not data.load("mine").flip


@pytest.mark.parametrize("name", ["", "npz:x", "a/b", "two words", None])
def test_a_name_must_be_one_that_the_command_line_takes(name):
    with pytest.raises(UserError, match="a data set cannot be named"):
        data.register(name, birds)


def test_what_makes_no_data_is_told():
    with pytest.raises(UserError, match="'mine' is registered with a Data; it must be a function"):
        data.register("mine", birds())
    data.register("mine", lambda: (IMAGES, LABELS))
    with pytest.raises(UserError, match="'mine': its function returns a tuple; it must return a Data"):
        data.load("mine")


def test_mistakes_in_the_data_begin_with_the_registered_name():
    data.register("mine", lambda: Data(IMAGES / 255, LABELS, IMAGES, LABELS))
    with pytest.raises(UserError, match=r"^mine: x_train has type float64"):
        data.load("mine")


@pytest.mark.parametrize("installed", [True, False])
def test_an_unknown_name_suggests_the_nearest(installed, monkeypatch):
    if installed:
        pytest.importorskip("tensorflow_datasets")
    else:
        monkeypatch.setattr("importlib.util.find_spec", lambda name, *rest: None)
    data.register("my_birds", birds)
    with pytest.raises(UserError, match=r"'my_bird'.*\(did you mean 'my_birds'\?\)") as caught:
        data.check("my_bird")
    assert "\n" not in str(caught.value)
