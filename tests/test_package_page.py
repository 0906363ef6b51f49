"""The README on a package page: no link or picture that leads nowhere."""

import re
import runpy
from pathlib import Path

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
package_page = runpy.run_path(str(ROOT / "setup.py"))["package_page"]


def links(text):
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    return re.findall(r"\]\(([^)]*)\)", prose)


def test_without_a_repository_nothing_is_relative():
    page = package_page(README, None)
    assert all(link.startswith("https://") for link in links(page))
    assert "![" not in page
    for words in re.findall(r"(?<!!)\[([^\]]+)\]\(", README):
        assert words in page


def test_with_a_repository_every_link_leads_to_a_file():
    page = package_page(README, "https://example.org/jkd/")
    assert len(links(page)) == len(links(README))
    for before, after in zip(links(README), links(page), strict=True):
        if not before.startswith("https://"):
            assert re.fullmatch(rf"https://example\.org/jkd/(raw|blob)/HEAD/{re.escape(before)}", after)
            assert (ROOT / before.partition("#")[0]).exists()
    assert "](https://example.org/jkd/raw/HEAD/docs/run.png)" in page


def test_code_stays():
    code = "```python\nrows[0](x)\n```"
    assert package_page(f"[a](b)\n{code}", None) == f"a\n{code}"
