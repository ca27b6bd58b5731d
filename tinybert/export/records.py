"""Prepared records in, predictions out: for rows without labels, such as a test set."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tinybert.data.importing import STORES, import_records
from tinybert.data.questions import QuestionSet, find_questions
from tinybert.data.rows import RowFormat
from tinybert.data.sidecar import NAME, VOCABULARY, Sidecar, load_sidecar
from tinybert.data.source import RecordSource
from tinybert.data.store import TokenStore
from tinybert.errors import InputError, UsageError
from tinybert.export.answers import AnswerPrediction, answer_prediction
from tinybert.export.predict import GROUP, network_logits, require_finite
from tinybert.export.predictions import Logits
from tinybert.export.reading import TextPrediction, label_names, label_prediction, require_head
from tinybert.export.source import Source
from tinybert.metrics.answers import AnswerOptions, best_answers
from tinybert.prepare.encode import EncodedRow
from tinybert.prepare.vocabulary import load_vocabulary
from tinybert.report.texts import RowTexts


def predict_records(
    source: Source, directory: Path, root: Path, options: AnswerOptions
) -> Iterator[TextPrediction]:
    """Yield what the network predicts for each row of prepared records, or for each question.

    Labels that they have are not read. A row's text is what the network reads of it; that of an
    answer is the id of its question.

    Args:
        source: The network.
        directory: Where `prepare` made the records.
        root: The records are imported into its `runs/store`.
        options: Of question answering.

    Raises:
        InputError: The records are missing or damaged, or of another vocabulary, or the network's
            outputs are not finite.
        UsageError: The network has no head, or one for tags: records do not have the words.
    """
    head = require_head(source)
    if head.task_type == "ner":
        raise UsageError(
            "records do not say what the words of their texts are", cure="predict the texts"
        )
    records, sidecar = _find(source, directory)
    store = import_records(records, root / STORES)
    if head.task_type == "question_answering":
        yield from _answers(source, records, store, options)
        return
    names, tokens = label_names(source, head), _tokens(directory)
    cut = sidecar.counts.get("truncated_rows") == sidecar.rows  # of a row it is not known
    for first, rows, every in _logits(source, store):
        for row, (encoded, logits) in enumerate(zip(rows, every, strict=True), first):
            text = RowTexts({row: [tokens[token] for token in encoded.input_ids]}).text(row)
            yield label_prediction(head, names, text, cut, logits)


def _answers(
    source: Source, records: RecordSource, store: TokenStore, options: AnswerOptions
) -> Iterator[AnswerPrediction]:
    """Yield the answer to each question, whose id stands for its text."""
    questions = QuestionSet.load(find_questions(records)[0])
    logits = [values for _, _, every in _logits(source, store) for values in every]
    answers = best_answers(questions, logits, options)
    for question, answer in zip(questions.questions, answers, strict=True):
        yield answer_prediction(question.id, False, answer)


def _find(source: Source, directory: Path) -> tuple[RecordSource, Sidecar]:
    """Return the records in a directory, which must be of the network's vocabulary."""
    sidecar = load_sidecar(directory)
    if sidecar is None:
        cure = "name records that `prepare` made"
        raise InputError(f"the directory holds no {NAME}", where=str(directory), cure=cure)
    vocab, tokenizer = source.require_tokenizer()
    prepared = sidecar.vocabulary
    same = load_vocabulary(vocab).sha256 == prepared.sha256
    if not same or tokenizer.options != prepared.tokenizer:
        raise InputError(
            "the records were made with another vocabulary, or read otherwise, than the network's",
            where=str(directory),
            cure=f"prepare them anew with --vocab {vocab} {tokenizer.options}",
        )
    config = source.network.config
    absolute = directory.absolute()
    schema = str(absolute / "schema.json") if sidecar.dataset_type == "tfrecord" else None
    records = RecordSource.find(
        str(absolute),
        absolute.parent,
        dataset_type=sidecar.dataset_type,
        schema_dir=schema,
        format=RowFormat(
            seq_length=sidecar.seq_length,
            vocab_size=config.vocab_size,
            type_vocab_size=config.type_vocab_size,
            input_mask_from_dataset=True,
            token_type_ids_from_dataset=True,
        ),
    )
    return records, sidecar


def _logits(
    source: Source, store: TokenStore
) -> Iterator[tuple[int, list[EncodedRow], list[Logits]]]:
    """Yield the first of some rows, the rows, and their logits."""
    logits_of = network_logits(source)
    for first in range(0, store.rows, GROUP):
        indices = np.arange(first, min(store.rows, first + GROUP))
        batch, lengths = store.batch(indices), store.lengths[indices].tolist()
        rows = [
            EncodedRow(ids[:length].tolist(), segments[:length].tolist())
            for ids, segments, length in zip(
                batch.input_ids, batch.segment_ids, lengths, strict=True
            )
        ]
        logits = logits_of(rows)
        require_finite(logits, [f"row {row}" for row in indices], source)
        yield first, rows, logits


def _tokens(directory: Path) -> list[str]:
    return list(load_vocabulary(directory / VOCABULARY).ids)
