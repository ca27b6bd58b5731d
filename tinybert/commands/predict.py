"""The command `predict`: what a trained network predicts for texts, records or a test set."""

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from tinybert.commands.argument_types import take
from tinybert.device import prepare_environment
from tinybert.errors import InputError, UsageError
from tinybert.export.answers import AnswerPrediction
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
from tinybert.terminal import print_text

QUIET_SECONDS = 10
"""Between two reports of how many texts are done."""


@dataclass(frozen=True)
class PredictInput:
    """What is predicted: some texts, the rows of records, or a leaderboard's test set."""

    texts: Sequence[str]
    """Without any, and without what follows: the lines of standard input."""
    records: Path | None
    """A directory of prepared records."""
    submission: str | None
    """One of `SUBMISSIONS`, for `test` and `output`."""
    test: Path | None
    """The official test file."""
    output: Path | None
    """The directory of the submission's file."""
    force: bool
    """Replace that file."""

    def check(self) -> None:
        """Raise a UsageError if more than one of the three is named, or a part is missing."""
        if sum((bool(self.texts), self.records is not None, self.submission is not None)) > 1:
            raise UsageError("--text, --records and --submission exclude each other")
        parts = self.submission, self.test, self.output
        if None in parts and any(part is not None for part in parts):
            cure = "name all of them: --submission TASK --test FILE --output DIR"
            raise UsageError("a submission needs a test file and an output", cure=cure)


@dataclass(frozen=True)
class ReadOptions:
    """How texts are read, and answers chosen; None: as in the network's training."""

    pairs: bool | None
    characters: bool | None
    windows: Literal["mean", "max", "central"] | None
    stride: int | None
    max_answer_length: int | None
    no_answer_threshold: float | None

    def read_as(self, given: PredictInput) -> ReadAs:
        """Return how an input is read.

        Raises:
            UsageError: The options contradict each other, or what is known of the input.
        """
        if self.windows is None and self.stride is not None:
            raise UsageError("--stride is for --windows")
        about_texts = (self.pairs, self.characters, self.windows)
        if (given.records or given.submission) and about_texts != (None, None, None):
            message = "--pairs, --characters and --windows are for texts, not records or test sets"
            raise UsageError(message)
        return ReadAs(
            pairs=self.pairs,
            characters=self.characters,
            max_answer_length=self.max_answer_length,
            no_answer_threshold=self.no_answer_threshold,
            windows=None if self.windows is None else Windows(self.windows, self.stride),
        )


def predict(*, format: Literal["text", "json"], **options: Any) -> int:
    """Print a line for each text, each line of standard input, or each row of records.

    The predictions for a leaderboard's test set are written into a file instead.

    Args:
        format: How a line is written.
        options: The fields of `PredictInput`, `ReadOptions` and `SourceRequest`.

    Raises:
        InputError: The source or a text is missing, damaged or not as described.
        UsageError: The network has no head, or it is not known how to read texts for it; or the
            options exclude each other.
    """
    given, reading = take(PredictInput, options), take(ReadOptions, options)
    request = SourceRequest(**options)
    given.check()
    read_as = reading.read_as(given)
    prepare_environment(os.cpu_count() or 1, {})
    network = find_network(request)
    if given.submission is not None:
        return _submit(network, given, read_as)
    if given.records is not None:
        keys = answer_keys(network, read_as)
        chosen = AnswerOptions(keys.max_answer_length, keys.no_answer_threshold)
        _print(predict_records(network, given.records, request.root, chosen), format)
    else:
        _print(predict_texts(network, _texts(given.texts), read_as), format)
    return 0


def _submit(network: Source, given: PredictInput, read_as: ReadAs) -> int:
    """Write the file of a submission, and print where it is."""
    assert given.submission is not None and given.test is not None and given.output is not None
    path = given.output / SUBMISSIONS[given.submission].file
    if path.exists() and not given.force:
        cure = "name another directory, or replace it with --force"
        raise UsageError("the file exists", where=str(path), cure=cure)
    written, count = write_submission(network, given.submission, given.test, given.output, read_as)
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
