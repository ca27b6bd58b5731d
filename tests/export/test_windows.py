"""Long texts in windows, rows of records, and files for leaderboards, against whole predictions."""

import json

import numpy as np
import pytest

import runner
from tests.export.conftest import VOCAB, prepared_task
from tests.export.test_predict import json_lines, task_run, text_options
from tinybert.export.predictions import ReadAs, Text, Windows
from tinybert.export.reading import TextReader, label_prediction
from tinybert.export.source import SourceRequest, find_network

LONG = " ".join(["river", "town", "the", "house", "cold", "stone"] * 15)
TAGS = {"task_type": '"ner"', "assessment_method": '"entity_f1"'}


def reader_of(run, root, **windows):
    source = find_network(SourceRequest(run, root, None, None, VOCAB, True))
    return TextReader.of(source, ReadAs(windows=Windows(**windows)))


@pytest.mark.parametrize("joined", ["mean", "max"])
def test_a_long_text_has_the_joined_logits_of_its_windows(call, tmp_path, joined):
    run, bert = task_run(tmp_path, width=3, labels=["a", "b", "c"])
    options = ("--windows", joined, "--stride", "20")
    answers = json_lines(call, run, *options, *text_options([LONG, "a river"]))
    reader = reader_of(run, tmp_path, joined_by=joined, stride=20)
    readings = reader.read([Text("x", LONG)])
    assert readings.texts == [0] * len(readings.rows)
    assert [len(row.input_ids) for row in readings.rows[:-1]] == [32] * (len(readings.rows) - 1)
    tokens = reader.encoder.tokenizer.encode(LONG, add_special_tokens=False).ids
    assert len(readings.rows) == 1 + -(-(len(tokens) - 30) // 20)
    pieces = [row.input_ids[1:-1] for row in readings.rows]
    assert [token for piece in pieces[:-1] for token in piece[:20]] + pieces[-1] == tokens
    every = []
    for row in readings.rows:
        ids = np.array([row.input_ids], np.int32)
        last = bert(ids, 0 * ids, ids * 0 + 1)[0][-1]
        every.append(bert.linear("classifier", np.tanh(bert.linear("pooler.dense", last[:, 0])))[0])
    wanted = label_prediction(
        reader.head, reader.names, LONG, False, getattr(np, joined)(every, axis=0)
    )
    assert list(answers[0]["probabilities"].values()) == pytest.approx(
        list(wanted.probabilities.values()), abs=1e-4
    )
    assert answers[0]["truncated"] is False
    (plain,) = json_lines(call, run, "--text", "a river")
    assert answers[1]["probabilities"] == pytest.approx(plain["probabilities"], abs=1e-6)


def test_a_word_has_the_tag_of_the_window_in_whose_middle_it_is_nearest(tmp_path):
    run, _ = task_run(tmp_path, width=3, labels=["O", "B-A", "B-B"], **TAGS)
    reader = reader_of(run, tmp_path, joined_by="central", stride=10)
    words = LONG.split()[:40]
    readings = reader.read([Text("x", " ".join(words))])
    windows = len(readings.rows)
    assert windows > 1
    logits = []
    for number, row in enumerate(readings.rows):  # every window has a tag of its own
        values = np.zeros((len(row.input_ids), 3))
        values[:, 1 + number % 2] = 1
        logits.append(values)
    (prediction,) = readings.predictions(logits)
    assert len(prediction.entities) == len(words)  # each word is an entity of one window's kind
    for word, entity in enumerate(prediction.entities):
        middles = []
        for number, row in enumerate(readings.rows):
            if word in row.label:
                at = row.label.index(word)
                middles.append((min(at, len(row.label) - 1 - at), -number))
        nearest = -max(middles)[1]
        assert entity.type == "AB"[nearest % 2]


@pytest.mark.parametrize(
    ("kind", "options", "message"),
    [
        ({}, ("--windows", "central"), "--windows central does not join the predictions of"),
        (TAGS, ("--windows", "mean"), "use --windows central"),
        ({}, ("--stride", "3"), "--stride is for --windows"),
        ({}, ("--windows", "max", "--stride", "31"), "a stride of 31 tokens leaves some out"),
        ({}, ("--windows", "max", "--pairs"), "--windows is for texts, not for pairs of them"),
        ({}, ("--max-answer-length", "3"), "is for networks that answer questions"),
        ({}, ("--records", "x"), "--text, --records and --submission exclude each other"),
        ({}, ("--test", "x"), "a submission needs a test file and an output"),
    ],
)
def test_options_that_do_not_go_with_the_network_are_refused(
    call, tmp_path, kind, options, message
):
    run, _ = task_run(tmp_path, labels=["O", "B-A"], **kind)
    code, text = call("predict", run, "--vocab", VOCAB, "--text", "a", *options)
    assert (code, message in text) == (2, True), text


@pytest.fixture
def prepare(capsys, tmp_path):
    """Prepare a file; returns the directory."""

    def make(*arguments, content, name="in.tsv"):
        path = tmp_path / name
        path.write_text(content)
        output = tmp_path / "rows"
        common = ("--lowercase", "--vocab", VOCAB, "--seq-length", "32", "--output", output)
        code = runner.main([*map(str, ("prepare", *arguments, path, *common))])
        assert code == 0
        capsys.readouterr()
        return output

    return make


@pytest.mark.parametrize(
    ("arguments", "content"),
    [
        (("table", "--text", "t"), "t\na river\nthe cold town\n"),
        (("table", "--text", "t", "--label", "l"), "t\tl\na river\tx\nthe cold town\ty\n"),
        (("glue", "SST-2", "--unlabelled"), "index\tsentence\n0\ta river\n1\tthe cold town\n"),
    ],
)
def test_rows_of_records_are_predicted_with_or_without_labels(
    call, tmp_path, prepare, arguments, content
):
    run, _ = task_run(tmp_path, labels=["indoors", "outdoors"])
    rows = prepare(*arguments, content=content)
    from_rows = json_lines(call, run, "--records", rows)
    from_texts = json_lines(call, run, *text_options(["a river", "the cold town"]))
    for row, text in zip(from_rows, from_texts, strict=True):
        assert row["text"] == text["text"]
        assert row["probabilities"] == pytest.approx(text["probabilities"], abs=1e-6)


def test_records_of_another_vocabulary_are_refused(call, tmp_path, prepare):
    run, _ = task_run(tmp_path)
    rows = prepare("table", "--text", "t", content="t\na river\n")
    code, text = call("predict", run, "--vocab", VOCAB, "--cased", "--records", rows)
    assert code == 2, text
    code, text = call("predict", run, "--vocab", VOCAB, "--records", tmp_path / "none")
    assert (code, "the directory holds no records.json" in text) == (2, True), text


def test_a_submission_of_glue_has_the_official_labels(call, tmp_path):
    run, _ = task_run(tmp_path, labels=["Entailment", "not_entailment"])
    test = tmp_path / "test.tsv"
    test.write_text("index\tsentence1\tsentence2\n7\ta town\tthe river\n9\tcold\tstone\n")
    options = ("--vocab", VOCAB, "--submission", "RTE", "--test", test, "--output", tmp_path / "s")
    code, text = call("predict", run, *options)
    assert (code, text) == (0, "DIR/s/RTE.tsv: 2 predictions\n")
    pairs = json_lines(call, run, "--pairs", *text_options(["a town\tthe river", "cold\tstone"]))
    expected = [f"{at}\t{p['label'].lower()}\n" for at, p in zip((7, 9), pairs, strict=True)]
    assert (tmp_path / "s/RTE.tsv").read_text() == "index\tprediction\n" + "".join(expected)
    code, text = call("predict", run, *options)
    assert (code, "the file exists" in text) == (2, True)
    code, text = call("predict", run, *options, "--force")
    assert code == 0, text


def test_labels_of_prepared_records_keep_the_official_order(call, tmp_path):
    names = ("negative", "positive")
    records = prepared_task(tmp_path, name="SST-2", labels=names)
    run, _ = task_run(tmp_path, labels=list(names), records=records)
    test = tmp_path / "test.tsv"
    test.write_text("index\tsentence\n0\ta town\n")
    options = ("--vocab", VOCAB, "--test", test, "--output", tmp_path / "s", "--submission")
    code, text = call("predict", run, *options, "SST-2")
    assert code == 0, text
    (plain,) = json_lines(call, run, "--text", "a town")
    line = (tmp_path / "s/SST-2.tsv").read_text().splitlines()[1]
    assert line == f"0\t{names.index(plain['label'])}"
    code, text = call("predict", run, *options, "CoLA")
    assert code == 2
    assert "the network's labels, `negative`, `positive`, are not those of CoLA: `0`, `1`" in text
    code, text = call("predict", run, *options, "STS-B")
    assert (code, "the network has learned classification; STS-B is regression" in text) == (
        2,
        True,
    )


def test_numbers_are_within_those_of_sts_b(call, tmp_path):
    kind = {"task_type": '"regression"', "assessment_method": '"pearson"'}
    run, _ = task_run(tmp_path, width=1, **kind)
    test = tmp_path / "test.tsv"
    test.write_text("index\tsentence1\tsentence2\n0\ta town\tthe river\n")
    options = (
        "--vocab",
        VOCAB,
        "--submission",
        "STS-B",
        "--test",
        test,
        "--output",
        tmp_path / "s",
    )
    code, text = call("predict", run, *options)
    assert code == 0, text
    (plain,) = json_lines(call, run, "--pairs", "--text", "a town\tthe river")
    line = (tmp_path / "s/STS-B.tsv").read_text().splitlines()[1]
    assert line == f"0\t{min(5, max(0, plain['value'])):.3f}"


def test_submissions_of_clue_are_json_lines(call, tmp_path):
    run, _ = task_run(tmp_path, width=3, labels=["O", "B-name", "I-name"], **TAGS)
    test = tmp_path / "test.json"
    test.write_text('{"id": 3, "text": "theriver"}\n')
    options = ("--vocab", VOCAB, "--test", test, "--output", tmp_path / "s", "--submission")
    code, text = call("predict", run, *options, "CLUENER")
    assert code == 0, text
    (plain,) = json_lines(call, run, "--characters", "--text", "theriver")
    (line,) = map(json.loads, (tmp_path / "s/cluener_predict.json").read_text().splitlines())
    assert line["id"] == 3
    found = sorted(
        [first, last, text]
        for text, places in line["label"].get("name", {}).items()
        for first, last in places
    )
    assert found == sorted([e["first"], e["last"], e["text"]] for e in plain["entities"])
    test.write_text('{"text": "theriver"}\n')
    code, text = call("predict", run, *options, "CLUENER", "--force")
    assert (code, "the line has no `id`, or no text" in text) == (2, True), text
