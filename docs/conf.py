"""The documentation's site: `sphinx-build -W -c docs . docs/_build/html` (pip install -e '.[docs]').

The source is the whole checkout, so that pages are the files that people read in the repository, results and
benchmarks among them, and a link between two of them is the same link in both places.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

import jkd

project, author, version = "jkd", "the authors of jkd", jkd.__version__
release, html_title = version, "jkd"
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_nb",
    "sphinx_copybutton",
    "docstrings",
    "flow",
    "mathml",
    "from_code",
]

root_doc = "docs/index"
include_patterns = [
    "docs/**.md",
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "benchmarks/results/*.md",
    "experiments/results/*/*.md",
    "experiments/notebooks/*.ipynb",
]
exclude_patterns = ["docs/_*", ".*", "**/.*", "build", "runs", "teachers", "**/__pycache__"]

myst_enable_extensions = ["dollarmath", "colon_fence", "deflist", "attrs_block"]
myst_heading_anchors = 3
nb_execution_mode = "force"
nb_execution_excludepatterns = ["experiments/notebooks/*"]  # executed by tests of their own
nb_execution_raise_on_error = True
nb_execution_timeout = 300
nb_merge_streams = True

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
maximum_signature_line_length = 88
add_module_names = False
napoleon_numpy_docstring = False
napoleon_use_rtype = False
napoleon_attr_annotations = False
default_role = "code"
smartquotes = False  # flags begin with two dashes

html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["jkd.css"]
html_copy_source = False
html_show_sphinx = False
html_additional_pages = {"index": "to-the-front.html"}
templates_path = ["_templates"]
html_theme_options = {
    "light_css_variables": {"color-brand-primary": "#1f5fa8", "color-brand-content": "#1f5fa8"},
    "dark_css_variables": {"color-brand-primary": "#7fb4ee", "color-brand-content": "#7fb4ee"},
}
copybutton_exclude = ".linenos, .gp, .go"
