"""The page of two runs."""

import xml.etree.ElementTree as ET
from typing import Any

from tests.report.pages import charts, parsed, rows, section, sections, seen, texts
from tinybert.report.page import html


def test_two_runs_begin_with_the_verdict_and_mark_where_they_part(pretend: Any) -> None:
    a = pretend("a").run()
    b = pretend("b", weight_decay=1e-2, numpy="1.26.3").run()
    page = html([a, b])
    header = next(parsed(page).iter("header"))
    assert texts(header, "badge")[0] == "different"
    assert texts(header, "lead") == [
        "Mean loss fell from 15.59 to 14.80.",
        "Option optimizer.weight_decay: 0.0001 in A, 0.01 in B;"
        " other arithmetic on equal batches from step 2.",
    ]
    assert texts(header, "tile")[0] == ("Mean loss 15.59 → 14.80 \N{MINUS SIGN}0.7895 from A to B")
    assert sections(page) == ["differences", "results", "curves", "facts", "origins"]
    assert texts(section(page, "differences"), "root") == [
        "option optimizer.weight_decay A 0.0001 → B 0.01",
        'environment library numpy: "1.26.4" in A, "1.26.3" in B',
    ]
    text = seen(page)
    assert "First differing step: 2" in text
    assert "student.encoder.layer.0.output.dense.weight" in text
    assert rows(page, "exact")["metrics.loss"] == [
        "15.66605 (0x1.f5504816f0069p+3)",
        "14.087 (0x1.c2c8b43958106p+3)",
    ]
    for title, svg in charts(page).items():
        if title != "relative difference of the losses, where they differ":
            assert [m.text for m in svg.iter("text")].count("first difference") == 1, title
    apart = charts(page)["relative difference of the losses, where they differ"]
    assert apart[1].text and "to 0.1008 at step 12" in apart[1].text


def test_a_difference_is_bad_only_where_nothing_explains_it(pretend: Any) -> None:
    a = pretend("a").run()
    looks = {}
    for name, facts in {"seed": {"seed": 2}, "unknown": {"noise": 0.1}}.items():
        header = next(parsed(html([a, pretend(name, **facts).run()])).iter("header"))
        badge = next(each for each in header.iter("span") if "badge" in each.get("class", ""))
        looks[name] = (badge.text, badge.get("class"))
    assert looks == {
        "seed": ("different", "badge neutral"),
        "unknown": ("different", "badge bad"),
    }


def test_two_runs_have_a_line_each_in_every_chart(pretend: Any) -> None:
    page = html([pretend("a").run(), pretend("b", noise=0.1).run()])
    lines = [p.get("class") for p in charts(page)["loss"].iter("path")]
    assert lines.count("line a") == lines.count("line b") == 1


def test_differing_facts_are_marked(pretend: Any) -> None:
    page = html([pretend("a").run(), pretend("b", seed=2).run()])
    first = next(section(page, "facts").iter("table"))
    names = ["".join(row[0].itertext()) for row in first.iter("tr")]
    assert names == ["", "seed", "outcome"]


def test_bitwise_runs_say_so(pretend: Any) -> None:
    page = html([pretend("a").run(), pretend("b").run()])
    assert "The outcomes are equal." in seen(page)
    assert "Nothing that the manifests record differs." in seen(page)
    assert "first difference" not in page


def test_results_say_how_far_two_runs_are_apart(pretend: Any) -> None:
    page = html([pretend("a").run(), pretend("b", noise=0.01).run()])
    results = ET.tostring(section(page, "results"), "unicode")
    assert rows(results)["Loss"] == ["15.67", "15.78", "+0.1100", "0.006973"]
    exact = rows(results, "exact")["Loss"]
    assert [cell.partition(" (")[0] for cell in exact[:2]] == ["15.66605", "15.77605"]


def test_unfinished_runs_are_compared_as_far_as_they_go(pretend: Any) -> None:
    record = pretend("b").planned()
    record.close()
    page = html([pretend("a").run(), record.path])
    header = next(parsed(page).iter("header"))
    assert texts(header, "badge") == ["incomparable", "finished", "abandoned"]
    assert texts(header, "lead")[-1] == "B is abandoned."
    assert "B: it left no trace of a step." in seen(page)
    assert len(charts(page)) == 3
    assert (charts(page)["loss"][1].text or "").startswith("A: from 15.51 at step 1")
