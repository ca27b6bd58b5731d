"""`prepare augment`: labelled texts -> records of the rows and of augmented ones."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from itertools import islice
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from tinybert.arithmetic import require_pinned
from tinybert.atomic import remove_leftovers
from tinybert.augment.masked_rows import MaskedRowMaker
from tinybert.augment.network import load_network
from tinybert.augment.options import AugmentOptions
from tinybert.augment.parts import Arguments, CandidateParts, TextIndex
from tinybert.augment.rows import RowAugmenter
from tinybert.augment.sources import CandidateSources
from tinybert.augment.word_vectors import WordVectors, read_word_vectors
from tinybert.augment.words import WordReader, read_kept_words
from tinybert.data.sidecar import PreparedAugmentation, Sidecar
from tinybert.device import prepare_environment, select
from tinybert.errors import DeviceError, InputError
from tinybert.export.source import Source
from tinybert.files import digest_file
from tinybert.kernels import loops
from tinybert.manifest.checkpoints import tensor_digest, tensor_table
from tinybert.model.names import WORD_EMBEDDINGS
from tinybert.prepare.records import (
    MIN_SEQ_LENGTH,
    Augmentation,
    PrepareOptions,
    TaskTexts,
    write_task,
)
from tinybert.prepare.vocabulary import Vocabulary, build_tokenizer, load_vocabulary
from tinybert.terminal import print_text

if TYPE_CHECKING:
    from tinybert.augment.masked import MaskedWords

TABLE = "rows.jsonl"
"""The texts of all records, beside them."""
UNFINISHED = ".parts"
"""What is added to an output's name for the folder of its unfinished work."""
_QUIET_SECONDS = 30
"""Between two reports of how many words are done, where there is no terminal."""
_EXAMPLES_AT_A_TIME = 1024


def prepare_augmented(
    texts: Callable[[], TaskTexts], records: PrepareOptions, options: AugmentOptions, samples: int
) -> Sidecar:
    """Make records of a task's rows, each followed by augmented ones; return their records.json.

    Candidates for all words are found first, part by part, in a folder beside the output. A process
    that was killed goes on where the last part ended, when it is started again.

    Args:
        texts: Returns the rows, which are read twice.
        records: The options of every `prepare`.
        options: Those of augmentation.
        samples: Augmented rows of a row (N).

    Raises:
        DeviceError: The processor has no portable arithmetic.
        InputError: A file is missing, damaged or not as described, or cannot be written.
        UsageError: An option cannot be honoured, or the output may not be replaced.
    """
    prepare_environment(os.cpu_count() or 1, {}, "portable")  # before the framework's import
    records.check(MIN_SEQ_LENGTH)
    options.check()
    vocabulary = load_vocabulary(records.vocab)
    network = load_network(options, records, vocabulary)
    vectors = read_word_vectors(options.word_vectors) if options.word_vectors else None
    reader = _reader(records, options, vocabulary, network)
    rows = texts()
    row_maker = None
    if options.masked_lm is not None and network is not None:
        original = options.context == "text_and_original"
        most_tokens = network.network.config.max_position_embeddings
        row_maker = MaskedRowMaker.of(vocabulary, original=original, most_tokens=most_tokens)
    index = _index(texts(), reader, row_maker)
    facts = _facts(options, network, samples)
    parts = CandidateParts(
        records.output.with_name(records.output.name + UNFINISHED), index, options.candidates
    )
    parts.begin(_arguments(records, facts, network, vocabulary, index), force=records.force)
    sources = _find(parts, index, reader, options, network, vectors, row_maker)
    augmenter = RowAugmenter(
        *(reader, parts.of, sources.text_of, parts.folder / TABLE),
        roles=[role for role in rows.task.columns if role != "label"],
        labels=rows.task.labels,
        counts=rows.counts,
        seed=options.seed,
        samples=samples,
        threshold=options.threshold,
    )
    remove_leftovers(records.output)
    made = write_task(rows, records, Augmentation(augmenter.expand, parts.folder / TABLE, facts))
    parts.remove()
    return made


def _reader(
    records: PrepareOptions,
    options: AugmentOptions,
    vocabulary: Vocabulary,
    network: Source | None,
) -> WordReader:
    """Return what finds words: as far as records have them, and the network reads."""
    tokenizer = build_tokenizer(vocabulary, records.tokenizer())
    most_tokens = records.seq_length
    if network is not None:
        most_tokens = min(most_tokens, network.network.config.max_position_embeddings)
    kept: frozenset[str] = frozenset()
    if options.keep_words is not None:
        kept = read_kept_words(options.keep_words, tokenizer)
    return WordReader(tokenizer, vocabulary, most_tokens - 2, kept)


