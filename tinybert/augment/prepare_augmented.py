"""`prepare augment`: labelled texts -> records of the rows and of augmented ones."""

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

from tinybert.arithmetic import require_pinned
from tinybert.atomic import remove_leftovers
from tinybert.augment.inputs import TABLE, AugmentInputs
from tinybert.augment.options import AugmentOptions
from tinybert.augment.parts import CandidateParts, TextIndex
from tinybert.augment.rows import RowAugmenter
from tinybert.augment.sources import CandidateSources
from tinybert.augment.words import WordReader
from tinybert.data.sidecar import Sidecar
from tinybert.device import prepare_environment, select
from tinybert.errors import DeviceError
from tinybert.export.source import Source
from tinybert.model.names import WORD_EMBEDDINGS
from tinybert.prepare.records import (
    MIN_SEQ_LENGTH,
    Augmentation,
    PrepareOptions,
    TaskTexts,
    write_task,
)
from tinybert.terminal import print_text

if TYPE_CHECKING:
    from tinybert.augment.masked import MaskedWords

UNFINISHED = ".parts"
"""What is added to an output's name for the folder of its unfinished work."""
_QUIET_SECONDS = 30
"""Between two reports of how many words are done, where there is no terminal."""


def prepare_augmented(
    texts: Callable[[], TaskTexts], records: PrepareOptions, options: AugmentOptions
) -> Sidecar:
    """Make records of a task's rows, each followed by augmented ones; return their records.json.

    Candidates for all words are found first, part by part, in a folder beside the output. A process
    that was killed goes on where the last part ended, when it is started again.

    Args:
        texts: Returns the rows, which are read twice.
        records: The options of every `prepare`.
        options: Those of augmentation.

    Raises:
        DeviceError: The processor has no portable arithmetic.
        InputError: A file is missing, damaged or not as described, or cannot be written.
        UsageError: An option cannot be honoured, or the output may not be replaced.
    """
    prepare_environment(os.cpu_count() or 1, {}, "portable")  # before the framework's import
    records.check(MIN_SEQ_LENGTH)
    options.check()
    inputs = AugmentInputs.read(records, options)
    rows = texts()
    index, facts = inputs.index(texts()), inputs.facts()
    parts = CandidateParts(
        records.output.with_name(records.output.name + UNFINISHED), index, options.candidates
    )
    parts.begin(inputs.arguments(facts, index), force=records.force)
    sources = _find(inputs, index, parts)
    augmenter = RowAugmenter(
        reader=inputs.reader,
        candidates=parts.of,
        text_of=sources.text_of,
        table=parts.folder / TABLE,
        roles=[role for role in rows.task.columns if role != "label"],
        labels=rows.task.labels,
        counts=rows.counts,
        seed=options.seed,
        samples=options.samples,
        threshold=options.threshold,
    )
    remove_leftovers(records.output)
    made = write_task(rows, records, Augmentation(augmenter.expand, parts.folder / TABLE, facts))
    parts.remove()
    return made


def _find(inputs: AugmentInputs, index: TextIndex, parts: CandidateParts) -> CandidateSources:
    """Find and write the candidates of all parts that are not there; return their sources."""
    texts, network, reader = index.parts(), inputs.network, inputs.reader
    missing = [part for part in range(len(texts)) if not parts.has(part)]
    predicted = None
    embeddings = None
    if network is not None and inputs.row_maker is None:
        embeddings = network.network.arrays[WORD_EMBEDDINGS].astype("float32")
    elif missing and network is not None and inputs.row_maker is not None:
        predicted = _masked_words(network, reader), inputs.row_maker
    sources = CandidateSources(
        reader,
        inputs.options.candidates,
        predicted=predicted,
        embeddings=embeddings,
        vectors=inputs.vectors,
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
