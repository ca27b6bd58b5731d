"""Predictions of masked words, against NumPy and against themselves in other company."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.augment.conftest import CONFIG, IDS, WORDS, head_weights, save_network
from tests.conftest import ROOT
from tests.model.networks import random_weights, tiny
from tests.model.numpy_bert import ACTIVATIONS, NumpyBert
from tinybert.augment.largest import NONE
from tinybert.augment.masked import MaskedWords, batch_shape
from tinybert.augment.masked_rows import MaskedRowMaker
from tinybert.augment.words import ReadText, Word
from tinybert.export.source import SourceRequest, find_network

MAKER = MaskedRowMaker(IDS["[CLS]"], IDS["[SEP]"], IDS["[MASK]"], False, 40)
WIDE = tiny(
    vocab_size=3000,
    max_position_embeddings=64,
    hidden_size=384,
    num_attention_heads=12,
    intermediate_size=1536,
)


def source(folder):
    return find_network(SourceRequest(folder, Path(), None, None, None, None), pooler=False)


def text(*tokens):
    """Return a text of tokens that are all words of one piece."""
    words = [Word(0, 0, "", place, token) for place, token in enumerate(tokens)]
    return ReadText(list(tokens), words)


def by_hand(config, row):
    """Return the logits (V,) at a row's masked token."""
    bert = NumpyBert(config, random_weights(config) | head_weights(config))
    inputs = (row.input_ids, row.segment_ids, np.ones(len(row.input_ids)))
    last = bert(*(np.array([each], np.int32) for each in inputs))[0][-1][0, row.position]
    x = ACTIVATIONS[config.hidden_act](bert.linear("cls.predictions.transform.dense", last))
    x = bert.norm("cls.predictions.transform.LayerNorm", x)
    table = bert.weights["embeddings.word_embeddings.weight"]
    return x @ table.T + bert.weights["cls.predictions.bias"]


def test_a_row_has_the_text_with_one_word_masked_and_the_text_itself_if_asked_for():
    read = ReadText([5, 23, 21, 7], [Word(0, 0, "", 0, 5), Word(0, 0, "", 1, None),
                                     Word(0, 0, "", 3, 7)])  # fmt: skip
    assert [(row.input_ids, row.segment_ids, row.position) for row in MAKER.rows(read)] == [
        ([2, 4, 23, 21, 7, 3], [0] * 6, 1),
        ([2, 5, 23, 21, 4, 3], [0] * 6, 4),
    ]
    assert MAKER.length(read) == 6
    for most, second in ((40, [5, 23, 21, 7, 3]), (9, [5, 23, 3]), (8, [5, 3]), (7, []), (6, [])):
        maker = MaskedRowMaker(2, 3, 4, True, most)
        row = next(maker.rows(read))
        assert row.input_ids == [2, 4, 23, 21, 7, 3, *second]
        assert row.segment_ids == [0] * 6 + [1] * len(second)
        assert maker.length(read) == len(row.input_ids)


def test_predictions_are_those_of_numpy(network):
    token_ids = [5, 6, 7, 11, 12, 13, 25]
    texts = [text(5, 8, 9, 16, 11), text(7), text(*[6, 12, 9] * 6)]
    rows = [row for each in texts for row in MAKER.rows(each)]
    maker = MaskedRowMaker(2, 3, 4, True, 40)
    rows += list(maker.rows(text(7, 8)))
    masked, done = MaskedWords(source(network), token_ids), []
    found = masked.predict(rows, 9, done.append)
    assert sum(done) == len(rows) == 26
    for row, predicted in zip(rows, found, strict=True):
        wanted = by_hand(CONFIG, row)[token_ids]
        size, length = batch_shape(len(row.input_ids), 40)
        (logits,) = masked.logits([row], size, length)
        assert np.abs(logits - wanted).max() < 2e-4
        assert predicted.tolist() == [
            *(token_ids[i] for i in np.argsort(-logits, kind="stable")), NONE, NONE,
        ]  # fmt: skip


def test_a_batch_has_one_shape_for_each_length_of_rows():
    shapes = {batch_shape(tokens, 512) for tokens in range(3, 513)}
    lengths = [16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512]
    assert sorted(length for _, length in shapes) == lengths
    assert all(size * length == 1536 for size, length in shapes)
    assert batch_shape(3, 10) == (96, 10)
    assert batch_shape(2000, 4096) == (1, 2048)


COMPANY = """
import sys
from pathlib import Path
from tinybert.device import prepare_environment, select
prepare_environment(2, {}, "portable")
select("CPU", 0, 2)
import numpy as np
from tinybert.arithmetic import require_pinned
from tinybert.augment.masked import MaskedWords, batch_shape
from tinybert.augment.masked_rows import MaskedRow
from tinybert.export.source import SourceRequest, find_network
require_pinned("portable")
request = SourceRequest(Path(sys.argv[1]), Path(), None, None, None, None)
source = find_network(request, pooler=False)
masked = MaskedWords(source, range(3000))
generator = np.random.default_rng(2)
for least, most in ((3, 16), (17, 24), (25, 32), (33, 48), (49, 64)):
    shape = batch_shape(most, 64)
    lengths = generator.integers(least, most + 1, shape[0])
    rows = [MaskedRow(generator.integers(5, 3000, n), np.zeros(n), n // 2) for n in lengths]
    together = masked.logits(rows, *shape)
    order = generator.permutation(len(rows))
    assert (masked.logits([rows[i] for i in order], *shape) == together[order]).all(), most
    for count in (1, len(rows) // 2):
        assert (masked.logits(rows[-count:], *shape) == together[-count:]).all(), most
"""


def test_in_portable_arithmetic_a_rows_bits_depend_on_no_other_row_or_place(tmp_path):
    words = WORDS + [f"w{number}" for number in range(3000 - len(WORDS))]
    folder = save_network(tmp_path / "wide", WIDE, words=words)
    command = [sys.executable, "-c", COMPANY, str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_official_checkpoints_have_the_same_head(network, tmp_path):
    from tinybert.export.checkpoint import write_checkpoint

    wanted = MaskedWords(source(network), range(len(WORDS)))
    rows = list(MAKER.rows(text(5, 8, 9, 16, 11)))
    for family in ("mindspore", "mindspore-older"):
        folder = tmp_path / family
        folder.mkdir()
        write_checkpoint(source(network), family, folder / "bert.ckpt")
        (folder / "config.json").write_bytes((network / "config.json").read_bytes())
        found = MaskedWords(source(folder / "bert.ckpt"), range(len(WORDS)))
        assert (found.predict(rows, 9, int) == wanted.predict(rows, 9, int)).all()


@pytest.mark.parametrize("act", ["relu", "gelu_tanh"])
def test_the_head_has_the_networks_activation(tmp_path, act):
    name = {"gelu_tanh": "gelu_new"}.get(act, act)
    folder = save_network(tmp_path / "bert", tiny(**{**CONFIG.__dict__, "hidden_act": name}))
    (row,) = MAKER.rows(text(7))
    (logits,) = MaskedWords(source(folder), range(len(WORDS))).logits([row], *batch_shape(3, 40))
    wanted = by_hand(tiny(**{**CONFIG.__dict__, "hidden_act": act}), row)
    assert np.abs(logits - wanted).max() < 2e-4
