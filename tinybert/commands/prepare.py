"""The command `prepare`: raw text to record files."""

import argparse


def prepare(options: argparse.Namespace) -> str:
    """Carry out `prepare corpus` or `prepare vocab`; returns what was made."""
    if options.what == "vocab":
        from tinybert.data.vocabulary import prepare_vocabulary

        tokens = prepare_vocabulary(
            options.inputs,
            options.output,
            options.size,
            lowercase=options.lowercase,
            force=options.force,
        )
        return f"{options.output}: {tokens:,} tokens"
    from tinybert.data.corpus import prepare_corpus

    made = prepare_corpus(
        options.inputs,
        options.vocab,
        options.output,
        options.seq_length,
        format=options.format,
        lowercase=options.lowercase,
        rows_per_file=options.rows_per_file,
        force=options.force,
    )
    counts = ", ".join(f"{count:,} {name}" for name, count in made.counts.items())
    return f"{options.output}: {made.rows:,} rows of {made.seq_length} tokens from {counts}"
