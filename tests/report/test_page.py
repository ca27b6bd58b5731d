import math
import subprocess
import sys
import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.report.pages import charts, parsed, rows, section, sections, seen, texts, titles
from tinybert.errors import ManifestError, UsageError
from tinybert.manifest.document import LOCK, read_manifest
from tinybert.manifest.model import Parent
from tinybert.manifest.record import RunRecord
from tinybert.manifest.trace import TracedStep
from tinybert.report.chart import LEFT, RIGHT, WIDTH
from tinybert.report.page import html, report

TIMES = "\N{MULTIPLICATION SIGN}"
ROOT = Path(__file__).parents[2]


def step(record: RunRecord, number: int, **facts: Any) -> None:
    plain = TracedStep(
        global_step=number,
        optimizer_step=number,
        loss=2.0,
        parts={"hidden_loss": 1.0},
        loss_scale=1024.0,
        overflow=False,
        learning_rate=1e-3,
        gradient_norm=1.0,
        batch_digest="0" * 64,
    )
    record.trace.append(replace(plain, **facts))


def long_run(run: Any, steps: int) -> Path:
    """A run whose loss is noise around a fall, with one low and one high step."""
    noise = np.random.default_rng(0).normal(0, 0.1, steps)
    with run.planned() as record:
        record.start(run.effective(), run.environment())
        for number in range(steps):
            loss = 2 + 8 / (1 + number / 500) + float(noise[number])
            loss = {steps // 3: 0.125, steps // 2: 64.0}.get(number, loss)
            step(record, number, loss=loss, overflow=number % 500 == 7)
        record.finish(optimizer_steps=steps, samples=steps)
    return Path(record.path)


def test_a_run_has_facts_results_and_a_chart_of_every_quantity(pretend: Any) -> None:
    run = pretend("a").run()
    page = html([run])
    text, table = seen(page), rows(page)
    header = next(parsed(page).iter("header"))
    assert texts(header, "eyebrow") == ["General distillation CPU 1 March 2026, 12:00 UTC"]
    assert texts(header, "badge") == ["finished"]
    assert texts(header, "tile") == [
        "Mean loss 15.59",
        f"Teacher to student 4 {TIMES} 48 → 2 {TIMES} 24 layers {TIMES} width",
        "Parameters - the graph was not built",
        "Duration 0.0 s 12 steps",
    ]
    lead = "General distillation in small: the smoke test of a machine and of this program."
    assert texts(header, "lead") == [lead]
    assert sections(page) == ["results", "curves", "facts", "origins"]
    assert table["recipe"] == ["recipes/tiny.toml"]
    assert table["stage"] == ["general_distill"]
    assert table["steps"] == ["12 of 12"]
    assert table["code"] == ["abababababab…"]
    assert rows(page, "exact")["code"] == ["ab" * 20]
    assert table["framework"] == ["MindSpore 2.10.0 (2d550373), CPython 3.11.7"]
    assert table["Loss"] == ["15.67", "15.59"]
    assert rows(page, "exact")["Loss"][0] == "15.66605 (0x1.f5504816f0069p+3)"
    numbers = ["7.753", "7.753 (step 1)", "7.833 (step 12)", "7.833", "0"]
    curves = section(page, "curves")
    assert rows(ET.tostring(curves, "unicode"))["hidden loss"] == numbers
    assert list(charts(page)) == ["loss", "hidden loss", "learning rate"]
    assert texts(curves, "constant") == ["gradient norm 1;", "loss scale 1."]
    assert "It read the result of no other run." in text


def test_every_chart_says_in_words_what_it_shows(pretend: Any) -> None:
    for title, svg in charts(html([pretend("a").run()])).items():
        assert svg.get("role") == "img"
        named = [element.get("id") for element in svg[:2]]
        assert svg.get("aria-labelledby", "").split() == named
        assert [element.tag for element in svg[:2]] == ["title", "desc"]
        assert svg[1].text and svg[1].text.endswith("scale."), title
    assert charts(html([pretend("b").run()]))["learning rate"][1].text == (
        "from 0 at step 1 to 0.011 at step 12, least 0 at step 1, greatest 0.011 at step 12."
        " Linear scale."
    )


def test_a_page_needs_nothing_else(pretend: Any) -> None:
    page = html([pretend("a").run(), pretend("b", seed=2).run()])
    assert "<script" not in page
    links = [each.get("href", "") for each in parsed(page).iter("a")]
    assert all(link.startswith("#") or link.startswith("../") for link in links), links
    names = {element.tag for element in parsed(page).iter()}
    assert not names & {"link", "img", "iframe", "object", "use", "image"}
    keys = {key for element in parsed(page).iter() for key in element.keys()}
    assert not keys & {"src", "srcset", "action"} and not any(key.startswith("on") for key in keys)
    assert "url(" not in page and "@import" not in page
    assert "default-src 'none'" in page
    assert "prefers-color-scheme: dark" in page and "@media print" in page


def test_equal_runs_give_equal_pages(pretend: Any) -> None:
    a = pretend("a").run()
    assert html([a]) == html([a])


def test_whatever_a_run_says_is_text(pretend: Any) -> None:
    run = pretend("a")
    with run.planned() as record:
        record.start(run.effective(), run.environment())
        evil = "<script>alert('x')</script> & \x1b[31mred\x00"
        inputs = record.manifest.inputs
        record.update(inputs=replace(inputs, recipe=replace(inputs.recipe, text=evil)))
        record.fail(ValueError(evil), last_lines=[evil])
    page = html([record.path])
    assert "<script" not in page
    shown = (
        "<script>alert('x')</script> & \N{REPLACEMENT CHARACTER}[31mred\N{REPLACEMENT CHARACTER}"
    )
    assert shown in ["".join(p.itertext()) for p in parsed(page).iter("p")]
    assert [pre.text for pre in parsed(page).iter("pre")] == [shown, shown]


def test_a_failed_run_shows_its_error_process_step_and_log(pretend: Any) -> None:
    run = pretend("a")
    with run.planned() as record:
        record.start(run.effective(), run.environment())
        run.train(record, 0, 5)
        facts = {"rank": 3, "step": 5, "exit_code": -9, "last_lines": ["one", "two"]}
        record.fail(ManifestError("it broke:\nbadly", where="here"), **facts)
    page = html([record.path])
    (alert,) = texts(parsed(page), "alert")
    assert alert == "ManifestError after step 5 it broke: badly"
    assert texts(next(parsed(page).iter("header")), "badge") == ["failed"]
    table = rows(page)
    assert table["message"] == ["it broke:\nbadly"]
    assert (table["process"], table["steps done"], table["exit code"]) == (["3"], ["5"], ["-9"])
    assert table["steps"] == ["5 of 12"]
    assert "one\ntwo" in seen(page)
    assert len(charts(page)) == 3


def test_a_run_that_failed_before_its_first_step_counts_nothing(pretend: Any) -> None:
    run = pretend("a")
    with run.planned() as record:
        record.fail(ValueError("early"))
    with pretend("b").planned() as traced:
        traced.rewind(0)
        traced.fail(ValueError("early"))
    assert rows(html([record.path]))["steps"] == ["unknown"]
    assert rows(html([traced.path]))["steps"] == ["0"]
    for path in (record.path, traced.path):
        assert "It left no trace of a step." in seen(html([path]))


def test_an_abandoned_run_shows_what_it_wrote(pretend: Any) -> None:
    run = pretend("a")
    record = run.planned()
    record.start(run.effective(), run.environment())
    run.train(record, 0, 8)
    record.close()
    assert (record.directory / LOCK).exists()
    with (record.directory / "trace.jsonl").open("ab") as file:
        file.write(b'{"global_step":8,"opt')
    page = html([record.path])
    assert texts(next(parsed(page).iter("header")), "badge") == ["abandoned"]
    assert "The run has no final trace: 8 steps were written." in seen(page)
    assert rows(page)["steps"] == ["unknown of 12"]
    assert "to 15.61 at step 8" in (charts(page)["loss"][1].text or "")


def test_a_run_that_only_was_planned_has_a_page(pretend: Any) -> None:
    record = pretend("a").planned()
    record.close()
    page = html([record.path])
    assert texts(next(parsed(page).iter("header")), "badge") == ["abandoned"]
    assert "It left no trace of a step." in seen(page)


@pytest.mark.parametrize(
    ("damage", "note"),
    [
        (lambda trace: trace.unlink(), "No trace at hand ("),
        (lambda trace: trace.write_bytes(trace.read_bytes()[:-900]), "The trace at hand is not"),
        (
            lambda trace: trace.write_bytes(b"{}\n" + trace.read_bytes()),
            "Not a trace record: b'{}\\n' (",
        ),
    ],
    ids=["missing", "another run's", "damaged"],
)
def test_a_trace_that_cannot_be_used_leaves_a_page_that_says_so(
    pretend: Any, damage: Any, note: str
) -> None:
    path = pretend("a").run()
    damage(next(path.parents[1].glob("runs/tiny/*/trace.jsonl")))
    page = html([path])
    assert any(line.startswith(note) for line in seen(page))
    assert not charts(page)
    assert rows(page)["Loss"] == ["15.67", "15.59"]


def test_overflows_and_lost_losses_are_marked(pretend: Any) -> None:
    run = pretend("a")
    with run.planned() as record:
        record.start(run.effective(), run.environment())
        for number in range(9):
            lost = number == 4
            norm = math.inf if lost else 1.0
            scale = 1024.0 if number < 5 else 512.0
            step(record, number, overflow=lost, gradient_norm=norm, loss_scale=scale)
        record.finish()
    page = html([record.path])
    found = charts(page)
    assert titles(found["loss scale"], "event") == ["overflow, step 5"]
    norm = found["gradient norm"]
    assert titles(norm, "event") == ["gradient norm not finite, step 5"]
    assert [path.get("class") for path in norm.iter("path")].count("line a") == 2  # it is broken
    assert "strokes on the axis: 1 overflow<" in page
    drawn = ET.tostring(section(page, "curves"), "unicode")
    assert "nan" not in drawn and "inf" not in drawn.replace("infinite", "")


def test_evaluations_come_from_the_log_and_the_best_is_marked(pretend: Any) -> None:
    run = pretend("a")
    with run.planned() as record:
        record.start(run.effective(), run.environment())
        run.train(record)
        log = record.directory / "log.jsonl"
        lines = [
            '{"step": 6, "accuracy": 0.25, "event": "evaluation", "level": "info"}',
            '{"step": "6/12", "loss": 9.0, "event": "step", "level": "info"}',
            '{"step": 6, "accuracy": 0.5, "event": "evaluation", "level": "info"}',
            '{"step": 12, "accuracy": 0.75, "event": "evaluation", "level": "info"}',
            '{"step": 18, "accuracy": 0.9, "event": "evaluat',
        ]
        log.write_text("\n".join(lines))
        record.finish(best_step=12, best_metrics={"accuracy": 0.75})
    page = html([record.path])
    svg = charts(page)["Accuracy"]
    assert [title.text for title in svg.iter("title")][1:] == ["0.5 at step 6", "0.75 at step 12"]
    assert "best" in [text.text for text in svg.iter("text")]
    every = ET.tostring(section(page, "evaluations"), "unicode")
    assert rows(every)["Accuracy"] == ["6", "0.5000"]
    assert rows(page)["metric"] == ["best, step 12"]
    assert rows(page)["Accuracy"] == ["0.7500"]


def test_parents_are_named_and_a_broken_link_too(pretend: Any) -> None:
    parent = pretend("a").run()
    child = pretend("a")
    digest = read_manifest(parent).digests.outcome
    parents = [
        Parent(role=role, manifest=path, stage="general_distill", outcome_digest=digest)
        for role, path in (
            ("teacher", f"manifests/{parent.name}"),
            ("student", "manifests/gone.json"),
        )
    ]
    with child.planned() as record:
        record.update(inputs=replace(record.manifest.inputs, parents=parents))
        record.finish()
    lineage = section(html([record.path]), "lineage")
    boxes = texts(lineage, "box")
    assert boxes[0].startswith("Teacher General distillation 15.59 Mean loss")
    assert boxes[1].startswith("Student gone not here broken: gone: cannot read the manifest")
    assert boxes[2].startswith("This run General distillation")
    links = {link.get("href", "").rpartition("/")[2] for link in lineage.iter("a")}
    assert links == {parent.name, record.path.name}


def test_expectations_that_were_not_met_are_listed(pretend: Any) -> None:
    bounds = {"metrics": {"loss": {"max": 1.0}}}
    page = html([pretend("a", expect=bounds).run()])
    assert texts(parsed(page), "alert") == ["1 expectation failed loss is 15.67, above 1.0"]
    assert texts(section(page, "results"), "bad") == ["✕ at most 1"]
    assert texts(section(page, "checks"), "bad") == ["✖ failed: loss is 15.67, above 1.0"]
    met = {"metrics": {"loss": {"max": 99.0}}}
    page = html([pretend("b", expect=met).run()])
    assert texts(section(page, "checks"), "good") == ["✓ Loss at most 99"]


def test_an_expectation_of_a_metric_that_was_not_measured_fails(pretend: Any) -> None:
    bounds = {"attention_loss": {"min": 0.5}, "mean_hidden_loss": {"max": 99.0}}
    checks = section(html([pretend("a", expect={"metrics": bounds}).run()]), "checks")
    (failed,) = texts(checks, "bad")
    assert failed.startswith("✖ failed: there is no metric attention_loss, only loss, ")
    assert texts(checks, "good") == ["✓ Mean hidden loss at most 99"]


def test_a_long_trace_gives_a_small_page_with_its_extremes(pretend: Any) -> None:
    page = html([long_run(pretend("a"), 5_000)])
    assert len(page) < 200_000
    words = charts(page)["loss"][1].text or ""
    assert "least 0.125 at step 1667, greatest 64 at step 2501. Logarithmic scale." in words
    band = next(p for p in charts(page)["loss"].iter("path") if p.get("class") == "band a")
    places = [tuple(map(float, p.split())) for p in (band.get("d") or "")[1:-1].split("L")]
    highest = min(places, key=lambda place: place[1])
    lowest = max(places, key=lambda place: place[1])
    width = WIDTH - RIGHT - LEFT
    assert highest[0] == pytest.approx(LEFT + width / 2, abs=2)
    assert lowest[0] == pytest.approx(LEFT + width / 3, abs=2)
    assert "10 overflows" in page


def test_the_page_is_named_after_the_runs_and_never_replaces_a_file(
    pretend: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b = pretend("a").run(), pretend("b").run()
    monkeypatch.chdir(tmp_path)
    assert report([a], output=None, force=False) == (f"{a.stem}.html", 0)
    both = f"{a.stem}-against-{b.stem}.html"
    assert report([a, b], output=None, force=False) == (both, 0)
    assert (tmp_path / both).read_text() == html([a, b], tmp_path)
    Path("mine.html").write_text("mine")
    with pytest.raises(UsageError) as caught:
        report([a], output=Path("mine.html"), force=False)
    assert str(caught.value) == (
        "the file exists\n  --> mine.html\n"
        "help: name another with --output, or replace it with --force"
    )
    assert Path("mine.html").read_text() == "mine"
    report([a], output=Path("mine.html"), force=True)
    assert Path("mine.html").read_text() == html([a])


def test_the_page_never_takes_the_place_of_what_is_no_page(pretend: Any, tmp_path: Path) -> None:
    a = pretend("a").run()
    for output, message in [
        (a, "the page would replace a manifest"),
        (tmp_path, "the page's file is a directory"),
        (tmp_path / "gone" / "page.html", "the page's folder is missing"),
    ]:
        with pytest.raises(UsageError) as caught:
            report([a], output=output, force=True)
        assert caught.value.message == message
    assert read_manifest(a).outcome.status == "finished"


def test_the_command_writes_the_page_without_the_framework(pretend: Any, tmp_path: Path) -> None:
    a, b = pretend("a").run(), pretend("b", seed=2).run()
    code = (
        "import sys, runner\n"
        f"code = runner.main(['report', {str(a)!r}, {str(b)!r}, '--output', 'page.html'])\n"
        "assert 'mindspore' not in sys.modules\n"
        "sys.exit(code)\n"
    )
    environment = {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "page.html\n", "")
    assert (tmp_path / "page.html").read_text() == html([a, b], tmp_path)
