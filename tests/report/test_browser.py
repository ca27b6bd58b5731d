"""Pages in a browser: what only a layout shows. Narrow and wide, light and dark."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.fake_evaluations import evaluation
from tests.fake_runs import PretendedRun
from tests.report.chromium import HOW_TO, MISSING, browser
from tinybert.manifest.document import read_manifest
from tinybert.manifest.model import Parent
from tinybert.report.page import html

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(MISSING), reason=HOW_TO)]
WIDTHS = (390, 1280)
SCHEMES = ("light", "dark")
ENOUGH = {"text": 4.5, "large": 3.0, "line": 3.0}
"""Least contrast, by WCAG 2.2 AA, of text, of large text, and of lines that carry meaning."""
LEAST_PIXELS = 10.5
CONTRASTS = """
const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const parse = text => {
  const whole = text.startsWith('color(') ? 255 : 1;
  const [r, g, b, a = 1] = text.match(/[\\d.e-]*\\d/g).map(Number);
  return [r * whole, g * whole, b * whole, a];
};
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const behind = element => {
  if (!element) return [255, 255, 255];
  const color = parse(getComputedStyle(element).backgroundColor), alpha = color[3];
  if (alpha === 1) return color;
  const below = behind(element.parentElement);
  return below.map((value, at) => alpha * color[at] + (1 - alpha) * value);
};
const ratio = (a, b) => {
  const [x, y] = [light(a), light(b)].sort((p, q) => q - p);
  return (x + 0.05) / (y + 0.05);
};
const found = [];
document.querySelectorAll('details').forEach(each => each.open = true);
const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const text = walk.currentNode.data.trim(), element = walk.currentNode.parentElement;
  const style = getComputedStyle(element), box = element.getBoundingClientRect();
  if (!text || !box.width || element.closest('title, desc, style')) continue;
  const svg = element.closest('svg'), size = parseFloat(style.fontSize);
  const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
  const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
  found.push([large ? 'large' : 'text', text.slice(0, 40),
    ratio(parse(svg ? style.fill : style.color), behind(element)), size * scale]);
}
document.querySelectorAll('path.line, path.interval, path.axis').forEach(element => {
  const color = parse(getComputedStyle(element).stroke);
  found.push(['line', element.getAttribute('class'), ratio(color, behind(element)), 99]);
});
return found;
"""
OVERFLOWS = """
document.querySelectorAll('details').forEach(each => each.open = true);
const wide = [document.documentElement.scrollWidth - document.documentElement.clientWidth];
return [wide[0], [...document.querySelectorAll('main *, header *')].filter(each =>
  !each.closest('.wide, svg, .skip, .stack thead') &&
  each.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5
).map(each => each.outerHTML.slice(0, 80))];
"""
FOCUSED = """
const each = document.activeElement, style = getComputedStyle(each);
return [each.tagName.toLowerCase(), each.textContent.trim().slice(0, 30),
  style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2];
