"""How the site is made: `./dev docs` runs Sphinx with it. A link that leads nowhere is an error."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sphinx.application import Sphinx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import reference  # noqa: E402 - it lies beside this file

import wakeline  # noqa: E402

reference.write(HERE / "reference")

project = "wakeline"
release = wakeline.__version__
extensions = ["myst_parser"]
myst_heading_anchors = 3  # links to a heading of another page are checked as well
html_theme = "furo"
html_title = f"wakeline {release}"
html_copy_source = False
html_show_copyright = False
nitpicky = True


def setup(app: Sphinx) -> None:
    """Pages of the repository's root link to one another by names that are others here."""
    app.connect("include-read", _by_their_names_here)


def _by_their_names_here(_app: Sphinx, _path: Path, _parent: str, content: list[str]) -> None:
    for name in ("ARCHITECTURE", "CHANGELOG"):
        content[0] = content[0].replace(f"]({name}.md)", f"](/{name.lower()}.md)")
