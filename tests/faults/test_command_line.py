"""Signals and strange environments, in processes of their own."""

import os
import signal
import subprocess
import sys
import time

import pytest

FLAGS = ("--student=resnet8", "--batch-size=64")


def lines(process):
    out, err = process.communicate(timeout=300)
    assert "Traceback" not in out + err, err
    return out.splitlines(), err.splitlines()


def wait_for(path):
    end = time.monotonic() + 300
    while not path.exists():
        assert time.monotonic() < end, f"there is no {path}"
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_signal_is_answered_at_once_and_the_state_saved(command_line, name):
    folder = command_line.folder / name
    # Whoever runs the tests may ignore signals, as nohup does; then their children would.
    heard = ("env", "--default-signal=HUP,INT,TERM")
    process = command_line.start("scratch", *FLAGS, "--epochs=500", f"--workdir={folder}", within=heard)
    wait_for(folder / "checkpoints" / "9")
    number = getattr(signal, name)
    for _ in range(3):  # more than once changes nothing
        process.send_signal(number)
    out, err = lines(process)
    assert process.returncode == 128 + number
    assert f"stopped by {name}, saved at step" in out[-1]
    assert f"{name} heard: saving after this step; once is enough" in err


@pytest.mark.slow
def test_a_signal_before_training_is_answered(command_line):
    process = command_line.start("scratch", *FLAGS, "--epochs=500", "--workdir=early")
    wait_for(command_line.folder / "early" / "config.json")
    process.send_signal(signal.SIGTERM)
    out, err = lines(process)
    assert process.returncode == 128 + signal.SIGTERM
    assert "stopped" in out[-1] and "SIGTERM heard" in " ".join(err)


@pytest.mark.slow
def test_a_hangup_that_is_to_be_ignored_is(command_line):
    command = [sys.executable, "-m", "jkd.experiments.scratch", f"--dataset=npz:{command_line.data}", *FLAGS]
    process = subprocess.Popen(
        [*command, "--epochs=20", "--workdir=nohup"],
        cwd=command_line.folder,
        env=command_line.environment(),
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )
    wait_for(command_line.folder / "nohup" / "checkpoints" / "9")
    process.send_signal(signal.SIGHUP)
    assert "is finished" in lines(process)[0][-1]


def shell(command_line, script, **environment):
    """Runs a line of shell in which $JKD is the command line, and gives status and standard error."""
    command = (
        f"{sys.executable} -m jkd.experiments.scratch --dataset=npz:{command_line.data} {' '.join(FLAGS)}"
    )
    everything = {**command_line.environment(), "JKD": command, **environment}
    given = {name: value for name, value in everything.items() if value is not None}
    done = subprocess.run(
        ["bash", "-o", "pipefail", "-c", script],
        cwd=command_line.folder,
        env=given,
        text=True,
        capture_output=True,
    )
    assert "Traceback" not in done.stderr, done.stderr
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
def test_a_platform_that_is_not_there_is_named(command_line):
    for platform in ("cuda", "banana"):
        status, out, err = shell(command_line, "$JKD --workdir=platform", JAX_PLATFORMS=platform)
        assert (status, out, len(err.splitlines())) == (2, "", 1)
        assert f"JAX_PLATFORMS={platform}" in err


@pytest.mark.slow
def test_an_output_that_is_closed_or_read_by_nobody(command_line):
    status, _, err = shell(command_line, "$JKD --epochs=1 --workdir=closed >&-")
    assert (status, err) == (0, "")
    status, _, err = shell(command_line, "$JKD --epochs=30 --workdir=reader | true")
    assert status == 2 and len(err.splitlines()) == 1 and "the output's reader is gone" in err
    status, out, _ = shell(command_line, "$JKD --epochs=30 --workdir=reader")
    assert status == 0 and "is finished" in out


@pytest.mark.slow
def test_a_name_beyond_ascii_in_a_bare_locale(command_line):
    status, out, err = shell(command_line, "$JKD --epochs=1 --workdir=é", LC_ALL="C", LANG="C")
    assert (status, err) == (0, "") and "is finished" in out
    locale = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    status, _, err = shell(command_line, "$JKD --epochs=1 --workdir=ü", **locale)
    assert status == 2 and "is no UTF-8" in err


@pytest.mark.slow
def test_without_docstrings_and_assertions(command_line):
    status, told, _ = shell(command_line, "$JKD --help")
    assert status == 0 and "Data: which images" in told
    assert shell(command_line, "$JKD --help", PYTHONOPTIMIZE="2") == (0, told, "")
    status, out, err = shell(command_line, "$JKD --epochs=1 --workdir=optimised", PYTHONOPTIMIZE="2")
    assert (status, err) == (0, "") and "is finished" in out


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="only root may become a user without a home")
def test_no_home_is_told(command_line):
    code = "import os; from jkd.machine.files import cache_folder; os.setuid(54321); cache_folder()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            name: value
            for name, value in command_line.environment().items()
            if name not in ("HOME", "XDG_CACHE_HOME")
        },
        text=True,
        capture_output=True,
    )
    assert "there is no home folder (HOME is not set); give --cache-dir=FOLDER" in done.stderr


@pytest.mark.parametrize(
    ("started", "ignored", "then"),
    [
        ("-m", False, "SIG_DFL"),
        ("/usr/local/bin/jkd", False, "SIG_DFL"),
        ("-m", True, "SIG_IGN"),
        ("own_script.py", False, "default_int_handler"),
    ],
)
def test_control_c_while_jkd_is_imported(started, ignored, then):
    """It ends a command line at once, without a traceback; a script's own handling is left alone."""
    code = "import signal, sys; sys.argv[0] = {!r}; import jkd.experiments; print(repr(signal.getsignal(2)))"
    done = subprocess.run(
        [sys.executable, "-c", code.format(started)],
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN if ignored else signal.SIG_DFL),
        text=True,
        capture_output=True,
    )
    assert then in done.stdout, done.stderr
