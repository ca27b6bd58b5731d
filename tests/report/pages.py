"""What tests see of a page."""

import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from typing import Any


class Text(HTMLParser):
    """What a reader sees of a page, a line a text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.hidden = False
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.hidden = tag == "style"

    def handle_data(self, data: str) -> None:
        if data.strip() and not self.hidden:
            self.lines.append(data.strip())


def parsed(page: str) -> ET.Element:
    """A page as XML: stricter than any browser."""
    return ET.fromstring(page)


def seen(page: str) -> list[str]:
    parsed(page)
    return Text(page).lines


def rows(page: str) -> dict[str, list[str]]:
    """The first row of each name in the page."""
    found: dict[str, list[str]] = {}
    for row in parsed(page).iter("tr"):
        head, *cells = ("".join(cell.itertext()) for cell in row)
        found.setdefault(head, cells)
    return found


def charts(page: str) -> dict[str, ET.Element]:
    return {svg[0].text or "": svg for svg in parsed(page).iter("svg")}
