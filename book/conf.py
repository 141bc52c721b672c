"""The web edition: Sphinx over the committed notebooks and pages, nothing executed, no network. `make book` builds it.

The source folder is the checkout, so that links between notebooks, pages and files work as they do there.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "book")]

project = "The AlexNet paper, executable"
author = "The AlexNet Executable Edition authors"
copyright = author
html_title = project
root_doc = "README"
include_patterns = ["*.md", "book/*.md", "notebooks/*.ipynb", "data/README.md", "figures/*.md"]
exclude_patterns = [".*", "build", "runs", "course", "data/cache", "data/recorded", "tests", "**/.*", "CLAIMS.md"]
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.viewcode", "edition"]

nb_execution_mode = "off"
nb_render_markdown_format = "myst"  # tables in outputs are raw text otherwise
nb_merge_streams = True
nb_number_source_lines = False
myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

autodoc_inherit_docstrings = False  # PyTorch's
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
maximum_signature_line_length = 100

html_theme = "sphinx_book_theme"
html_theme_options = {
    "show_toc_level": 2,
    "use_download_button": True,
    "use_fullscreen_button": False,
    "home_page_in_toc": True,
    "navbar_persistent": [],
}
# MathJax from a package: no network when a page is viewed
html_context = {"default_mode": "auto"}
html_static_path = ["_static", str(Path(find_spec("sphinx-mathjax-offline").origin).with_name("static"))]
mathjax_path = "mathjax/tex-chtml.js"
html_css_files = ["edition.css"]
html_js_files = [("claims.js", {"defer": "defer"})]
html_copy_source = True