"""
FOCUSABLE = "return document.querySelectorAll('a[href], summary, input, [tabindex=\"0\"]').length"


def run_of(root: Path, **facts: Any) -> PretendedRun:
    run = PretendedRun(root)
    for name, value in facts.items():
        setattr(run, name, value)
    return run


def failed(root: Path) -> Path:
    run = run_of(root)
    with run.planned() as record:
        record.start(run.effective(), run.environment())
        run.train(record, 0, 5)
        record.fail(ValueError("step 6: the loss is nan"), last_lines=["one " * 90, "two"])
    return record.path


def child(root: Path, parent: Path) -> Path:
    run = run_of(root, expect={"metrics": {"loss": {"max": 1.0}}})
    digest = read_manifest(parent).digests.outcome
    with run.planned() as record:
        link = Parent(
            role="teacher",
            manifest=f"manifests/{parent.name}",
            stage="finetune",
            outcome_digest=digest,
        )
        record.update(inputs=replace(record.manifest.inputs, parents=[link]))
        record.start(run.effective(), run.environment())
        run.train(record)
        lines = [
            json.dumps({"event": "evaluation", "step": step, "accuracy": 1 / step})
            for step in (4, 8, 12)
        ]
        (record.directory / "log.jsonl").write_text("\n".join(lines))
        pace = [
            json.dumps({"step": s, "seconds": s / 7, "samples": s % 9, "resident_bytes": 10**9 + s})
            for s in range(9, 30)
        ]
        (record.directory / "pace.jsonl").write_text("\n".join(pace))
        record.finish(metrics={"loss": 15.5}, best_step=8, best_metrics={"accuracy": 0.125})
    return Path(record.path)


@pytest.fixture(scope="module")
def pages(tmp_path_factory):
    """A page of each kind, by its name."""
    root = tmp_path_factory.mktemp("pages")
    one = run_of(root).run()
    every = [run_of(root, weight_decay=d, seed=s).run() for d in (1e-4, 1e-3) for s in (1, 2, 3)]
    sources = {
        "one": [one],
        "failed": [failed(root)],
        "chain": [child(root, one)],
        "two": [one, run_of(root, weight_decay=1e-2, numpy="1.26.3").run()],
        "six": every,
        "evaluation": [evaluation(root / "evaluation", "classification")],
    }
    found = {}
    for name, manifests in sources.items():
        found[name] = root / f"{name}.html"
        found[name].write_text(html(manifests, root))
    return found


@pytest.fixture(scope="module")
def chromium(tmp_path_factory):
    with browser(tmp_path_factory.mktemp("chromium")) as session:
        yield session


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_pages_fit_can_be_read_and_ask_for_nothing(pages, chromium, width, scheme):
    for name, page in pages.items():
        chromium.show(page, width=width, scheme=scheme)
        assert chromium.run("return performance.getEntriesByType('resource').length") == 0
        faint = [
            (kind, text, round(ratio, 2))
            for kind, text, ratio, _ in chromium.run(CONTRASTS)
            if ratio < ENOUGH[kind]
        ]
        assert (name, faint) == (name, [])
        small = [
            (text, size) for _, text, _, size in chromium.run(CONTRASTS) if size < LEAST_PIXELS
        ]
        assert (name, small) == (name, [])
        assert (name, chromium.run(OVERFLOWS)) == (name, [0, []])
        chromium.run("document.getElementById('exact').click()")
        assert (name, chromium.run(OVERFLOWS)) == (name, [0, []])
        assert chromium.console() == []


def test_charts_stand_beside_each_other_where_there_is_room(pages, chromium):
    tops = "return [...document.querySelectorAll('#curves figure')].map(f => f.offsetTop)"
    chromium.show(pages["one"], width=1280, scheme="light")
    assert len(set(chromium.run(tops))) == 1
    chromium.show(pages["one"], width=390, scheme="light")
    assert len(set(chromium.run(tops))) == 3


@pytest.mark.parametrize("name", ["two", "six", "chain"])
def test_every_control_is_reached_and_used_by_keyboard(pages, chromium, name):
    chromium.show(pages[name], width=1280, scheme="light")
    visible = chromium.run(FOCUSABLE.replace(".length", "") + _VISIBLE)
    seen = []
    for _ in range(visible):
        chromium.press("Tab", "Tab")
        seen.append(chromium.run(FOCUSED))
    assert seen[0][:2] == ["a", "Skip to the results"]
    assert [each for each in seen if not each[2]] == []
    assert chromium.run("return document.activeElement.tagName.toLowerCase()") == "summary"
    chromium.press("Enter", "Enter")
    assert chromium.run("return document.activeElement.parentElement.open") is True
    chromium.run("document.getElementById('exact').focus()")
    shown = "return getComputedStyle(document.querySelector('main .exact')).display"
    assert chromium.run(shown) == "none"
    chromium.press(" ", "Space")
    assert chromium.run(shown) == "inline"


_VISIBLE = """.values().filter(each =>
  each.checkVisibility({contentVisibilityAuto: true, visibilityProperty: true})).toArray().length"""


def test_a_page_prints(pages, chromium, tmp_path):
    chromium.show(pages["two"], width=1280, scheme="dark")
    chromium.pdf(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    chromium.command("Emulation.setEmulatedMedia", media="print")
    assert chromium.run("return getComputedStyle(document.body).color") == "rgb(0, 0, 0)"
    assert chromium.run("return getComputedStyle(document.querySelector('nav')).display") == "none"
