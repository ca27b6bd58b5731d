import numpy as np
import pytest

from tinybert.data.importing import import_records
from tinybert.data.rows import RowFormat
from tinybert.data.source import RecordSource
from tinybert.prepare.corpus import prepare_corpus
from tinybert.prepare.ner import ner_texts
from tinybert.prepare.records import PrepareOptions, write_task
from tinybert.prepare.sentences import TableOptions, glue_texts, table_texts

WORDS = """[PAD] [UNK] [CLS] [SEP] a b c d e . , " ##s ##t café 中 国 银 行""".split()
PAD, UNK, CLS, SEP, A, B, C, D, E, DOT, COMMA, QUOTE, S, T = range(14)
TABLE = {
    "text": "t",
    "text_pair": None,
    "label": "l",
    "label_kind": "class",
    "labels": None,
    "labels_from": None,
    "input_format": None,
    "label_separator": None,
}


def prepare_glue(task, inputs, options, label_names=None):
    return write_task(glue_texts(task, inputs, label_names=label_names), options)


def prepare_ner(inputs, options, input_format="conll", **labels):
    labels = {"labels": None, "labels_from": None, **labels}
    return write_task(ner_texts(inputs, input_format=input_format, **labels), options)


def prepare_table(inputs, options, **changes):
    return write_task(table_texts(inputs, TableOptions(**{**TABLE, **changes})), options)


@pytest.fixture
def vocab(tmp_path):
    path = tmp_path / "vocab.txt"
    path.write_text("".join(f"{word}\n" for word in WORDS))
    return path


@pytest.fixture
def options(tmp_path, vocab):
    """Options of a `prepare` into a directory of this name, of 8 tokens a row."""

    def make(output="records", **changes):
        settings = {
            "vocab": vocab,
            "output": tmp_path / output,
            "seq_length": 8,
            "format": "tfrecord",
            "lowercase": False,
            "strip_accents": None,
            "tokenize_chinese_chars": None,
            "rows_per_file": 100,
            "force": False,
        }
        return PrepareOptions(**{**settings, **changes})

    return make


@pytest.fixture
def corpus(options):
    """Options of a corpus with rows of one segment, or as `changes` name them."""

    def prepare(inputs, options, **changes):
        settings = {"input_format": None, "single_segments": True, "seed": 1}
        return prepare_corpus([str(path) for path in inputs], options, **{**settings, **changes})

    return prepare


@pytest.fixture
def write(tmp_path):
    """Write a raw file, as text or bytes; returns its path."""

    def write_file(name, content):
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_file


@pytest.fixture
def read_batch(tmp_path):
    """Import prepared records as a run does, and return all rows as a batch."""

    def read(directory, label, dataset_type="tfrecord", seq_length=8, num_labels=None):
        source = RecordSource.find(
            str(directory),
            tmp_path,
            dataset_type=dataset_type,
            schema_dir=str(directory / "schema.json") if dataset_type == "tfrecord" else None,
            format=RowFormat(seq_length, len(WORDS), 2, True, True, label, num_labels),
        )
        store = import_records(source, tmp_path / "store")
        return store.batch(np.arange(store.rows))

    return read
