import json

import pytest

from tests.prepare.conftest import prepare_ner
from tinybert.data.labels import IGNORED as X
from tinybert.data.labels import labels
from tinybert.errors import InputError
from tinybert.prepare.ner import sort_tags

PAD, UNK, CLS, SEP, A, B, C, D, E, DOT, COMMA, QUOTE, S, T, CAFE, ZH, GUO, YIN, HANG = range(19)
CLUENER = (
    '{"text": "中国银行a", "label": {"company": {"中国银行": [[0, 3]]}, "name": {"a": [[4, 4]]}}}\n'
    '{"text": "a 国", "label": {"address": {"a 国": [[0, 2]]}}}\n'
)


def cluener(*paths, options):
    return prepare_ner(paths, options, "cluener")


@pytest.mark.parametrize("format", ["tfrecord", "mindrecord"])
def test_every_chinese_character_is_a_token_with_a_tag(format, write, options, read_batch):
    sidecar = cluener(write("dev.json", CLUENER), options=options(format=format))
    names = labels(options().output)
    assert len(names) == 21 and names[:3] == ("O", "B-address", "I-address")
    batch = read_batch(options().output, "token", format)
    assert batch.input_ids.tolist() == [
        [CLS, ZH, GUO, YIN, HANG, A, SEP, PAD],
        [CLS, A, GUO, SEP, PAD, PAD, PAD, PAD],
    ]
    company, name, address = (names.index(f"B-{kind}") for kind in ("company", "name", "address"))
    assert batch.label_ids.tolist() == [
        [X, company, company + 1, company + 1, company + 1, name, X, X],
        [X, address, address + 1, X, X, X, X, X],  # white space has no token
    ]
    assert sidecar.task.ignored_label == X
    assert sum(sidecar.task.label_counts) == 7
    assert sidecar.counts["entities"] == sidecar.counts["kept_entities"] == 3


def test_of_overlapping_entities_the_longest_stays(write, options, read_batch):
    label = {"name": {"a": [[0, 0]]}, "book": {"abc": [[0, 2]]}, "game": {"c": [[2, 2]]}}
    path = write("dev.json", json.dumps({"text": "abcd", "label": label}))
    sidecar = cluener(path, options=options())
    names = labels(options().output)
    book = names.index("B-book")
    row = read_batch(options().output, "token").label_ids[0].tolist()
    assert row == [X, book, book + 1, book + 1, 0, X, X, X]
    assert sidecar.counts["overlapping_entities"] == 2
    assert sidecar.counts["entities"] == 1


def test_conll_is_read_with_tabs_or_spaces_and_the_tag_last(write, options, read_batch):
    first = "-DOCSTART- -X- -X- O\n\na NNP B-NP B-PER\nbst NN I-NP I-PER\n. . O O\n\n\n"
    second = "c\tB-LOC\r\n\r\nd d\tO"
    paths = [write("one", first), write("two", second)]
    sidecar = prepare_ner(paths, options())
    assert sidecar.task.labels == ("O", "B-LOC", "B-PER", "I-PER")
    assert sidecar.task.label_counts == (2, 1, 1, 1)
    batch = read_batch(options().output, "token")
    assert batch.input_ids.tolist() == [
        [CLS, A, B, S, T, DOT, SEP, PAD],
        [CLS, C, SEP, PAD, PAD, PAD, PAD, PAD],
        [CLS, D, D, SEP, PAD, PAD, PAD, PAD],
    ]
    assert batch.label_ids.tolist() == [
        [X, 2, 3, X, X, 0, X, X],
        [X, 1, X, X, X, X, X, X],
        [X, 0, X, X, X, X, X, X],
    ]


def test_only_tabs_and_spaces_part_columns(write, options, read_batch):
    content = "\ufeffa\u00a0b  B-LOC \n\u3000 O\n \t\nc O\n"
    sidecar = prepare_ner([write("raw", content)], options())
    assert (sidecar.counts["words"], sidecar.counts["entities"]) == (3, 1)
    batch = read_batch(options().output, "token")
    assert batch.input_ids[:, :4].tolist() == [[CLS, A, B, SEP], [CLS, C, SEP, PAD]]
    assert batch.label_ids[:, :4].tolist() == [[X, 1, X, X], [X, 0, X, X]]


