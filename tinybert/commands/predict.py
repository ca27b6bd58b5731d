"""The command `predict`: text in, label out."""

import argparse
import json
import os
import sys
from collections.abc import Iterator
from typing import Any

from tinybert.commands.convert import request
from tinybert.device import prepare_environment
from tinybert.export.predict import Text
from tinybert.export.predict import predict_texts as answers
from tinybert.export.source import find


def predict(options: argparse.Namespace) -> str:
    """Carry out `predict`; returns a line for each text.

    Raises:
        InputError: The source or a text is missing, damaged or not as described.
        UsageError: The network has no head, or it is not known how to read texts for it.
    """
    prepare_environment(os.cpu_count() or 1, {})
    source = find(request(options))
    found = answers(source, _texts(options.texts), lowercase=options.lowercase)
    shown = _json if options.format == "json" else _text
    return "".join(f"{shown(each)}\n" for each in found)


def _texts(given: list[str]) -> Iterator[Text]:
    """Yield the texts of the command line, or without any the lines of standard input."""
    if given:
        yield from (Text(f"text {index}", text) for index, text in enumerate(given, 1))
        return
    for number, line in enumerate(sys.stdin, 1):
        yield Text(f"standard input, line {number}", line.rstrip("\n"))


def _json(answer: dict[str, Any]) -> str:
    return json.dumps(answer, ensure_ascii=False)


def _text(answer: dict[str, Any]) -> str:
    if "entities" in answer:
        entities = [f"{each['type']}: {each['text']}" for each in answer["entities"]]
        return f"{'; '.join(entities) or '-'}\t{answer['text']}"
    if "value" in answer:
        return f"{answer['value']:.4f}\t{answer['text']}"
    return f"{answer['label']}\t{answer['probability']:.4f}\t{answer['text']}"
