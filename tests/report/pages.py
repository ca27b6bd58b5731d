"""What tests see of a page."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any


class Text(HTMLParser):
    """What a reader sees of a page, a line a text: of numbers, the short form."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.hidden = False
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: Any) -> None:
        self.hidden = tag == "style" or ("class", "exact") in attributes

    def handle_endtag(self, tag: str) -> None:
        self.hidden = False

    def handle_data(self, data: str) -> None:
        if data.strip() and not self.hidden:
            self.lines.append(data.strip())


def parsed(page: str) -> ET.Element:
    """A page as XML: stricter than any browser."""
    return ET.fromstring(page)


def seen(page: str) -> list[str]:
    parsed(page)
    return Text(page).lines


def text_of(element: ET.Element, form: str = "short") -> str:
    """The text of an element: of numbers, the short form, or the exact one."""
    other = {"short": "exact", "exact": "short"}[form]
    own = "" if element.get("class") == other else element.text or ""
    return own + "".join(text_of(child, form) + (child.tail or "") for child in element)


def rows(page: str, form: str = "short") -> dict[str, list[str]]:
    """The first row of each name in the page's tables, or in its lists of facts."""
    found: dict[str, list[str]] = {}
    for row in parsed(page).iter():
        pair = row.tag == "div" and not row.keys() and len(row) and row[0].tag == "dt"
        if row.tag != "tr" and not pair:
            continue
        head, *cells = (text_of(cell, form) for cell in row)
        found.setdefault(head, cells)
    return found


def charts(page: str) -> dict[str, ET.Element]:
    return {svg[0].text or "": svg for svg in parsed(page).iter("svg") if svg[0].tag == "title"}


def section(page: str, name: str) -> ET.Element:
    return next(each for each in parsed(page).iter("section") if each.get("id") == name)


def sections(page: str) -> list[str]:
    return [each.get("id") or "" for each in parsed(page).iter("section")]


def texts(element: ET.Element, look: str) -> list[str]:
    """The texts of what has a class."""
    found = (each for each in element.iter() if look in (each.get("class") or "").split())
    joined = (" ".join(" ".join(_pieces(each)).split()) for each in found)
    return [re.sub(" ([.,;])", r"\1", text) for text in joined]


def _pieces(element: ET.Element) -> Iterator[str]:
    if element.get("class") != "exact":
        yield element.text or ""
        for child in element:
            yield from _pieces(child)
            yield child.tail or ""


def titles(svg: ET.Element, look: str) -> list[str]:
    """What a chart shows where a pointer rests on marks of a class."""
    marks = (each for each in svg.iter() if look in (each.get("class") or "").split())
    return [title.text or "" for mark in marks for title in mark.iter("title")]
