"""What pyproject.toml cannot say: the README as a package page shows it, where relative links lead nowhere.

Links lead into the repository that pyproject.toml names under `[project.urls] Repository`. While it names
none, pictures are left out and links are their words.
"""

import re
import tomllib
from pathlib import Path

from setuptools import setup

_LINK = re.compile(r"(!?)\[([^\]]*)\]\((?!https?://|#)([^)\s]+)\)")
_CODE = re.compile(r"(```.*?```)", re.DOTALL)


def package_page(readme: str, repository: str | None) -> str:
    """Returns a README in Markdown without relative links; what is in blocks of code stays as it is."""

    def link(found: re.Match[str]) -> str:
        picture, words, path = found.groups()
        if repository is None:
            return "" if picture else words
        kind = "raw" if picture else "blob"
        return f"{picture}[{words}]({repository.rstrip('/')}/{kind}/HEAD/{path})"

    parts = _CODE.split(readme)
    return "".join(part if part.startswith("```") else _LINK.sub(link, part) for part in parts)


if __name__ == "__main__":
    here = Path(__file__).parent
    project = tomllib.loads((here / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    setup(
        long_description=package_page(
            (here / "README.md").read_text(encoding="utf-8"), project.get("urls", {}).get("Repository")
        ),
        long_description_content_type="text/markdown",
    )
