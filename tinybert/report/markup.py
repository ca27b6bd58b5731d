"""HTML that is XML too: escaped text, elements, tables, and the frame of a page."""

import re
from collections.abc import Iterable, Sequence
from html import escape

FORBIDDEN = re.compile("[^\t\n\r -\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Characters that XML cannot hold, such as a terminal's colours in a log."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2127; --faint: #5b6570; --paper: #fff;
  --rule: #d6dbe1; --panel: #f5f7f9; --a: #1a62c4; --b: #b8500b; --good: #1b7a3d;
  --bad: #b3261e; --open: #6b5a00; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ec; --faint: #9aa5b1; --paper: #14181d;
  --rule: #333b45; --panel: #1c2229; --a: #6fabff; --b: #ffa15c; --good: #62c483;
  --bad: #ff8a80; --open: #d9c14a; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.5rem; max-width: 60rem; background: var(--paper);
  color: var(--ink); font: 15px/1.5 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; border-bottom: 1px solid var(--rule); }
h3 { font-size: 1rem; margin: 1rem 0 .25rem; }
p { margin: .5rem 0; }
.verdict { padding: .6rem .9rem; border-left: .35rem solid var(--open); background: var(--panel);
  font-weight: 600; overflow-wrap: anywhere; }
td { white-space: pre-line; }
.verdict.good { border-color: var(--good); }
.verdict.bad { border-color: var(--bad); }
.faint { color: var(--faint); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; color: var(--faint); }
th, td { text-align: left; vertical-align: top; padding: .2rem .8rem .2rem 0;
  border-bottom: 1px solid var(--rule); overflow-wrap: anywhere; }
th { font-weight: 600; white-space: nowrap; }
tr.differs > th::after { content: " \\2260"; color: var(--bad); }
pre { background: var(--panel); padding: .6rem .9rem; overflow-x: auto; font-size: 13px;
  white-space: pre-wrap; overflow-wrap: anywhere; }
details { margin: .5rem 0; }
summary { cursor: pointer; font-weight: 600; }
figure { margin: 1rem 0; break-inside: avoid; }
figcaption { font-weight: 600; }
svg { width: 100%; height: auto; display: block; }
svg text { fill: var(--faint); font-size: 11px; }
.tick, .before { text-anchor: end; }
.step { text-anchor: middle; }
svg text.before, svg text.after { fill: var(--ink); paint-order: stroke; stroke: var(--paper);
  stroke-width: 3px; }
.grid, .axis { fill: none; stroke: var(--rule); }
.axis { stroke: var(--faint); }
.mark { stroke: var(--ink); stroke-dasharray: 2 3; }
.line { fill: none; stroke-width: 1.6; stroke-linejoin: round; }
.line.a { stroke: var(--a); }
.line.apart { stroke: var(--ink); }
.line.b { stroke: var(--b); stroke-dasharray: 6 3; }
.band { opacity: .28; }
.band.a, circle.a, .key.a { fill: var(--a); color: var(--a); }
.band.apart, circle.apart { fill: var(--ink); }
.band.b, circle.b, .key.b { fill: var(--b); color: var(--b); }
.event { stroke-width: 2; }
.event.a { stroke: var(--a); }
.event.b { stroke: var(--b); }
.event.lost { stroke: var(--bad); }
@media print { :root { --ink: #000; --faint: #444; --paper: #fff; --rule: #ccc; --panel: #f5f5f5;
  --a: #1a62c4; --b: #b8500b; --good: #1b7a3d; --bad: #b3261e; --open: #6b5a00; }
  body { max-width: none; padding: 0; font-size: 11px; } pre { font-size: 9px; }
  tr { break-inside: avoid; } }
"""


def escaped(value: object) -> str:
    """Return text that HTML and XML show as it is; what they cannot hold becomes U+FFFD."""
    return escape(FORBIDDEN.sub("\N{REPLACEMENT CHARACTER}", str(value)))


def element(name: str, text: object, **attributes: str) -> str:
    """Return an element around a text, which is escaped; `class_` reads `class`."""
    written = (f' {key.rstrip("_")}="{escaped(value)}"' for key, value in attributes.items())
    return f"<{name}{''.join(written)}>{escaped(text)}</{name}>"


def html_table(
    heads: Sequence[str], rows: Iterable[Sequence[object]], *, differing: bool = False
) -> str:
    """Return a table whose rows begin with their name; nothing without rows.

    Args:
        heads: Of the columns; none if all are empty.
        rows: Cells, each a text.
        differing: Mark rows whose cells differ from each other.
    """
    lines = []
    for name, *cells in rows:
        differs = differing and len({str(cell) for cell in cells}) > 1
        inner = element("th", name, scope="row") + "".join(element("td", cell) for cell in cells)
        mark = ' class="differs"' if differs else ""
        lines.append(f"<tr{mark}>{inner}</tr>")
    if not lines:
        return ""
    top = "".join(element("th", head, scope="col") for head in heads)
    head = f"<thead><tr>{top}</tr></thead>" if any(heads) else ""
    return f'<div class="wide"><table>{head}<tbody>{"".join(lines)}</tbody></table></div>'


def items(texts: Iterable[object], *, ordered: bool = False) -> str:
    """Return a list; nothing without texts."""
    inner = "".join(element("li", text) for text in texts)
    name = "ol" if ordered else "ul"
    return f"<{name}>{inner}</{name}>" if inner else ""


def folded(summary: str, inner: str) -> str:
    """Return what a reader may open; nothing without content."""
    return f"<details>{element('summary', summary)}{inner}</details>" if inner else ""


def section(title: str, *parts: str) -> str:
    """Return a section with its heading; nothing without content."""
    inner = "\n".join(part for part in parts if part)
    return f"<section>\n{element('h2', title)}\n{inner}\n</section>" if inner else ""


def run_key(name: str) -> str:
    """Return a run's name, A or B, with the colour of its lines."""
    return f'<span class="key {name.lower()}">&#9632;</span> <strong>{name}</strong>'


def page(title: str, parts: Iterable[str]) -> str:
    """Return a page that needs no other file, and may load none."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    body = "\n".join(part for part in parts if part)
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta http-equiv="Content-Security-Policy" content="{policy}"/>
{element("title", title)}
<style>{STYLE}</style>
</head>
<body>
<main>
{body}
</main>
</body>
</html>
"""
