"""The command `prepare`: raw text to record files."""

import argparse

from tinybert.data.sidecar import Sidecar


def prepare(options: argparse.Namespace) -> str:
    """Carry out one of `prepare`'s kinds; returns what was made."""
    if options.what == "vocab":
        from tinybert.prepare.vocabulary import prepare_vocabulary

        tokens = prepare_vocabulary(
            options.inputs,
            options.output,
            options.size,
            lowercase=options.lowercase,
            force=options.force,
        )
        return f"{options.output}: {tokens:,} tokens"
    made = _corpus(options) if options.what == "corpus" else _labelled(options)
    counts = ", ".join(f"{count:,} {name}" for name, count in made.counts.items())
    return f"{options.output}: {made.rows:,} rows of {made.seq_length} tokens from {counts}"


def _corpus(options: argparse.Namespace) -> Sidecar:
    from tinybert.prepare.corpus import prepare_corpus

    return prepare_corpus(
        options.inputs,
        options.vocab,
        options.output,
        options.seq_length,
        format=options.format,
        lowercase=options.lowercase,
        rows_per_file=options.rows_per_file,
        force=options.force,
    )


def _labelled(options: argparse.Namespace) -> Sidecar:
    """Prepare rows with labels: a GLUE task, entities, or a table."""
    from tinybert.prepare.ner import prepare_ner
    from tinybert.prepare.sentences import prepare_glue, prepare_table
    from tinybert.prepare.task_records import PrepareOptions

    common = PrepareOptions(
        vocab=options.vocab,
        output=options.output,
        seq_length=options.seq_length,
        format=options.format,
        lowercase=options.lowercase,
        rows_per_file=options.rows_per_file,
        force=options.force,
    )
    if options.what == "glue":
        return prepare_glue(options.task, options.inputs, common)
    if options.what == "ner":
        return prepare_ner(
            options.inputs,
            common,
            input_format=options.input_format,
            labels=options.labels,
            labels_from=options.labels_from,
        )
    return prepare_table(
        options.inputs,
        common,
        text=options.text,
        text_pair=options.text_pair,
        label=options.label,
        label_kind=options.label_kind,
        labels=options.labels,
        labels_from=options.labels_from,
        input_format=options.input_format,
    )
