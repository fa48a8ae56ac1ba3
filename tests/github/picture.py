"""The picture of a run's summary in the docs, made again: `./dev picture`. Needs chromium, and npm for Mermaid.

A fleet of folders is deployed by the steps of the generated workflow, with one machine asleep and one broken. What the
run leaves for GitHub is drawn by a browser: Markdown as GitHub reads it, the timeline by Mermaid, colours of our own.
"""

from __future__ import annotations

import argparse
import contextlib
import html
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from markdown_it import MarkdownIt

from github.api import serve
from github.conftest import Repository

ROOT = Path(__file__).parent.parent.parent
PICTURE = ROOT / "docs/pictures/run-summary.png"
MERMAID = "11.12.0"
WIDTH = 900
THIRD = """
[[stage.machine]]
name = "web"
address = "local:{root}/machines/web"
presence = "always"
"""
PAGES = """\
sleep 2
test "$WAKELINE_MACHINE" = web || exit 0
echo "npm error code EBADENGINE"
echo "npm error engine Not compatible with your version of node: wanted >=22, this is v20.19.2"
exit 1
"""
COMMITS = (("Ann Larsen", "Show prices with GST"), ("Bo Hansen", "Node 22 for the front end"))
PAGE = """\
<!doctype html><meta charset="utf-8"><title>summary</title>
<style>
body {{ margin: 0; padding: 24px 32px; width: {width}px; box-sizing: border-box; color: #1f2328;
       font: 16px/1.5 "Noto Sans", "DejaVu Sans", sans-serif, "Noto Color Emoji"; }}
h2, h3 {{ margin: 20px 0 12px; padding-bottom: 6px; border-bottom: 1px solid #d1d9e0; line-height: 1.25; }}
h2 {{ font-size: 23px; margin-top: 0; }} h3 {{ font-size: 18px; border: 0; }}
table {{ border-collapse: collapse; margin: 12px 0; }} td, th {{ border: 1px solid #d1d9e0; padding: 6px 13px; }}
pre:not(.mermaid) {{ background: #f6f8fa; padding: 14px; border-radius: 6px; font-size: 13px; white-space: pre-wrap; }}
code {{ background: #eff1f3; padding: 2px 5px; border-radius: 6px; font-size: 85%; }} a {{ color: #0969da; }}
blockquote {{ margin: 12px 0; padding: 0 14px; border-left: 4px solid #d1d9e0; color: #59636e; }}
</style>
<body>{body}
<script src="mermaid.min.js"></script>
<script>
mermaid.initialize({{ startOnLoad: false, gantt: {{ useWidth: {width} - 64 }} }});
mermaid.run().then(() => document.body.setAttribute("data-height", document.documentElement.scrollHeight));
</script>
"""


def summary(root: Path) -> str:
    """Deploy twice, the second time with one machine off and one that breaks; returns what the last step left."""
    with contextlib.closing(serve()) as served:
        fleet = Repository(root, next(served))
        (root / "machines/web").mkdir()
        file = fleet.app / "wakeline.toml"
        text = file.read_text().replace("\ngit =", '\nurl = "https://uat.example.org"\ngit =', 1)
        file.write_text(text.replace("\n[[step]]", THIRD.format(root=root) + "\n[[step]]", 1))
        fleet.commit("one")
        said = fleet.wakeline("setup", "--unsigned")
        assert said.code == 0, said.err
        first = fleet.run()
        assert [step.conclusion for step in first.values()] == ["success"] * 4, first["frontend"].log
        fleet.power("uat", on=False)
        fleet.write("pages.sh", PAGES)
        fleet.write("migrate.sh", (fleet.app / "migrate.sh").read_text() + "sleep 3\n")
        for number, (author, subject) in enumerate(COMMITS):
            fleet.write("version", f"two.{number}\n")
            fleet.write("schema", "0002\n")
            fleet.git("add", "-A")
            fleet.git("-c", f"user.name={author}", "commit", "-qm", subject)
        fleet.git("push", "-q", str(root / "remote.git"), "HEAD:main")
        return fleet.run()["frontend"].summary


def page(markdown: str) -> str:
    """The summary as a page of its own."""
    body = MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(markdown)
    chart = re.compile(r'<pre><code class="language-mermaid">(.*?)</code></pre>', re.DOTALL)
    body = chart.sub(lambda found: f'<pre class="mermaid">{html.escape(html.unescape(found[1]))}</pre>', body)
    return PAGE.format(body=body, width=WIDTH)


def draw(text: str, folder: Path, to: Path) -> None:
    """Let the browser lay it out, ask how high it is, and take the picture in that size."""
    (folder / "mermaid.min.js").write_bytes(_mermaid(folder))
    (folder / "page.html").write_text(text, encoding="utf-8")
    laid_out = _browser(folder, "--dump-dom")
    height = re.search(r'data-height="(\d+)"', laid_out)
    if height is None:
        sys.exit("the browser did not finish the page: was Mermaid's chart refused?")
    to.parent.mkdir(parents=True, exist_ok=True)
    _browser(folder, f"--screenshot={to}", f"--window-size={WIDTH},{height[1]}")


def _mermaid(folder: Path) -> bytes:
    """The one file of the package that a page needs; nothing of it is run here but in the browser."""
    subprocess.run(["npm", "pack", "--silent", f"mermaid@{MERMAID}"], cwd=folder, check=True, stdout=subprocess.DEVNULL)
    name, inside = f"mermaid-{MERMAID}.tgz", "package/dist/mermaid.min.js"
    return subprocess.run(["tar", "-xzOf", name, inside], cwd=folder, check=True, capture_output=True).stdout


def _browser(folder: Path, *what: str) -> str:
    argv = [_found("chromium", "google-chrome", "chromium-browser"), "--headless", "--no-sandbox", "--disable-gpu"]
    argv += ["--hide-scrollbars", "--force-device-scale-factor=1", "--virtual-time-budget=20000"]
    argv += [f"--user-data-dir={folder}/browser", *what, (folder / "page.html").as_uri()]
    return subprocess.run(argv, check=True, capture_output=True, text=True, timeout=180).stdout


def _found(*names: str) -> str:
    found = next((path for name in names if (path := shutil.which(name))), "")
    return found or sys.exit(f"missing: {names[0]}, which draws the picture (apt-get install chromium)")


def main() -> None:
    """Make it again, or another one beside it."""
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--to", type=Path, default=PICTURE)
    to = asked.parse_args().to.resolve()
    with tempfile.TemporaryDirectory() as place:
        (Path(place) / "fleet").mkdir()
        markdown = summary(Path(place) / "fleet")
        draw(page(markdown), Path(place), to)
    sys.stdout.write(f"{to}\n")


if __name__ == "__main__":
    main()
