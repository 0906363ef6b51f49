import shutil

import pytest
from small_run import CONFIG, LAST, make_state

from jkd.run import Run


@pytest.fixture(scope="session")
def pristine(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pristine") / "run"
    with Run.open(folder, CONFIG) as run:
        for step in range(1, LAST + 1):
            run.log(step, {"epoch": step, "test/top1": step / 10})
            run.save(step, make_state(step))
    return folder


@pytest.fixture
def folder(pristine, tmp_path):
    """A copy to damage."""
    return shutil.copytree(pristine, tmp_path / "run")
