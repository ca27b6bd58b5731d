import gzip
import json

import numpy as np
import pytest

from tests.prepare.conftest import CLS, QUOTE, SEP, A, B, C, D, prepare_glue, prepare_table
from tinybert.data.labels import labels
from tinybert.data.sidecar import load_sidecar
from tinybert.errors import InputError, UsageError
from tinybert.prepare.glue import GLUE_TASKS

MNLI_HEADER = (
    "index promptID pairID genre sentence1_binary_parse sentence2_binary_parse "
    "sentence1_parse sentence2_parse sentence1 sentence2 label1 gold_label"
)
RAW = {  # a training or dev file of each task, as its header and columns are published
    "CoLA": "gj04\t1\t\ta b\nks08\t0\t*\tc\n",
    "SST-2": "sentence\tlabel\na b \t1\nc\t0\n",
    "MRPC": "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String\r\n"
    "1\t7\t8\ta\tb\r\n0\t9\t9\tc\td\r\n",
    "STS-B": "index genre filename year old_index source1 source2 sentence1 sentence2 score\n"
    "0 g f 2012 1 none none a b 5.000\n1 g f 2012 2 none none c d 3.8\n".replace(" ", "\t"),
    "QQP": "id qid1 qid2 question1 question2 is_duplicate\n1 2 3 a b 1\n4 5 6 c d 0\n".replace(
        " ", "\t"
    ),
    "MNLI": f"{MNLI_HEADER}\n1 1 1 g p p p p a b neutral neutral\n"
    "2 2 2 g p p p p c d entailment contradiction\n".replace(" ", "\t"),
    "QNLI": "index\tquestion\tsentence\tlabel\n0\ta\tb\tnot_entailment\n1\tc\td\tentailment\n",
    "RTE": "index\tsentence1\tsentence2\tlabel\n0\ta\tb\tnot_entailment\n1\tc\td\tentailment\n",
    "WNLI": "index\tsentence1\tsentence2\tlabel\n0\ta\tb\t1\n1\tc\td\t0\n",
    "TNEWS": '{"label": "102", "label_desc": "news_entertainment", "sentence": "a b"}\n'
    '{"label": "100", "label_desc": "news_story", "sentence": "c"}\n',
}


@pytest.mark.parametrize("task", RAW)
def test_every_glue_task_is_read_by_its_own_columns(task, write, options, read_batch):
    path = write("dev.tsv", RAW[task])
    sidecar = prepare_glue(task, [path], options())
    kind = sidecar.task.label
    batch = read_batch(options().output, kind)
    pair = "text_pair" in sidecar.task.columns
    first = [CLS, A, SEP, B, SEP, 0, 0, 0] if pair else [CLS, A, B, SEP, 0, 0, 0, 0]
    second = [CLS, C, SEP, D, SEP, 0, 0, 0] if pair else [CLS, C, SEP, 0, 0, 0, 0, 0]
    assert batch.input_ids.tolist() == [first, second]
    assert batch.segment_ids.tolist() == [[0, 0, 0, 1, 1, 0, 0, 0] if pair else [0] * 8] * 2
    assert batch.input_mask.tolist() == [[int(id > 0) for id in row] for row in (first, second)]
    if kind == "number":
        assert batch.label_ids.tolist() == [5.0, np.float32(3.8)]
    else:
        names = labels(options().output)
        assert names == GLUE_TASKS[task].labels
        assert [names[label] for label in batch.label_ids] == {
            "MNLI": ["neutral", "contradiction"],
            "QNLI": ["not_entailment", "entailment"],
            "RTE": ["not_entailment", "entailment"],
            "TNEWS": ["102", "100"],
        }.get(task, ["1", "0"])


def test_label_orders_are_those_of_the_published_baselines():
    assert GLUE_TASKS["MNLI"].labels == ("contradiction", "entailment", "neutral")
    assert GLUE_TASKS["RTE"].labels == GLUE_TASKS["QNLI"].labels == ("entailment", "not_entailment")
    assert len(GLUE_TASKS["TNEWS"].labels) == 15
    assert not {"105", "111"} & set(GLUE_TASKS["TNEWS"].labels)


def test_records_json_says_what_the_labels_mean(write, options):
    path = write("train.tsv", "sentence\tlabel\na b c d e a b c d\t1\nc x\t0\n\nd\t1")
    prepare_glue("SST-2", [path], options())
    written = json.loads((options().output / "records.json").read_bytes())
    assert written["task"] == {
        "name": "SST-2",
        "label": "class",
        "labels": ["0", "1"],
        "label_counts": [1, 2],
        "ignored_label": None,
        "columns": {"text": "sentence", "label": "label"},
        "truncation": "longest_first",
    }
    assert written["counts"] == {
        "tokens": 15,
        "unknown": 1,
        "truncated_rows": 1,
        "cut_tokens": 3,
        "longest_row": 11,
    }
    assert (written["rows"], written["seq_length"]) == (3, 8)
    assert list(written["versions"]) == ["tokenizers"]


