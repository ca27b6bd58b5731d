"""The page of two runs."""

from typing import Any

from tests.report.pages import charts, parsed, rows, seen
from tinybert.report.page import html


def test_two_runs_begin_with_the_verdict_and_mark_where_they_part(pretend: Any) -> None:
    a = pretend("a").run()
    b = pretend("b", weight_decay=1e-2, numpy="1.26.3").run()
    page = html(a, b)
    text, table = seen(page), rows(page)
    assert text[2] == (
        "different: option optimizer.weight_decay: 0.0001 in A, 0.01 in B;"
        " other arithmetic on equal batches from step 2"
    )
    causes = [item.text for item in next(parsed(page).iter("ol"))]
    assert causes == [
        "option optimizer.weight_decay: 0.0001 in A, 0.01 in B",
        'library numpy: "1.26.4" in A, "1.26.3" in B',
    ]
    assert "First differing step: 2" in text
    assert "First differing tensor: student.encoder.layer.0.output.dense.weight" in text
    assert table["metrics.loss"] == [
        "15.66605 (0x1.f5504816f0069p+3)",
        "14.087 (0x1.c2c8b43958106p+3)",
    ]
    for title, svg in charts(page).items():
        assert [mark.text for mark in svg.iter("text")].count("first difference") == 1, title
    apart = charts(page)["relative difference of the losses, where they differ"]
    assert apart[1].text and "to 0.1008 at step 12" in apart[1].text


def test_two_runs_have_a_line_each_in_every_chart(pretend: Any) -> None:
    page = html(pretend("a").run(), pretend("b", noise=0.1).run())
    lines = [p.get("class") for p in charts(page)["loss"].iter("path")]
    assert lines.count("line a") == lines.count("line b") == 1


def test_differing_facts_are_marked(pretend: Any) -> None:
    page = html(pretend("a").run(), pretend("b", seed=2).run())
    marked = [row[0].text for row in parsed(page).iter("tr") if row.get("class") == "differs"]
    assert marked == ["seed", "outcome"]


def test_bitwise_runs_say_so(pretend: Any) -> None:
    page = html(pretend("a").run(), pretend("b").run())
    assert "bitwise: the outcomes are equal" in seen(page)
    assert "Nothing that the manifests record differs." in seen(page)
    assert "first difference" not in page


def test_results_say_how_far_two_runs_are_apart(pretend: Any) -> None:
    page = html(pretend("a").run(), pretend("b", noise=0.01).run())
    first = next(parsed(page).iter("section"))
    assert first[0].text == "Differences"
    results = [s for s in parsed(page).iter("section") if s[0].text == "Results"]
    cells = ["".join(cell.itertext()) for cell in list(results[0].iter("tr"))[1]]
    assert cells == ["loss", "15.66605", "15.77605", "0.11", "0.00697"]


def test_unfinished_runs_are_compared_as_far_as_they_go(pretend: Any) -> None:
    record = pretend("b").planned()
    record.close()
    page = html(pretend("a").run(), record.path)
    assert seen(page)[2].startswith("incomparable: B is abandoned")
    assert "B: it left no trace of a step." in seen(page)
    assert len(charts(page)) == 5
    assert (charts(page)["loss"][1].text or "").startswith("A: from 15.51 at step 1")
