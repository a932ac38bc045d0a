"""How the documentation becomes a site: `make docs`."""

import importlib.metadata
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "reference"))  # generated.py

project = "ml-experiment-nb"
author = "the ml-experiment-nb developers"
version = release = importlib.metadata.version(project)

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx_click", "generated"]
myst_enable_extensions = ["attrs_inline", "colon_fence"]
myst_heading_anchors = 4
exclude_patterns = ["_build"]
suppress_warnings = ["myst.xref_missing"]  # the README's links to files of the repository; a test follows all of them

html_theme = "furo"
html_title = project
html_show_sourcelink = False

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
