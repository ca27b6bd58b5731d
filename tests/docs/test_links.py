"""Links between the documents lead to files, and to headings in them."""

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "manifests" / "README.md"]
LINK = re.compile(r"(?<!!)\[[^\]]+\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")


def anchors(path):
    """Return the headings of a page, as links name them."""
    titles = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    for name, heading in LINK.findall(page.read_text(encoding="utf-8")):
        target = Path(page.parent, name) if name else page
        assert target.exists(), name
        assert not heading or heading in anchors(target), f"{name}#{heading}"


def test_every_page_is_linked_from_the_readme_or_from_a_page():
    linked = {
        Path(page.parent, name).resolve()
        for page in PAGES
        for name, _ in LINK.findall(page.read_text(encoding="utf-8"))
        if name
    }
    assert {page for page in PAGES if page.parent == ROOT / "docs"} <= linked
