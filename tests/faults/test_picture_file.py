"""The picture is whole or absent, whatever it is called and whenever its writer dies."""

import pytest
from matplotlib.figure import Figure
from PIL import Image

from jkd.report.picture import draw

RECORDS = [{"epoch": epoch, "test/top1": epoch / 10, "train/loss": 1 / epoch} for epoch in (1, 2, 3)]


@pytest.mark.parametrize("title", ["a$x_{y^$z", "$", "$$", r"\frac", "a_b^c", "é", "{}"])
def test_a_name_is_no_mathematics(tmp_path, title):
    draw(RECORDS, tmp_path / "picture.png", title=title, teachers=[(title, 0.3)])
    with Image.open(tmp_path / "picture.png") as image:
        assert image.convert("L").getextrema() == (0, 255), "something is drawn"


@pytest.mark.parametrize("suffix", ["png", "pdf", "svg"])
def test_the_suffix_gives_the_format(tmp_path, suffix):
    draw(RECORDS, tmp_path / f"picture.{suffix}")
    begins = {"png": b"\x89PNG", "pdf": b"%PDF", "svg": b"<?xml"}[suffix]
    assert (tmp_path / f"picture.{suffix}").read_bytes().startswith(begins)


def test_a_picture_whose_writer_dies_leaves_the_one_before(tmp_path, monkeypatch):
    path = tmp_path / "picture.png"
    draw(RECORDS, path)
    before = path.read_bytes()

    def die(self, file, **_):
        with open(file, "wb") if isinstance(file, str) or hasattr(file, "__fspath__") else file as open_file:
            open_file.write(before[:100])
        raise KeyboardInterrupt

    monkeypatch.setattr(Figure, "savefig", die)
    with pytest.raises(KeyboardInterrupt):
        draw(RECORDS[:2], path)
    assert path.read_bytes() == before
