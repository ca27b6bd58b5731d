"""The command `prepare`: raw text to record files."""

import sys
from collections.abc import Callable
from typing import Any

from tinybert.data.sidecar import Sidecar
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
    from tinybert.prepare.records import PrepareOptions
    from tinybert.prepare.sentences import prepare_glue, prepare_table

    kinds: dict[str, Callable[..., Sidecar]] = {
        "corpus": prepare_corpus,
        "glue": prepare_glue,
        "ner": prepare_ner,
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
