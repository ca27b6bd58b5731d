"""Write a network in one format, and run the file that was written."""

from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from tinybert.device import ascend_problems
from tinybert.errors import DeviceError, ExportError, UsageError
from tinybert.export import Format
from tinybert.export.check import Batch, Difference, Outputs, Runner, measure_differences
from tinybert.export.checkpoint import WEIGHTS, write_huggingface
from tinybert.export.config import require_expressible
from tinybert.export.network import TrainedNetwork
from tinybert.export.source import Source
from tinybert.files import digest_file
from tinybert.model.families import canonical_names
from tinybert.model.weights import read_arrays

INPUTS = ("input_ids", "segment_ids", "input_mask")
"""(B, S) int32 each, in this order; also the order of MINDIR's inputs."""


def output_names(network: TrainedNetwork) -> tuple[str, ...]:
    """Return the names of the network's outputs, all float32.

    `logits` (B, C), or (B, S, C) for tags, where there is a head; otherwise
    `last_hidden_state` (B, S, H) and `pooler_output` (B, H).
    """
    return ("last_hidden_state", "pooler_output") if network.head is None else ("logits",)


def require_able(format: Format) -> None:
    """Raise an error unless this machine can write the format and run what it wrote.

    Raises:
        DeviceError: AIR, without an Ascend device.
        UsageError: A package is not installed.
    """
    if format == "air" and (problems := ascend_problems()):
        raise DeviceError(
            "AIR is made by Ascend's compiler, which is not available here:"
            + "".join(f"\n  - {problem}" for problem in problems),
            cure="export on an Ascend machine, or use --format mindir, which Ascend reads too",
        )
    missing = [name for name in ("onnx", "onnxruntime") if find_spec(name) is None]
    if format == "onnx" and missing:
        raise UsageError(
            f"the format onnx needs {' and '.join(missing)}, which is not installed",
            cure="install what is in the lock file: "
            "pip install --require-hashes -r requirements.lock",
        )


def write(source: Source, format: Format, directory: Path) -> dict[str, Any]:
    """Write a network into an existing, empty directory, and run what was written.

    Returns:
        The facts about the file for export.json.

    Raises:
        ExportError: The file does not compute what the network does.
        UsageError: The format has no such network.
    """
    match format:
        case "huggingface":
            return _huggingface(source, directory)
        case "onnx":
            return _onnx(source, directory / "model.onnx")
        case "mindir":
            return _mindir(source, directory / "model.mindir")
        case "air":
            return _air(source, directory / "model.air")


def _huggingface(source: Source, directory: Path) -> dict[str, Any]:
    network = source.network
    require_expressible(network.config, network.head)
    write_huggingface(network, directory, source.vocab, source.lowercase)
    _, arrays = read_arrays(directory / WEIGHTS)
    names, _ = canonical_names(arrays)
    for name, array in network.arrays.items():
        again = arrays[names[name]]
        if again.dtype != array.dtype or again.tobytes() != array.tobytes():
            raise ExportError(f"{name} reads back with other bits; nothing was written")
    return {"check": {"how": "read back, every tensor bit for bit", "differences": []}}


def _onnx(source: Source, file: Path) -> dict[str, Any]:
    import onnx
    import onnxruntime

    from tinybert.export.onnx_graph import OPSET, onnx_model

    network, names = source.network, output_names(source.network)
    onnx.save(onnx_model(network, INPUTS, names), file)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])

    def run(batch: Batch) -> Outputs:
        outputs: Outputs = session.run(list(names), dict(zip(INPUTS, batch, strict=True)))
        return outputs

    differences = _compared(source, run)
    return {
        "opset": OPSET,
        "inputs": {name: ["batch", "sequence"] for name in INPUTS},
        "outputs": list(names),
        "check": {
            "how": "run by onnxruntime on the CPU, against the network in MindSpore",
            "differences": [each.plain() for each in differences],
        },
    }


def _mindir(source: Source, file: Path) -> dict[str, Any]:
    import mindspore as ms

    _ms_export(source.network, file, "MINDIR", (None, None))
    cell = ms.nn.GraphCell(ms.load(str(file)))
    differences = _compared(source, lambda batch: _run_cell(cell, batch))
    return {
        "inputs": {name: ["batch", "sequence"] for name in INPUTS},
        "outputs": list(output_names(source.network)),
        "check": {
            "how": "run by MindSpore from the file, against the network",
            "differences": [each.plain() for each in differences],
        },
    }


def _air(source: Source, file: Path) -> dict[str, Any]:
    _ms_export(source.network, file, "AIR", (1, source.seq_length))
    return {
        "inputs": {name: [1, source.seq_length] for name in INPUTS},
        "outputs": list(output_names(source.network)),
        "check": {"how": "not run: MindSpore does not read AIR", "differences": []},
    }


def _ms_export(
    network: TrainedNetwork, file: Path, file_format: str, shape: tuple[int | None, int | None]
) -> None:
    """Export by the framework, whose file is read-only."""
    import mindspore as ms

    from tinybert.export.inference import inference_cell

    inputs = [ms.Tensor(shape=list(shape), dtype=ms.int32) for _ in INPUTS]
    ms.export(
        inference_cell(network),
        *inputs,
        file_name=str(file.with_suffix("")),
        file_format=file_format,
    )
    file.chmod(0o644)


def _compared(source: Source, exported: Runner) -> list[Difference]:
    from tinybert.export.inference import inference_cell

    cell = inference_cell(source.network)
    names = output_names(source.network)
    return measure_differences(
        source.network, names, lambda batch: _run_cell(cell, batch), exported, source.seq_length
    )


def _run_cell(cell: Any, batch: Batch) -> Outputs:
    import mindspore as ms

    outputs = cell(*map(ms.Tensor, batch))
    outputs = outputs if isinstance(outputs, tuple) else (outputs,)
    return [np.asarray(output.asnumpy()) for output in outputs]


def versions(format: Format) -> dict[str, str]:
    """Return the versions of the packages that wrote and ran the file."""
    names = ["mindspore", "numpy", "safetensors"]
    names += ["onnx", "onnxruntime"] if format == "onnx" else []
    return {name: metadata.version(name) for name in names}


def files_of(directory: Path) -> list[dict[str, Any]]:
    """Return name, size and SHA-256 of every file, sorted by name."""
    found = [digest_file(path) for path in sorted(directory.iterdir())]
    return [{"name": f.path.name, "size": f.size, "sha256": f.sha256} for f in found]