def test_entities_that_truncation_takes_away_show_in_the_counts(write, options):
    path = write("dev", "a O\nb O\nc O\nd O\ne O\na B-x\nb B-x\n")
    sidecar = prepare_ner([path], options())
    assert (sidecar.counts["entities"], sidecar.counts["kept_entities"]) == (2, 1)
    assert (sidecar.counts["truncated_rows"], sidecar.counts["words"]) == (1, 7)


def test_the_tag_order_of_other_records_can_be_taken_over(write, options):
    train = write("train.txt", "a B-x\nb I-x\nc B-y\nd O\n")
    dev = write("dev.txt", "a B-y\n")
    prepare_ner([train], options("train"))
    sidecar = prepare_ner([dev], options("dev"), labels_from=options("train").output)
    assert sidecar.task.labels == ("O", "B-x", "I-x", "B-y")
    assert sidecar.task.label_counts == (0, 0, 0, 1)
    assert sort_tags(["I-a", "B-b", "B-a", "O"]) == ["O", "B-a", "I-a", "B-b"]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({"text": 3, "label": {}}, "`text` is missing, or no text\n  --> {0}:1"),
        (
            {"id": 0, "text": "ab"},
            "`label` is missing, or no object\n  --> {0}:1\n"
            "help: records of tags need labels: predict a test set from its texts",
        ),
        (
            {"text": "ab", "label": {"name": {"b": [[0, 0]]}}},
            "the text does not hold `b` at [0, 0]\n  --> {0}:1",
        ),
        (
            {"text": "ab", "label": {"name": {"b": [[1, 2]]}}},
            "the text does not hold `b` at [1, 2]\n  --> {0}:1",
        ),
        (
            {"text": "ab", "label": {"name": {"b": [[1.0, 1]]}}},
            "the text does not hold `b` at [1.0, 1]\n  --> {0}:1",
        ),
        (
            {"text": "ab", "label": {"name": {"b": [[True, 1]]}}},
            "the text does not hold `b` at [True, 1]\n  --> {0}:1",
        ),
        (
            {"text": "ab", "label": {"name": {"b": [[1e999, 1]]}}},
            "the line is not JSON: Infinity is no number of JSON\n  --> {0}:1",
        ),
        (
            {"text": "ab", "label": {"name": [[0, 0]]}},
            "`label` is not {{type: {{surface: [[first, last], ...]}}}}\n  --> {0}:1",
        ),
        (
            {"text": "", "label": {}},
            "a text is empty, or has no tokens\n  --> {0}:1",
        ),
    ],
)
def test_a_bad_cluener_line_is_one_clear_error(line, message, tmp_path, write, options):
    path = write("dev.json", json.dumps(line))
    with pytest.raises(InputError) as error:
        cluener(path, options=options())
    assert str(error.value) == message.format(path)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["dev.json", "vocab.txt"]


def test_an_unknown_entity_type_names_the_line_and_the_tags(write, options):
    line = json.dumps({"text": "ab", "label": {"goverment": {"a": [[0, 0]]}}})
    path = write("dev.json", line)
    with pytest.raises(
        InputError, match="`B-goverment` is not a label of this task: `O`, "
    ) as error:
        cluener(path, options=options())
    assert error.value.where == f"{path}:1"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a O\nb\n", "the line is not a word and a tag\n  --> {0}:2"),
        ("a\tO\n\tO\n", "the line is not a word and a tag\n  --> {0}:2"),
        ("\u00a0\n", "the line is not a word and a tag\n  --> {0}:1"),
        ("a\u00a0O\n", "the line is not a word and a tag\n  --> {0}:1"),
        (
            "a NN O\n\nb O\n",
            "the line has 2 columns; those above have 3\n  --> {0}:3\n"
            "help: part columns by spaces everywhere",
        ),
        (
            "a\tO\nb c\td\tO\n",
            "the line has 3 columns; those above have 2\n  --> {0}:2\n"
            "help: part columns by tabs everywhere",
        ),
        ("a O\nb\tc O\n", "the line has a tab; columns above part at spaces\n  --> {0}:2"),
        (
            "a O\nb PER\n",
            "`PER` is no tag: a tag is O, or B-, I-, E-, S- or M- and a type\n  --> {0}:2",
        ),
        (
            b"a O\n\xff O\n",
            "the line is not UTF-8\n  --> {0}:2\nhelp: convert the file, for example with iconv",
        ),
    ],
)
def test_a_bad_conll_line_is_one_clear_error(content, message, write, options):
    path = write("dev", content)
    with pytest.raises(InputError) as error:
        prepare_ner([path], options())
    assert str(error.value) == message.format(path)
    assert not options().output.exists()