def test_quotes_are_characters(write, options, read_batch):
    path = write("dev.tsv", 'sentence\tlabel\n"a b\t1\nc " "\t0\n')
    prepare_glue("SST-2", [path], options())
    assert read_batch(options().output, "class").input_ids.tolist() == [
        [CLS, QUOTE, A, B, SEP, 0, 0, 0],
        [CLS, C, QUOTE, QUOTE, SEP, 0, 0, 0],
    ]


def test_only_qqp_leaves_out_broken_rows_and_keeps_empty_questions(write, options, read_batch):
    rows = "1\t2\t3\ta\t\t1\n4\t5\t6\tc d\n and e\t0\n7\t8\t9\tb\tc\t0\n"
    path = write("train.tsv", RAW["QQP"].split("\n")[0] + "\n" + rows)
    sidecar = prepare_glue("QQP", [path], options())
    assert (sidecar.rows, sidecar.counts["left_out_rows"]) == (2, 2)
    batch = read_batch(options().output, "class")
    assert batch.input_ids[0].tolist() == [CLS, A, SEP, SEP, 0, 0, 0, 0]
    assert batch.segment_ids[0].tolist() == [0, 0, 0, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("format", ["tfrecord", "mindrecord"])
@pytest.mark.parametrize("kind", ["class", "number"])
def test_both_record_formats_hold_the_same_rows_and_the_same_bytes_each_time(
    format, kind, write, options, read_batch
):
    path = write("dev.tsv", RAW["STS-B" if kind == "number" else "MNLI"])
    task = "STS-B" if kind == "number" else "MNLI"
    for output in ("one", "two"):
        prepare_glue(task, [path], options(output, format=format, rows_per_file=1))
    one, two = options("one").output, options("two").output
    names = sorted(file.name for file in one.iterdir())
    assert names == sorted(file.name for file in two.iterdir())
    for name in names:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name
    batch = read_batch(one, kind, format)
    assert batch.input_ids.tolist() == [
        [CLS, A, SEP, B, SEP, 0, 0, 0],
        [CLS, C, SEP, D, SEP, 0, 0, 0],
    ]
    assert batch.label_ids.tolist() == ([5, np.float32(3.8)] if kind == "number" else [2, 0])


@pytest.mark.parametrize("content", [None, "corpus"])
def test_labels_of_other_records_are_unknown(content, tmp_path, options, write, corpus):
    if content == "corpus":
        text = write("text.txt", "a b")
        corpus([text], options())
        assert load_sidecar(tmp_path / "records").task is None
    assert labels(tmp_path / "records") is None


GLUE_ERRORS = [
    (
        "SST-2",
        "index\tsentence\n0\ta\n",
        "column `label` is missing; found: `index`, `sentence`\n  --> {0}:1\n"
        "help: name existing columns; for a test set: --unlabelled, or no --label",
    ),
    ("CoLA", "index\tsentence\n0\ta\n", "the row has 2 columns, not 4\n  --> {0}:1"),
    (
        "RTE",
        RAW["RTE"] + "2\ta\tb\tyes\n",
        "`yes` is not a label of this task: `entailment`, `not_entailment`\n  --> {0}:4",
    ),
    (
        "SST-2",
        "sentence\tlabel\na\t-1\n",
        "`-1` is not a label of this task: `0`, `1`\n  --> {0}:2",
    ),
    ("SST-2", "sentence\tlabel\na\t1\n\t0\n", "a text is empty, or has no tokens\n  --> {0}:3"),
    ("SST-2", "sentence\tlabel\na\tb\t1\n", "the row has 3 columns, not 2\n  --> {0}:2"),
    (
        "SST-2",
        "",
        "column `sentence` is missing; found: none\n  --> {0}:1\n"
        "help: name existing columns; for a test set: --unlabelled, or no --label",
    ),
    ("SST-2", "sentence\tlabel\n", "the input holds no rows\n  --> {0}"),
    (
        "SST-2",
        b"sentence\tlabel\na\t1\n\xff\t1\n",
        "the line is not UTF-8\n  --> {0}:3\nhelp: convert the file, for example with iconv",
    ),
    ("STS-B", RAW["STS-B"].replace("3.8", "?"), "label `?` is no finite number\n  --> {0}:3"),
    *(
        (
            "STS-B",
            RAW["STS-B"].replace("3.8", number),
            f"label `{number}` is no finite number\n  --> {{0}}:3",
        )
        for number in ("nan", "inf", "1_0", "1e999", "\u0663.8", "0x1", "3,8", "3.8\u00a0")
    ),
    ("TNEWS", "[]\n", "the line is no JSON object\n  --> {0}:1"),
    (
        "TNEWS",
        '{"sentence": "a"\n',
        "the line is not JSON: Expecting ',' delimiter: line 1 column 17 (char 16)\n  --> {0}:1",
    ),
    (
        "TNEWS",
        '{"sentence": "\\ud800", "label": "100"}\n',
        "the line is not JSON: it holds half a surrogate pair\n  --> {0}:1",
    ),
    (
        "TNEWS",
        '{"sentence": "a", "label": NaN}\n',
        "the line is not JSON: NaN is no number of JSON\n  --> {0}:1",
    ),
    (
        "TNEWS",
        '{"sentence": "a", "label": "100", "label": "101"}\n',
        "the line is not JSON: key `label` is there twice\n  --> {0}:1",
    ),
    (
        "TNEWS",
        '{"sentence": "a", "label": 9007199254740993}\n',
        "column `label` holds 9007199254740993, which is not below 2**53\n  --> {0}:1\n"
        "help: write it as a text",
    ),
    (
        "TNEWS",
        gzip.compress(b"x", mtime=0),
        "the file is compressed with gzip\n  --> {0}:1\nhelp: unpack it",
    ),
    (
        "TNEWS",
        '{"sentence": null, "label": "100"}\n',
        "column `sentence` is neither a text nor a number\n  --> {0}:1",
    ),
]


@pytest.mark.parametrize(("task", "content", "message"), GLUE_ERRORS)
def test_a_bad_file_is_one_clear_error_and_leaves_nothing(
    task, content, message, tmp_path, write, options
):
    path = write("raw", content)
    with pytest.raises(InputError) as error:
        prepare_glue(task, [path], options())
    assert str(error.value) == message.format(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["raw", "vocab.txt"]


def test_the_output_is_replaced_only_when_asked_and_only_by_a_whole_one(tmp_path, write, options):
    good, bad = write("good", RAW["RTE"]), write("bad", RAW["RTE"] + "2\ta\n")
    prepare_glue("RTE", [good], options())
    before = {path.name: path.read_bytes() for path in options().output.iterdir()}
    with pytest.raises(UsageError, match="the output exists"):
        prepare_glue("RTE", [good], options())
    with pytest.raises(InputError, match="the row has 2 columns, not 4"):
        prepare_glue("RTE", [bad], options(force=True))
    assert {path.name: path.read_bytes() for path in options().output.iterdir()} == before
    assert prepare_glue("RTE", [good, good], options(force=True)).rows == 4


def test_missing_files_and_short_rows_are_errors(tmp_path, options):
    with pytest.raises(InputError) as error:
        prepare_glue("RTE", [tmp_path / "no.tsv"], options())
    assert str(error.value) == (
        f"cannot be read: No such file or directory\n  --> {tmp_path / 'no.tsv'}"
    )
    with pytest.raises(UsageError, match="seq_length is at least 5, rows_per_file at least 1"):
        prepare_glue("RTE", [tmp_path / "no.tsv"], options(seq_length=4))


def test_the_tokenizer_options_of_the_model_are_taken_and_recorded(vocab, write, options):
    path = write("in.tsv", "t\tl\na\tx\nb\ty\n")
    write("tokenizer_config.json", json.dumps({"do_lower_case": True, "strip_accents": False}))
    sidecar = prepare_table([path], options(lowercase=None))
    assert (sidecar.vocabulary.lowercase, sidecar.vocabulary.strip_accents) == (True, False)
    assert sidecar == load_sidecar(options().output)
    same = options("same", lowercase=True, strip_accents=False, tokenize_chinese_chars=True)
    assert prepare_table([path], same).vocabulary == sidecar.vocabulary
    for name, value in (
        ("lowercase", False),
        ("strip_accents", True),
        ("tokenize_chinese_chars", False),
    ):
        with pytest.raises(UsageError) as error:
            prepare_table([path], options("other", **{"lowercase": None, name: value}))
        assert str(error.value) == (
            "tokenizer_config.json beside the vocabulary has other options: --lowercase "
            f"--no-strip-accents\n  --> {vocab.parent / 'tokenizer_config.json'}\n"
            "help: leave them out, or name a vocabulary without that file"
        )


def test_labels_of_glue_may_have_other_names(write, options, read_batch):
    path = write("dev.tsv", RAW["SST-2"])
    names = ["0=negative", "1=positive"]
    sidecar = prepare_glue("SST-2", [path], options(), label_names=names)
    assert sidecar.task.labels == ("negative", "positive")
    assert read_batch(options().output, "class").label_ids.tolist() == [1, 0]


@pytest.mark.parametrize(
    ("task", "names", "message"),
    [
        ("SST-2", ["2=x"], "`2` is not a label here: `0`, `1`"),
        ("SST-2", ["1=x", "1=y"], "label `1` has two names"),
        ("SST-2", ["1=0"], "label `0` is named twice"),
        ("SST-2", ["positive"], "`positive` is not LABEL=NAME"),
        ("SST-2", ["1="], "`1=` is not LABEL=NAME"),
        ("STS-B", ["1=x"], "labels that are numbers have no names"),
    ],
)
def test_names_that_fit_no_label_are_refused(task, names, message, write, options):
    with pytest.raises(UsageError) as error:
        prepare_glue(task, [write("dev.tsv", RAW[task])], options(), label_names=names)
    assert error.value.message == message
