"""A time limit: it stops as a signal does, says what is left, and the next call goes on."""

import signal
import threading
import time

import pytest
from tiny import settings

import jkd
from jkd.experiments.compare import run_compare
from jkd.machine import process
from jkd.training.progress import Progress


def test_what_takes_longer_is_stopped_and_what_comes_later_is_not():
    start = time.perf_counter()
    with (
        pytest.raises(jkd.Interrupted, match="stopped by the time limit") as stopped,
        process.time_limit(0.1),
    ):
        time.sleep(60)
    assert stopped.value.at_time_limit and time.perf_counter() - start < 30
    with process.time_limit(0.1):
        pass
    time.sleep(0.3)  # an alarm that were left would end this process
    with process.time_limit(None):
        pass


def test_other_signals_are_no_time_limit():
    with pytest.raises(process.Stopped) as stopped, process.time_limit(60):
        signal.raise_signal(signal.SIGTERM)
    assert stopped.value.signal == signal.SIGTERM


def test_another_thread_is_told_that_it_cannot_have_one():
    told = []

    def call():
        try:
            jkd.distil("scratch", time_limit=5)
        except jkd.UserError as error:
            told.append(str(error))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join()
    assert told == ["--time-limit=5: it needs the main thread; call this there, or without it"]


@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
def test_no_time_at_all_is_a_mistake(seconds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for call in (lambda: jkd.distil("scratch", time_limit=seconds), lambda: jkd.compare(time_limit=seconds)):
        with pytest.raises(jkd.UserError, match="--time-limit="):
            call()
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_comparison_is_stopped_within_a_run_and_goes_on_from_there(tiny_npz, tmp_path, monkeypatch, capfd):
    given = settings(tmp_path, dataset=f"npz:{tiny_npz}", epochs=2)
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if name != "teachers"]
    flags += ["--teachers=tiny", "--methods=scratch", "--seeds=0,1", "--time-limit=1000"]
    ended = []
    whole = Progress.epoch

    def epoch(self, record, seconds_left):
        whole(self, record, seconds_left)
        ended.append(record["epoch"])
        if len(ended) == 1:
            signal.raise_signal(signal.SIGALRM)

    monkeypatch.setattr(Progress, "epoch", epoch)
    with pytest.raises(SystemExit) as stopped:
        run_compare(flags)
    assert stopped.value.code == 0, "all went as the user wanted"
    out, err = capfd.readouterr()
    assert "the time limit reached: saving after this step" in err
    last = out.strip().splitlines()[-1]
    assert "stopped by the time limit, saved at step 9 of 18" in last
    assert "left: 2 of 2 runs (2 of scratch); scratch-seed0 has 1 of 2 epochs" in last
    run_compare(flags)
    assert ended == [1, 2, 1, 2], "no epoch was trained again"
    assert (tmp_path / "run" / "table.md").exists()
