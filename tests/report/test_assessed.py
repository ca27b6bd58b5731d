"""What the kept predictions of an evaluation show: `show`, `diff`, `compare`, and the page."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.fake_evaluations import RECORDS, ROWS, evaluation, folder
from tests.report.pages import parsed, rows, section, seen, text_of
from tinybert.manifest.document import Run
from tinybert.metrics.predictions import ARRAYS_FILE
from tinybert.report.assessed import AssessedRun
from tinybert.report.page import html
from tinybert.report.side_by_side import compare
from tinybert.report.text import diff, show
from tinybert.report.texts import join_pieces


def shown(path: Path) -> list[str]:
    return show(path)[0].splitlines()


def compared(*paths: Path) -> dict:
    return json.loads(compare(paths, format="json", output=None, force=False))


def test_an_evaluation_is_shown_with_intervals_confusions_and_worst_rows(tmp_path):
    lines = shown(evaluation(tmp_path, "classification"))
    (accuracy,) = (line for line in lines if line.startswith("  accuracy"))
    # 2 of 7 by Wilson's formula
    assert accuracy.endswith("  95 % interval 0.08222 to 0.6411 (Wilson)")
    assert "  predictions  predictions.safetensors" in lines
    at = lines.index("confusions: what is true in rows, what was predicted in columns")
    assert lines[at + 1 : at + 11] == [
        "            indoors  outdoors",
        "  indoors   2        4",
        "  outdoors  1        0",
        "scores of each class",
        "            precision  recall  F1      predicted  true",
        "  indoors   0.6667     0.3333  0.4444  3          6",
        "  outdoors  0.0000     0.0000  0.0000  4          1",
        "5 of 7 rows are wrong, the worst by their loss",
        "  row  loss    true      predicted  text",
        "  3    1.401   indoors   outdoors   d e f g,",
    ]


def test_numbers_and_tags_have_worst_rows_of_their_own(tmp_path):
    lines = shown(evaluation(tmp_path / "numbers", "regression"))
    assert "of 7 rows, those farthest from their number" in lines
    assert not any(line.startswith("confusions") for line in lines)
    assert sum("(bootstrap)" in line for line in lines) == 2
    lines = shown(evaluation(tmp_path / "tags", "ner"))
    assert "scores of each type of entities" in lines
    head = next(line for line in lines if line.startswith("  row"))
    assert head.split() == ["row", "wrong", "entities", "missed", "found", "wrongly", "text"]


def test_texts_are_those_of_the_records(tmp_path):
    run = Run.load(evaluation(tmp_path, "ner"))
    texts, why = AssessedRun(run).texts([0, 2])
    assert why == ""
    *letters, word = texts.text(2).split(" ")
    assert (letters, word[0]) == (["c", "d", "e"], "f")
    assert len(word) > 1
    assert texts.span(2, 4, 4) == word  # a word ends with its last piece
    assert texts.span(2, 1, 2) == "c d"
    assert "[" not in texts.text(0)


@pytest.mark.parametrize(
    ("pieces", "text"),
    [
        (["play", "##ing", "it", "##s"], "playing its"),
        (["浙", "商", "银", "行", "bank", "的"], "浙商银行 bank 的"),
        ([], ""),
    ],
)
def test_pieces_are_joined(pieces, text):
    assert join_pieces(pieces) == text


def test_without_the_records_it_is_said_why_there_are_no_texts(tmp_path):
    path = evaluation(tmp_path, "classification")
    records = tmp_path / RECORDS
    records.write_bytes(records.read_bytes()[::-1])
    why = f"texts not shown: the records are not those that were evaluated ({records})"
    assert shown(path)[-1] == f"  {why}"
    assert why in seen(html([path]))
    records.unlink()
    assert shown(path)[-1].startswith("  texts not shown: cannot be read")
    (folder(path) / "tokenizer" / "vocab.txt").unlink()
    assert "the run kept no vocabulary" in shown(path)[-1]


def test_predictions_that_are_not_those_of_the_manifest_are_not_shown(tmp_path):
    path = evaluation(tmp_path / "a", "classification")
    other = evaluation(tmp_path / "b", "classification", seed=2)
    (folder(path) / ARRAYS_FILE).write_bytes((folder(other) / ARRAYS_FILE).read_bytes())
    assert shown(path)[-1] == "  predictions not shown: other predictions"
    assert not any("interval" in line for line in shown(path))
    assert "predictions not shown: other predictions" in seen(html([path]))
    (folder(path) / ARRAYS_FILE).unlink()
    assert shown(path)[-1].startswith("  predictions not shown: cannot be read")


def test_two_evaluations_are_compared_row_by_row(tmp_path):
    a = evaluation(tmp_path / "a", "classification")
    b = evaluation(tmp_path / "b", "classification", seed=3)
    (paired,) = compared(a, b)["paired"]
    test = paired["test"]
    counts = [test[name] for name in ("both", "only_a", "only_b", "neither")]
    assert sum(counts) == ROWS
    assert (len(paired["better_in_a"]), len(paired["better_in_b"])) == (counts[1], counts[2])
    runs = compared(a, b)["runs"]
    value, interval = paired["differences"]["accuracy"]
    accuracies = [run["metrics"]["accuracy"] for run in runs]
    assert value == accuracies[1] - accuracies[0]
    assert value == pytest.approx((counts[2] - counts[1]) / ROWS)
    assert interval["low"] <= value <= interval["high"]
    for flip in paired["better_in_b"]:
        assert flip["b"] == flip["true"] != flip["a"]
        assert flip["text"]
    sentence = f"{counts[1]} rows right in A alone, {counts[2]} in B alone, "
    assert any(line.startswith(sentence) for line in diff(a, b)[0].splitlines())
    text = compare([a, b], format="text", output=None, force=False)
    assert f"  right in B alone: {counts[2]} rows\n" in text


def test_entities_that_one_run_alone_finds_are_named(tmp_path):
    a, b = (evaluation(tmp_path / str(seed), "ner", seed=seed) for seed in (1, 2))
    (paired,) = compared(a, b)["paired"]
    assert paired["counted"] == "true entities"
    flips = paired["better_in_a"] + paired["better_in_b"]
    assert flips
    for flip in flips:
        kind, _, words = flip["true"].partition(" ")
        assert kind == "PER"
        assert words in flip["text"]
        assert {flip["a"], flip["b"]} == {"found", "missed"}


def test_evaluations_of_other_rows_are_not_paired(tmp_path):
    a, b = (evaluation(tmp_path / str(seed), "classification", seed=seed) for seed in (1, 2))
    (tmp_path / "2" / RECORDS).unlink()  # what was read is in the manifest
    assert len(compared(a, b)["paired"]) == 1
    assert compared(a, evaluation(tmp_path / "c", "regression"))["paired"] == []


def test_the_page_of_an_evaluation_has_its_classes_and_worst_errors(tmp_path):
    page = html([evaluation(tmp_path, "classification")])
    assert rows(page)["Accuracy"][1] == "0.08222 to 0.6411 (Wilson)"
    assert "95\N{NO-BREAK SPACE}% interval 0.08222 to 0.6411" in text_of(parsed(page))
    classes = section(page, "classes")
    counts = [[text_of(cell) for cell in row] for row in classes.iter("tr")][1:3]
    assert counts == [["indoors", "2", "4"], ["outdoors", "1", "0"]]
    shades = [cell.get("style") for cell in classes.iter("td")][:4]
    assert shades == ["--share:0.33", "--share:0.67", "--share:1.00", "--share:0.00"]
    assert len(list(section(page, "mistakes").iter("tr"))) == 1 + 5


def test_the_page_of_two_evaluations_has_what_changed(tmp_path):
    a = evaluation(tmp_path / "a", "classification")
    b = evaluation(tmp_path / "b", "classification", seed=3)
    page = html([a, b])
    (paired,) = compared(a, b)["paired"]
    changed = [text_of(row[0]) for row in section(page, "changed").iter("tr")]
    flips = [str(flip["row"]) for flip in paired["better_in_a"] + paired["better_in_b"]]
    assert sorted(name for name in changed if name != "row") == sorted(flips)
    assert len(rows(page)["Mean F1"]) == 5  # A, B, two differences, their interval


def test_the_accuracy_of_a_training_has_an_interval_by_the_rows_of_its_dev_set(tmp_path):
    run = Run.load(evaluation(tmp_path, "classification"))
    values = run.manifest.inputs.recipe.values
    training = replace(run.manifest, inputs=replace(run.manifest.inputs, stage="finetune"))
    run = Run(run.path, training)
    assert AssessedRun(run).intervals["accuracy"].low == pytest.approx(0.0822, abs=1e-4)
    values["data"]["eval_drop_remainder"] = True
    assert AssessedRun(run).intervals == {}
