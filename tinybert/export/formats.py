"""Export a network: write it in one format, run the file, and record both in `export.json`."""

import shutil
from dataclasses import dataclass
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.atomic import atomic_directory
from tinybert.attest.statement import envelope_of
from tinybert.data.batch import Batch
from tinybert.data.sidecar import VOCABULARY
from tinybert.device import ascend_problems
from tinybert.errors import DeviceError, ExportError, UsageError, bulleted
from tinybert.export import Format
from tinybert.export.check import Outputs, Runner, measure_differences
from tinybert.export.checkpoint import write_huggingface
from tinybert.export.network import (
    INPUT_NAMES,
    TRANSFORMERS_INPUTS,
    TrainedNetwork,
    inference_cell,
)
from tinybert.export.source import Source
from tinybert.files import PROGRAM, digest_file, digest_files, relative_to, writing
from tinybert.manifest import exported
from tinybert.manifest.checkpoints import tensor_digest, tensor_table
from tinybert.manifest.identity import code_identity
from tinybert.model.checkpoint_files import WEIGHTS, read_arrays
from tinybert.model.names import canonical_names
from tinybert.prepare.vocabulary import load_vocabulary

RUN_ENVELOPE = "run.intoto.json"
"""The signed statement about the run that left the network, in its exports."""
Axes = tuple[int | str, int | str]
"""Batch and sequence of a graph's inputs: a size, or a name where any is taken."""
ANY: Axes = ("batch", "sequence")


@dataclass(frozen=True)
class WrittenFile:
    """What was written, and how it was compared with the network."""

    check: exported.ExportCheck
    inputs: dict[str, Axes] | None = None
    """Of a graph, by name."""
    opset: int | None = None
    """Of an ONNX graph."""


def require_able(format: Format) -> None:
    """Raise an error unless this machine can write the format and run what it wrote.

    Raises:
        DeviceError: AIR, without an Ascend device.
        UsageError: A package is not installed.
    """
    if format == "air" and (problems := ascend_problems()):
        raise DeviceError(
            "AIR is made by Ascend's compiler, which is not available here:" + bulleted(problems),
            cure="export on an Ascend machine, or use --format mindir, which Ascend reads too",
        )
    missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
    if format == "onnx" and missing:
        raise UsageError(
            f"the format onnx needs {' and '.join(missing)}, which is not installed",
            cure="install what is in the lock file: "
            "pip install --require-hashes -r requirements.lock",
        )


def export_network(source: Source, format: Format, output: Path) -> exported.ExportRecord:
    """Write a network into the directory `output`, run it, and record it.

    It will hold the model, the vocabulary and the tokenizer, as far as they are known, and
    export.json. An existing directory is replaced at the end, if nothing failed.

    Returns:
        What export.json holds.

    Raises:
        ExportError: The file does not compute what the network does.
        InputError: The output cannot be written.
        UsageError: The format has no such network.
    """
    tokenizer = source.tokenizer()
    with writing(output), atomic_directory(output, replace=True) as directory:
        written = _write(source, format, directory)
        if source.vocab is not None and format != "huggingface":
            vocabulary = load_vocabulary(source.vocab)
            (directory / VOCABULARY).write_bytes(vocabulary.encode())
        if source.run is not None and (envelope := envelope_of(source.run.path)).is_file():
            shutil.copyfile(envelope, directory / RUN_ENVELOPE)
        files = digest_files(sorted(directory.iterdir()))
        code, _ = code_identity(PROGRAM)
        record = exported.ExportRecord(
            format=format,
            source=_record_source(source),
            network=exported.ExportedNetwork(
                config=source.network.config,
                head=source.network.head,
                labels=source.network.labels,
                seq_length=source.texts.seq_length,
                characters=source.texts.characters,
                pairs=source.texts.pairs,
                lowercase=tokenizer.lowercase,
                strip_accents=tokenizer.strip_accents,
                tokenize_chinese_chars=tokenizer.tokenize_chinese_chars,
            ),
            opset=written.opset,
            inputs=written.inputs,
            outputs=None if written.inputs is None else source.network.output_names,
            check=written.check,
            files=[exported.ExportedFile.of(file) for file in files],
            program=exported.ExportProgram(
                digest=code.digest, commit=code.commit, dirty=code.dirty
            ),
            versions=_versions(format),
        )
        (directory / exported.RECORD_FILE).write_bytes(record.encode())
    return record


