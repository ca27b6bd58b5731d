"""The command `prepare`: raw text to record files."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from tinybert.commands.argument_types import take
from tinybert.data.sidecar import Sidecar
from tinybert.errors import UsageError
from tinybert.prepare.records import PrepareOptions, TaskTexts, write_task
from tinybert.terminal import print_text


def prepare(what: str, **options: Any) -> str:
    """Carry out one of `prepare`'s kinds, whose options have the names of its parameters.

    Returns:
        What was made.
    """
    if what == "vocab":
        from tinybert.prepare.vocabulary_training import VocabularyOptions, prepare_vocabulary

        how = take(VocabularyOptions, options)
        return f"{how.output}: {prepare_vocabulary(options=how, **options):,} tokens"
    common = take(PrepareOptions, options)
    if what == "augment":
        made = augment(options=common, **options)
    elif what == "corpus":
        from tinybert.prepare.corpus import prepare_corpus

        made = prepare_corpus(options=common, **options)
    elif what == "qa":
        from tinybert.prepare.qa import prepare_qa

        made = prepare_qa(options=common, **options)
    else:
        made = write_task(_reader_of_texts(what, options)(), common)
    if common.case_is_missing():
        print_text(
            f"warning: no token of {common.vocab} has a capital: without --lowercase every word "
            "with a capital is unknown; --cased says that this is meant",
            sys.stderr,
        )
    counts = ", ".join(f"{count:,} {name}" for name, count in made.counts.items())
    return f"{common.output}: {made.rows:,} rows of {made.seq_length} tokens from {counts}"


def augment(kind: str, *, options: PrepareOptions, **settings: Any) -> Sidecar:
    """Make records of a task's rows and of rows that are made of them.

    Args:
        kind: `glue` or `table`.
        options: The options of every `prepare`.
        settings: The fields of `AugmentOptions`, and what `prepare` of the kind takes.

    Raises:
        DeviceError: The processor has no portable arithmetic.
        InputError: A file is missing, damaged or not as described.
        UsageError: An option cannot be honoured, or the number of rows to make is not known.
    """
    from tinybert.augment.options import AugmentOptions
    from tinybert.augment.prepare_augmented import prepare_augmented
    from tinybert.prepare.glue import GLUE_TASKS

    if settings["samples"] is None and kind == "glue":
        settings["samples"] = GLUE_TASKS[settings["task"]].samples
    if settings["samples"] is None:
        raise UsageError(
            "it is not known how many rows are to be made of each", cure="say so: --samples N"
        )
    how = take(AugmentOptions, settings)
    return prepare_augmented(_reader_of_texts(kind, settings), options, how)


def _reader_of_texts(kind: str, options: dict[str, Any]) -> Callable[[], TaskTexts]:
    """Return what reads the rows of `glue`, `ner` or `table`, from the beginning at each call."""
    from tinybert.prepare.ner import ner_texts
    from tinybert.prepare.sentences import TableOptions, glue_texts, table_texts

    if kind == "table":
        table = take(TableOptions, options)
        return partial(table_texts, table=table, **options)
    texts: Callable[..., TaskTexts] = glue_texts if kind == "glue" else ner_texts
    return partial(texts, **options)
