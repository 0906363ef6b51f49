"""What the tests share: a tiny data set of real digits and a command line in a process of its own."""

import importlib.util
import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
import tiny  # noqa: F401  registers its networks
from sklearn.datasets import load_digits

CLASSES = 4


def pytest_runtest_setup(item):
    if item.get_closest_marker("torch") and importlib.util.find_spec("torch") is None:
        pytest.skip("needs PyTorch: pip install '.[torch]'")
    if item.get_closest_marker("notebooks") and importlib.util.find_spec("jupytext") is None:
        pytest.skip("needs a kernel: pip install '.[notebooks]'")
    if item.get_closest_marker("tpu") and importlib.util.find_spec("libtpu") is None:
        pytest.skip("needs TPUs' compiler: pip install '.[tpu]'")


def pytest_runtest_teardown(item):
    """Forgets what a test imported from its own folder: the next may bring another module of that name."""
    if (folder := getattr(item, "funcargs", {}).get("tmp_path")) is not None:
        for name, module in list(sys.modules.items()):
            if str(getattr(module, "__file__", None)).startswith(f"{folder}/"):
                del sys.modules[name]


@pytest.fixture(scope="session")
def tiny_npz(tmp_path_factory) -> Path:
    """Writes 8×8 scanned digits of four classes as an .npz: 640 for training, 77 for testing."""
    digits = load_digits(n_class=CLASSES)
    images = (digits.images * 255 / 16).astype(np.uint8)
    path = tmp_path_factory.mktemp("data") / "tiny.npz"
    np.savez(
        path,
        x_train=images[:640],
        y_train=digits.target[:640],
        x_test=images[640:],
        y_test=digits.target[640:],
    )
    return path


class CommandLine:
    """`python -m jkd.experiments.<name>` in a process, with one cache of compiled programs for all tests."""

    def __init__(self, folder: Path, data: Path):
        self.folder, self.data = folder, data

    def environment(self, devices: int = 1) -> dict[str, str]:
        # Devices that wait for each other hold a thread each, and XLA has as many as the machine has cores.
        threads = {"NPROC": str(2 * devices)} if devices > 1 else {}
        return (
            os.environ
            | {
                "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
                "JAX_PLATFORMS": "cpu",
                "XDG_CACHE_HOME": str(self.folder / "cache"),
            }
            | threads
        )

    def start(
        self, name: str, *flags: str, devices: int = 1, within: tuple[str, ...] = ()
    ) -> subprocess.Popen[str]:
        command = [
            *within,
            sys.executable,
            "-m",
            f"jkd.experiments.{name}",
            f"--dataset=npz:{self.data}",
            *flags,
        ]
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment(devices),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(self, name: str, *flags: str, devices: int = 1) -> subprocess.CompletedProcess[str]:
        process = self.start(name, *flags, devices=devices)
        out, err = process.communicate(timeout=600)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def kill(self, process: subprocess.Popen[str], number: int = signal.SIGKILL) -> str:
        process.send_signal(number)
        out, err = process.communicate(timeout=600)
        return out + err


@pytest.fixture(scope="session")
def command_line(tmp_path_factory, tiny_npz) -> CommandLine:
    """The command line, in a folder that keeps its teachers for all tests."""
    return CommandLine(tmp_path_factory.mktemp("work"), tiny_npz)


@pytest.fixture(scope="module")
def compiled_quickly():
    """Programs that run a few times on tiny arrays take less time to compile than compiled well."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
