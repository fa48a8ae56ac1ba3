"""The picture of a run's summary in the docs: what its page is made of, short of the browser that draws it."""

from __future__ import annotations

from github import picture
from github.test_summary import broken
from wakeline.github import summary


def test_the_page_has_the_summary_its_table_and_its_timeline_for_mermaid():
    text = picture.page(summary.render(broken()))
    assert "<h2>❌ Failed on uat: 1 of 2 machines on release 12</h2>" in text
    assert "<table>" in text
    chart = text.partition('<pre class="mermaid">')[2].partition("</pre>")[0]
    assert chart.startswith("gantt\n")
    assert "section scheduler" in chart
    assert "```" not in text


def test_what_a_step_said_is_text_on_the_page_too():
    text = picture.page(
        "<pre>&lt;script&gt;alert(1)&lt;/script&gt;</pre>\n\n```mermaid\ngantt\n    </pre><b>x</b>\n```\n"
    )
    assert "<script>alert" not in text
    assert "<b>x" not in text


def test_the_docs_show_the_picture_that_the_command_makes():
    page = picture.ROOT / "docs/how-to/deploy-from-github-actions.md"
    assert f"](../pictures/{picture.PICTURE.name})" in page.read_text()
    assert picture.PICTURE.read_bytes().startswith(b"\x89PNG\r\n")
