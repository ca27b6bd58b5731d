"""The commands `convert` and `export`: a trained network in the formats of others."""

import os
from pathlib import Path
from typing import Any

from tinybert.device import prepare_environment
from tinybert.errors import UsageError, at_most
from tinybert.export import Format
from tinybert.export.checkpoint import require_free, write_checkpoint
from tinybert.export.formats import export_network, require_able
from tinybert.export.source import Source, SourceRequest, find_network
from tinybert.model.names import Family


def convert(*, to: Family, output: Path, force: bool, **source: Any) -> str:
    """Write a network's checkpoint under the names of another family; returns what was made.

    `source`, here and below, has the fields of `SourceRequest`.

    Raises:
        InputError: The source is missing, damaged or not as described.
        UsageError: The family has no such network, or the output may not be replaced.
    """
    directory = to == "huggingface"
    request = SourceRequest(**source)
    if not directory and output.suffix != ".ckpt":
        raise UsageError("a MindSpore checkpoint is a file that ends in .ckpt", where=str(output))
    if not directory and request.vocab is not None:
        raise UsageError("--vocab is for --to huggingface: a .ckpt file holds no vocabulary")
    require_free(output, directory=directory, force=force)
    network = find_network(request)
    write_checkpoint(network, to, output)
    return f"{output}: {_describe(network)}"


def export(*, format: Format, output: Path, force: bool, **source: Any) -> str:
    """Export a network; returns what was made, and how far it is from the network.

    Raises:
        DeviceError: The format needs a device that is not here.
        ExportError: The file does not compute what the network does.
        InputError: The source is missing, damaged or not as described.
        UsageError: The format has no such network, or the output may not be replaced.
    """
    require_able(format)
    require_free(output, directory=True, force=force)
    prepare_environment(os.cpu_count() or 1, {})
    network = find_network(SourceRequest(**source))
    check = export_network(network, format, output).check
    lines = [f"{output}: {_describe(network)}", f"checked: {check.how}"]
    for each in check.differences:
        largest, shape = float(each.largest_difference), f"{each.batch} x {each.sequence}"
        lines.append(f"  {each.output} of {shape}: off by at most {largest:.2g}")
    return "\n".join(lines)


def _describe(source: Source) -> str:
    """Return the network in one line, and a second for what else its checkpoint held."""
    config, head = source.network.config, source.network.head
    text = f"{config.num_hidden_layers} x {config.hidden_size}"
    if head is not None:
        text += f", {head.task_type} with {head.num_labels} labels"
    text += f", {len(source.network.arrays)} tensors"
    if not source.network.left:
        return text
    return f"{text}\nleft out: {', '.join(at_most(3, source.network.left))}"
