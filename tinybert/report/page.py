"""Runs as one HTML page without scripts or other files: the command report.

`templates/page.html.jinja` lays the page out, `templates/*.css` say how it looks, and `sections.py`
names its sections.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined

from tinybert.atomic import write_bytes
from tinybert.files import require_free_file
from tinybert.report.chart import SERIES
from tinybert.report.facts import LISTED
from tinybert.report.figures import NUMBERS
from tinybert.report.headline import headline
from tinybert.report.numbers import number, with_short_numbers
from tinybert.report.sections import SECTIONS
from tinybert.report.subject import read_subject

FORBIDDEN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that HTML and XML cannot hold, such as a terminal's colours in a log."""
NAMED = 3
"""Runs at most that give a page its name, all of them."""


def report(manifests: Sequence[Path], *, output: Path | None, force: bool) -> tuple[str, int]:
    """Write the page about runs, or about a study; by default it is named after them.

    Returns:
        The page's path, and exit code 0 whatever the verdict.

    Raises:
        ManifestError: A file is missing, or is no manifest.
        UsageError: The file exists and `force` is not given, or its folder does not; or there are
            too many runs.
    """
    stems = [path.stem for path in manifests]
    if len(stems) > NAMED:
        stems = [stems[0], f"{len(stems) - 1}-others"]
    target = output or Path(f"{'-against-'.join(stems)}.html")
    write_page(manifests, target, force=force)
    return str(target), 0


def write_page(manifests: Sequence[Path], target: Path, *, force: bool) -> None:
    """Write the page about runs, or about a study, to a file; raises as `report`."""
    require_free_file(target, dict.fromkeys(manifests, "a manifest"), what="the page", force=force)
    write_bytes(target, html(manifests, target.parent).encode())


def html(manifests: Sequence[Path], folder: Path = Path()) -> str:
    """Return the page about runs; equal manifests and traces give equal pages.

    Args:
        manifests: Manifests, or the record of a study alone.
        folder: Where the page will be: its links are relative to it.

    Raises:
        ManifestError: A file is missing, or is no manifest.
        UsageError: There are too many runs.
    """
    subject = read_subject(manifests, folder)
    sections = [(each, each.content(subject)) for each in SECTIONS]
    page = (
        _templates()
        .get_template("page.html.jinja")
        .render(
            subject=subject,
            head=headline(subject),
            sections=[(each, content) for each, content in sections if content is not None],
        )
    )
    return FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", page)


def _templates() -> Environment:
    templates = Environment(
        loader=PackageLoader("tinybert.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    templates.filters |= {
        "number": number,
        "short": with_short_numbers,
    }
    templates.globals |= {"listed": LISTED, "numbers": NUMBERS, "series": SERIES}
    return templates