def _write(source: Source, format: Format, directory: Path) -> WrittenFile:
    """Write a network into an existing, empty directory, and run what was written."""
    match format:
        case "huggingface":
            return _huggingface(source, directory)
        case "onnx":
            return _onnx(source, directory / "model.onnx")
        case "mindir":
            return _mindir(source, directory / "model.mindir")
        case "air":
            return _air(source, directory / "model.air")


def _huggingface(source: Source, directory: Path) -> WrittenFile:
    network = source.network
    write_huggingface(source, directory)
    arrays = read_arrays(directory / WEIGHTS).arrays
    names = canonical_names(arrays)
    for name, array in network.arrays.items():
        again = arrays[names[name]]
        if again.dtype != array.dtype or again.tobytes() != array.tobytes():
            raise ExportError(f"{name} reads back with other bits; nothing was written")
    return WrittenFile(exported.ExportCheck(how="read back, every tensor bit for bit"))


def _onnx(source: Source, file: Path) -> WrittenFile:
    import onnx
    import onnxruntime

    from tinybert.export.onnx_graph import OPSET, onnx_model

    onnx.save(onnx_model(source.network), file)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def run(batch: Batch) -> Outputs:
        inputs = {
            name: getattr(batch, ours).astype(np.int64)
            for name, ours in TRANSFORMERS_INPUTS.items()
        }
        outputs: Outputs = session.run(list(source.network.output_names), inputs)
        return outputs

    how = "run by onnxruntime on the CPU, against the network in MindSpore"
    inputs = dict.fromkeys(TRANSFORMERS_INPUTS, ANY)
    return WrittenFile(_compared(source, how, run), inputs, OPSET)


def _mindir(source: Source, file: Path) -> WrittenFile:
    import mindspore as ms

    _ms_export(source.network, file, "MINDIR", (None, None))
    cell = ms.nn.GraphCell(ms.load(str(file)))
    how = "run by MindSpore from the file, against the network"
    check = _compared(source, how, lambda batch: _run_cell(cell, batch))
    return WrittenFile(check, dict.fromkeys(INPUT_NAMES, ANY))


def _air(source: Source, file: Path) -> WrittenFile:
    axes = (1, source.texts.seq_length)
    _ms_export(source.network, file, "AIR", axes)
    check = exported.ExportCheck(how="not run: MindSpore does not read AIR")
    return WrittenFile(check, dict.fromkeys(INPUT_NAMES, axes))


def _ms_export(
    network: TrainedNetwork, file: Path, file_format: str, shape: tuple[int | None, int | None]
) -> None:
    """Export by the framework, whose file is read-only."""
    import mindspore as ms

    from tinybert.model.cpu_operators import framework_only

    inputs = [ms.Tensor(shape=list(shape), dtype=ms.int32) for _ in INPUT_NAMES]
    with framework_only():
        cell = inference_cell(network)
    ms.export(
        cell,
        *inputs,
        file_name=str(file.with_suffix("")),
        file_format=file_format,
    )
    file.chmod(0o644)


def _compared(source: Source, how: str, run: Runner) -> exported.ExportCheck:
    network = source.network
    cell = inference_cell(network)
    differences = measure_differences(
        network,
        network.output_names,
        lambda batch: _run_cell(cell, batch),
        run,
        source.texts.seq_length,
    )
    return exported.ExportCheck(how=how, differences=tuple(differences))


def _run_cell(cell: Any, batch: Batch) -> Outputs:
    outputs = cell(*batch.tensors()[: len(INPUT_NAMES)])
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return [np.asarray(output.asnumpy()) for output in outputs]


def _record_source(source: Source) -> exported.ExportSource:
    run = source.run
    root = Path.cwd() if run is None else run.root
    return exported.ExportSource(
        checkpoint=relative_to(source.file, root),
        sha256=digest_file(source.file).sha256,
        tensor_digest=tensor_digest(tensor_table(source.network.arrays)),
        manifest=None if run is None else relative_to(run.path, root),
        stage=None if run is None else run.manifest.inputs.stage,
        outcome_digest=None if run is None else run.manifest.digests.outcome,
    )


def _versions(format: Format) -> dict[str, str]:
    """Return the versions of the packages that wrote and ran the file."""
    names = ["mindspore", "numpy", "safetensors"]
    names += ["onnx", "onnxruntime"] if format == "onnx" else []
    return {name: metadata.version(name) for name in names}
