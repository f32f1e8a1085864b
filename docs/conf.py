"""Sphinx configuration; `make docs` builds with warnings as errors and runs the examples."""

import importlib.metadata
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

from committed_figure import FIGURES, committed_figure

project = "physgen"
author = "The physgen authors"
copyright = author
release = importlib.metadata.version("physgen")
extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",  # formulas need no network: it copies MathJax into the pages
    "myst_parser",
    "numpydoc",
    "sphinx_gallery.gen_gallery",
    "names",
    "benchmarks_page",
]
html_theme = "furo"
html_title = f"physgen {release}"
html_static_path = ["_static"]
html_css_files = ["physgen.css"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "_ext"]
myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 2
autosummary_generate = True
numpydoc_show_class_members = False
autodoc_member_order = "bysource"
autodoc_typehints = "none"
smartquotes = False  # of --option it makes a dash
suppress_warnings = ["config.cache"]
sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "_examples",
    "filename_pattern": "/",
    "download_all_examples": False,
    "show_memory": False,
    "write_computation_times": False,
    "image_scrapers": (committed_figure,),
    "default_thumb_file": str(Path(__file__).parent / "images" / "dataflow.svg"),
}


def arguments(gallery_conf, script_vars):
    """Examples run in full, but those that take minutes quickly: their figures are committed."""
    return ["--quick"] if Path(script_vars["src_file"]).stem in FIGURES else []


sphinx_gallery_conf["reset_argv"] = arguments
