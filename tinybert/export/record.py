"""Export a network, and write down what it is: `export.json` beside the files."""

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tinybert.atomic import atomic_directory
from tinybert.export import Format
from tinybert.export.formats import files_of, versions, write
from tinybert.export.source import Source
from tinybert.files import PROGRAM, digest_file, relative_to, writing
from tinybert.manifest.canonical import digest
from tinybert.manifest.digests import tensor_digest, tensor_table
from tinybert.manifest.document import root_of
from tinybert.manifest.exported import NAME
from tinybert.manifest.identity import code_identity

FORMAT_VERSION = 1


def export_network(source: Source, format: Format, output: Path) -> dict[str, Any]:
    """Write a network into the directory `output`, run it, and describe it.

    An existing `output` is replaced at the end, when all is well.

    Args:
        source: The network.
        format: The format.
        output: The directory; it will hold the model, a named vocab.txt, and export.json.

    Returns:
        What export.json says.

    Raises:
        ExportError: The file does not compute what the network does.
        InputError: The output cannot be written.
        UsageError: The format has no such network.
    """
    with writing(output), atomic_directory(output, replace=True) as directory:
        facts = write(source, format, directory)
        if source.vocab is not None and format != "huggingface":
            shutil.copyfile(source.vocab, directory / "vocab.txt")
        content = {
            "format_version": FORMAT_VERSION,
            "format": format,
            "source": _source(source),
            "network": _network(source),
            **facts,
            "files": files_of(directory),
            "program": _program(),
            "versions": versions(format),
        }
        sealed = content | {"sha256": digest(content)}
        text = json.dumps(sealed, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
        (directory / NAME).write_text(text, encoding="utf-8")
    return sealed


def _source(source: Source) -> dict[str, Any]:
    file = digest_file(source.file)
    run = source.run
    root = Path.cwd() if run is None else root_of(run.path, run.manifest)
    facts: dict[str, Any] = {
        "checkpoint": relative_to(source.file, root),
        "sha256": file.sha256,
        "tensor_digest": tensor_digest(tensor_table(source.network.arrays)),
    }
    if run is not None:
        facts |= {
            "manifest": relative_to(run.path, root),
            "stage": run.manifest.inputs.stage,
            "outcome_digest": run.manifest.digests.outcome,
        }
    return facts


def _network(source: Source) -> dict[str, Any]:
    network = source.network
    return {
        "config": asdict(network.config),
        "head": None if network.head is None else asdict(network.head),
        "labels": None if network.labels is None else list(network.labels),
        "seq_length": source.seq_length,
        "lowercase": source.lowercase,
    }


def _program() -> dict[str, Any]:
    facts = code_identity(PROGRAM).facts
    return {key: facts.get(key) for key in ("digest", "commit", "dirty")}
