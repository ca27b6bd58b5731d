"""The commands `convert`, `export` and `predict`: what is done with a trained network."""

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

from tinybert.device import prepare_environment
from tinybert.errors import InputError, UsageError, at_most
from tinybert.export import Format
from tinybert.export.answers import AnswerPrediction
from tinybert.export.checkpoint import require_free, write_checkpoint
from tinybert.export.formats import export_network, require_able
from tinybert.export.leaderboards import SUBMISSIONS
from tinybert.export.predict import predict_texts
from tinybert.export.predictions import (
    EntityPrediction,
    LabelSetPrediction,
    ReadAs,
    Text,
    ValuePrediction,
    Windows,
)
from tinybert.export.reading import TextPrediction, answer_keys
from tinybert.export.records import predict_records
from tinybert.export.source import Source, SourceRequest, find_network
from tinybert.export.submission import write_submission
from tinybert.metrics.answers import AnswerOptions
from tinybert.model.names import Family
from tinybert.terminal import print_text

QUIET_SECONDS = 10
"""Between two reports of how many texts are done."""


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


def predict(
    *,
    texts: Sequence[str],
    records: Path | None,
    submission: str | None,
    test: Path | None,
    output: Path | None,
    force: bool,
    pairs: bool | None,
    characters: bool | None,
    windows: Literal["mean", "max", "central"] | None,
    stride: int | None,
    max_answer_length: int | None,
    no_answer_threshold: float | None,
    format: Literal["text", "json"],
    **source: Any,
) -> int:
    """Print a line for each text, each line of standard input, or each row of records.

    With `submission` the predictions for a test set are written into a file instead.

    Raises:
        InputError: The source or a text is missing, damaged or not as described.
        UsageError: The network has no head, or it is not known how to read texts for it; or the
            options exclude each other.
    """
    if windows is None and stride is not None:
        raise UsageError("--stride is for --windows")
    read_as = ReadAs(
        pairs=pairs,
        characters=characters,
        max_answer_length=max_answer_length,
        no_answer_threshold=no_answer_threshold,
        windows=None if windows is None else Windows(windows, stride),
    )
    if sum((bool(texts), records is not None, submission is not None)) > 1:
        raise UsageError("--text, --records and --submission exclude each other")
    if (submission is None) != (test is None) or (submission is None) != (output is None):
        cure = "name all of them: --submission TASK --test FILE --output DIR"
        raise UsageError("a submission needs a test file and an output", cure=cure)
    if (records or submission) and read_as != ReadAs(
        max_answer_length=max_answer_length, no_answer_threshold=no_answer_threshold
    ):
        raise UsageError("how texts are read is known of records and of test sets")
    request = SourceRequest(**source)
    prepare_environment(os.cpu_count() or 1, {})
    network = find_network(request)
    if submission is not None and test is not None and output is not None:
        return _submit(network, submission, test, output, read_as, force=force)
    if records is not None:
        keys = answer_keys(network, read_as)
        options = AnswerOptions(keys.max_answer_length, keys.no_answer_threshold)
        _print(predict_records(network, records, request.root, options), format)
    else:
        _print(predict_texts(network, _texts(texts), read_as), format)
    return 0


def _submit(
    network: Source, name: str, test: Path, output: Path, read_as: ReadAs, *, force: bool
) -> int:
    """Write the file of a submission, and print where it is."""
    path = output / SUBMISSIONS[name].file
    if path.exists() and not force:
        cure = "name another directory, or replace it with --force"
        raise UsageError("the file exists", where=str(path), cure=cure)
    written, count = write_submission(network, name, test, output, read_as)
    print_text(f"{written}: {count:,} predictions", sys.stdout)
    return 0


def _print(predictions: Iterator[TextPrediction], format: Literal["text", "json"]) -> None:
    """Print predictions, and on standard error how many are done."""
    count, cut, reported = 0, 0, time.monotonic()
    for prediction in predictions:
        line = f"{_result(prediction)}\t{prediction.text}"
        if format == "json":
            line = json.dumps(asdict(prediction), ensure_ascii=False)
        print_text(line, sys.stdout)
        count, cut = count + 1, cut + prediction.truncated
        if count == 1:
            reported = time.monotonic()  # what went before is mostly compilation
        elif time.monotonic() - reported >= QUIET_SECONDS:
            reported = time.monotonic()
            print_text(f"{count} texts done", sys.stderr)
    if cut:
        print_text(f"warning: the end of {cut} of {count} texts was not read", sys.stderr)


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


def _texts(given: Sequence[str]) -> Iterator[Text]:
    if given:
        yield from (Text(f"text {index}", text) for index, text in enumerate(given, 1))
        return
    for number, line in enumerate(sys.stdin, 1):
        where = f"standard input, line {number}"
        try:
            line.encode()
        except UnicodeEncodeError as error:
            raise InputError("the line is not UTF-8", where=where) from error
        yield Text(where, line.rstrip("\n"))


def _result(prediction: TextPrediction) -> str:
    if isinstance(prediction, AnswerPrediction):
        return f"{prediction.answer or '-'}\t{prediction.probability:.4f}"
    if isinstance(prediction, EntityPrediction):
        return "; ".join(f"{e.type}: {e.text}" for e in prediction.entities) or "-"
    if isinstance(prediction, ValuePrediction):
        return f"{prediction.value:.4f}"
    if isinstance(prediction, LabelSetPrediction):
        likely = (f"{name} {prediction.probabilities[name]:.4f}" for name in prediction.labels)
        return "; ".join(likely) or "-"
    return f"{prediction.label}\t{prediction.probability:.4f}"