def _index(texts: TaskTexts, reader: WordReader, row_maker: MaskedRowMaker | None) -> TextIndex:
    """Return the distinct texts of all rows."""
    index = TextIndex()
    examples = texts.examples()
    while block := list(islice(examples, _EXAMPLES_AT_A_TIME)):
        new: dict[str, str] = {}
        for example in block:
            for text in example.texts:
                if isinstance(text, str) and text not in index:
                    new.setdefault(text, example.where)
        for (text, where), read in zip(new.items(), reader.read(list(new)), strict=True):
            if not read.input_ids and not texts.allow_empty:
                raise InputError("a text is empty, or has no tokens", where=where)
            length = len(read.input_ids) if row_maker is None else row_maker.length(read)
            index.add(text, read, length)
    return index


def _facts(options: AugmentOptions, network: Source | None, samples: int) -> PreparedAugmentation:
    """Return what records.json has of an augmentation."""
    files = options.word_vectors, options.keep_words
    vectors, kept = (None if path is None else digest_file(path).sha256 for path in files)
    arrays = None if network is None else network.network.arrays
    one_piece = "masked_lm" if options.masked_lm is not None else "embeddings"
    return PreparedAugmentation.model_validate(
        {
            "table": TABLE,
            "one_piece_words": "word_vectors" if network is None else one_piece,
            "other_words": None if vectors is None else "word_vectors",
            "network_sha256": None if arrays is None else tensor_digest(tensor_table(arrays)),
            "word_vectors_sha256": vectors,
            "kept_words_sha256": kept,
            "context": options.context if options.masked_lm is not None else None,
            "threshold": options.threshold,
            "candidates": options.candidates,
            "samples": samples,
            "seed": options.seed,
        }
    )


def _arguments(
    records: PrepareOptions,
    facts: PreparedAugmentation,
    network: Source | None,
    vocabulary: Vocabulary,
    index: TextIndex,
) -> Arguments:
    """Return what the candidates depend on."""
    of_rows = {"table", "threshold", "samples", "seed"}
    return {
        "texts": index.sha256,
        "vocabulary": vocabulary.sha256,
        "tokenizer": str(records.tokenizer()),
        "seq_length": records.seq_length,
        **facts.model_dump(mode="json", exclude=of_rows),
        "network": None if network is None else str(network.network.config),
        "loops": loops.VERSION,
        "mindspore": version("mindspore"),
        "tokenizers": version("tokenizers"),
    }


def _find(
    parts: CandidateParts,
    index: TextIndex,
    reader: WordReader,
    options: AugmentOptions,
    network: Source | None,
    vectors: WordVectors | None,
    row_maker: MaskedRowMaker | None,
) -> CandidateSources:
    """Find and write the candidates of all parts that are not there; return their sources."""
    texts = index.parts()
    missing = [part for part in range(len(texts)) if not parts.has(part)]
    predicted = None
    if missing and network is not None and row_maker is not None:
        predicted = _masked_words(network, reader), row_maker
    embeddings = None
    if network is not None and row_maker is None:
        embeddings = network.network.arrays[WORD_EMBEDDINGS].astype("float32")
    sources = CandidateSources(
        reader, options.candidates, predicted=predicted, embeddings=embeddings, vectors=vectors
    )
    done = index.words - sum(map(index.words_of_part, missing))
    if done:
        print_text(f"going on after {done:,} of {index.words:,} words", sys.stderr)
    with _progress(done, index.words) as advance:
        for part in missing:
            parts.write(part, sources.find(reader.read(texts[part]), advance))
    return sources


def _masked_words(network: Source, reader: WordReader) -> "MaskedWords":
    """Return what predicts masked words, on the CPU and in portable arithmetic."""
    select("CPU", 0, os.cpu_count() or 1)
    try:
        require_pinned("portable")
    except DeviceError as error:
        cure = "augment on a processor with AVX2 and FMA"
        raise DeviceError(error.message, cure=cure) from error
    from tinybert.augment.masked import MaskedWords

    return MaskedWords(network, reader.word_tokens())


@contextmanager
def _progress(done: int, total: int) -> Iterator[Callable[[int], object]]:
    """Show how many words have candidates; yields what takes the number of those that are new."""
    console = Console(stderr=True)
    columns = BarColumn(), MofNCompleteColumn(), "words", TimeRemainingColumn()
    bar = Progress("candidates", *columns, console=console, disable=not console.is_terminal)
    reported = time.monotonic()

    def advance(words: int) -> None:
        nonlocal done, reported
        done += words
        bar.advance(task, words)
        if bar.disable and time.monotonic() - reported >= _QUIET_SECONDS:
            reported = time.monotonic()
            print_text(f"{done:,} of {total:,} words done", sys.stderr)

    with bar:
        task = bar.add_task("", total=total, completed=done)
        yield advance
