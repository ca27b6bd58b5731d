"""The command `convert`: a network's checkpoint under the names of another family."""

import argparse

from tinybert.errors import UsageError
from tinybert.export.checkpoint import require_free, write_checkpoint
from tinybert.export.source import Source, SourceRequest, find_network


def convert(options: argparse.Namespace) -> str:
    """Carry out `convert`; returns what was made.

    Raises:
        InputError: The source is missing, damaged or not as described.
        UsageError: The family has no such network, or the output may not be replaced.
    """
    directory = options.to == "huggingface"
    if not directory and options.output.suffix != ".ckpt":
        raise UsageError(
            "a MindSpore checkpoint is a file that ends in .ckpt", where=str(options.output)
        )
    if not directory and options.vocab is not None:
        raise UsageError("--vocab is for --to huggingface: a .ckpt file holds no vocabulary")
    require_free(options.output, directory=directory, force=options.force)
    source = find_network(source_request(options))
    write_checkpoint(source, options.to, options.output)
    return f"{options.output}: {describe_source(source)}"


def source_request(options: argparse.Namespace) -> SourceRequest:
    """Return what the command line says about the network."""
    return SourceRequest(
        options.source, options.root, options.recipe, options.network, options.vocab
    )


def describe_source(source: Source) -> str:
    """Return the network in one line, and a second for what else its checkpoint held."""
    config, head = source.network.config, source.network.head
    text = f"{config.num_hidden_layers} x {config.hidden_size}"
    if head is not None:
        text += f", {head.task_type} with {head.num_labels} labels"
    text += f", {len(source.network.arrays)} tensors"
    if not source.network.left:
        return text
    first = ", ".join(source.network.left[:3])
    more = len(source.network.left) - 3
    return f"{text}\nleft out: {first}" + (f" and {more} more" if more > 0 else "")
