"""The command `prepare`: raw text to record files."""

import sys
from collections.abc import Callable
from functools import partial
from typing import Any

from tinybert.data.sidecar import Sidecar
from tinybert.errors import UsageError
from tinybert.prepare.records import PrepareOptions, TaskTexts
from tinybert.terminal import print_text


def prepare(what: str, **options: Any) -> str:
    """Carry out one of `prepare`'s kinds, whose options have the names of its parameters.

    Returns:
        What was made.
    """
    if what == "vocab":
        from tinybert.prepare.vocabulary import prepare_vocabulary

        return f"{options['output']}: {prepare_vocabulary(**options):,} tokens"
    from tinybert.prepare.corpus import prepare_corpus
    from tinybert.prepare.ner import prepare_ner
    from tinybert.prepare.qa import prepare_qa
    from tinybert.prepare.sentences import prepare_glue, prepare_table

    kinds: dict[str, Callable[..., Sidecar]] = {
        "augment": augment,
        "corpus": prepare_corpus,
        "glue": prepare_glue,
        "ner": prepare_ner,
        "qa": prepare_qa,
        "table": prepare_table,
    }
    common = PrepareOptions(
        **{field: options.pop(field) for field in PrepareOptions.__dataclass_fields__}
    )
    made = kinds[what](options=common, **options)
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
        settings: The fields of `AugmentOptions`, and the other arguments of `glue_texts` or
            `table_texts`.

    Raises:
        DeviceError: The processor has no portable arithmetic.
        InputError: A file is missing, damaged or not as described.
        UsageError: An option cannot be honoured, or the number of rows to make is not known.
    """
    from tinybert.augment.options import AugmentOptions
    from tinybert.augment.prepare_augmented import prepare_augmented
    from tinybert.prepare.glue import GLUE_TASKS
    from tinybert.prepare.sentences import glue_texts, table_texts

    names = AugmentOptions.__dataclass_fields__
    how = AugmentOptions(**{name: settings.pop(name) for name in names})
    samples = how.samples
    if samples is None and kind == "glue":
        samples = GLUE_TASKS[settings["task"]].samples
    if samples is None:
        raise UsageError(
            "it is not known how many rows are to be made of each", cure="say so: --samples N"
        )
    texts: Callable[..., TaskTexts] = glue_texts if kind == "glue" else table_texts
    return prepare_augmented(partial(texts, **settings), options, how, samples)
