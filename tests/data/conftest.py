from dataclasses import replace

import numpy as np
import pytest

from tinybert.data.example import encode_examples
from tinybert.data.rows import RowFormat
from tinybert.data.source import RecordSource
from tinybert.data.tfrecord import write_records
from tinybert.prepare.corpus import prepare_corpus
from tinybert.prepare.records import PrepareOptions

FORMAT = RowFormat(4, 300, 2, input_mask_from_dataset=True, token_type_ids_from_dataset=True)


@pytest.fixture
def write_tfrecord():
    """Write columns {name: (rows, length) values} as a TFRecord file."""

    def write(path, columns):
        path.parent.mkdir(parents=True, exist_ok=True)
        arrays = {name: np.asarray(values) for name, values in columns.items()}
        with open(path, "wb") as file:
            write_records(file, encode_examples(arrays))

    return write


@pytest.fixture
def find(tmp_path):
    """Resolve `data_dir` below `tmp_path` with a row format of 4 tokens, or as `options` say."""

    def find_source(
        data_dir="records", dataset_type="tfrecord", schema_dir=None, root=tmp_path, **options
    ):
        return RecordSource.find(
            data_dir,
            root,
            dataset_type=dataset_type,
            schema_dir=schema_dir,
            format=replace(FORMAT, **options),
        )

    return find_source


@pytest.fixture
def columns():
    """Three legal rows of 4 tokens."""
    return {
        "input_ids": [[2, 299, 3, 0], [2, 130, 131, 3], [2, 3, 0, 0]],
        "input_mask": [[1, 1, 1, 0], [1, 1, 1, 1], [1, 1, 0, 0]],
        "segment_ids": [[0, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0]],
    }


@pytest.fixture(scope="session")
def prepare_text():
    """Prepare a lower-cased text with a vocabulary of these words, both written beside it."""

    def prepare(output, text, words, **changes):
        directory = output.parent
        (directory / "vocab.txt").write_text("".join(f"{word}\n" for word in words.split()))
        (directory / "text.txt").write_text(text)
        settings = {
            "vocab": directory / "vocab.txt",
            "output": output,
            "format": "tfrecord",
            "lowercase": True,
            "strip_accents": None,
            "tokenize_chinese_chars": None,
            "rows_per_file": 100,
            "force": False,
        }
        prepare_corpus(
            [str(directory / "text.txt")],
            PrepareOptions(**{**settings, **changes}),
            input_format=None,
            single_segments=True,
            seed=1,
        )

    return prepare
