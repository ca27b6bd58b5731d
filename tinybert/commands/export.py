"""The command `export`: a trained network as a file that other programs run."""

import argparse
import os

from tinybert.commands.convert import describe_source, source_request
from tinybert.device import prepare_environment
from tinybert.export.checkpoint import require_free
from tinybert.export.formats import export_network, require_able
from tinybert.export.source import find_network


def export(options: argparse.Namespace) -> str:
    """Carry out `export`; returns what was made, and how far it is from the network.

    Raises:
        DeviceError: The format needs a device that is not here.
        ExportError: The file does not compute what the network does.
        InputError: The source is missing, damaged or not as described.
        UsageError: The format has no such network, or the output may not be replaced.
    """
    require_able(options.format)
    require_free(options.output, directory=True, force=options.force)
    prepare_environment(os.cpu_count() or 1, {})
    source = find_network(source_request(options))
    check = export_network(source, options.format, options.output).check
    lines = [f"{options.output}: {describe_source(source)}", f"checked: {check.how}"]
    for each in check.differences:
        largest, shape = float(each.largest_difference), f"{each.batch} x {each.sequence}"
        lines.append(f"  {each.output} of {shape}: off by at most {largest:.2g}")
    return "\n".join(lines)
