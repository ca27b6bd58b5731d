"""The command `predict`: text in, label out."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import asdict

from tinybert.commands.convert import source_request
from tinybert.device import prepare_environment
from tinybert.export.predict import (
    EntityPrediction,
    ReadAs,
    Text,
    TextPrediction,
    ValuePrediction,
    predict_texts,
)
from tinybert.export.source import find_network


def predict(options: argparse.Namespace) -> str:
    """Carry out `predict`; returns a line for each text.

    Raises:
        InputError: The source or a text is missing, damaged or not as described.
        UsageError: The network has no head, or it is not known how to read texts for it.
    """
    prepare_environment(os.cpu_count() or 1, {})
    source = find_network(source_request(options))
    read_as = ReadAs(options.lowercase, options.pairs, options.characters)
    predictions = list(predict_texts(source, _texts(options.texts), read_as))
    if cut := sum(prediction.truncated for prediction in predictions):
        print(
            f"warning: the end of {cut} of {len(predictions)} texts was not read", file=sys.stderr
        )
    if options.format == "json":
        return "".join(json.dumps(asdict(p), ensure_ascii=False) + "\n" for p in predictions)
    return "".join(f"{_result(p)}\t{p.text}\n" for p in predictions)


def _texts(given: list[str]) -> Iterator[Text]:
    """Yield the texts of the command line, or without any the lines of standard input."""
    if given:
        yield from (Text(f"text {index}", text) for index, text in enumerate(given, 1))
        return
    for number, line in enumerate(sys.stdin, 1):
        yield Text(f"standard input, line {number}", line.rstrip("\n"))


def _result(prediction: TextPrediction) -> str:
    if isinstance(prediction, EntityPrediction):
        return "; ".join(f"{e.type}: {e.text}" for e in prediction.entities) or "-"
    if isinstance(prediction, ValuePrediction):
        return f"{prediction.value:.4f}"
    return f"{prediction.label}\t{prediction.probability:.4f}"
