"""Files for the leaderboards of GLUE and CLUE, and answers for SQuAD's: predictions of a test set.

Sources: gluebenchmark.com/faq (a TSV file a task, `index` and `prediction`), and CLUE's
documentation of submissions (JSON lines with `id` and `label`; cmrc2018 by question id).
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from tinybert.atomic import write_bytes
from tinybert.errors import InputError, UsageError, quoted
from tinybert.export.answers import AnswerPrediction
from tinybert.export.leaderboards import SUBMISSIONS, Submission
from tinybert.export.predict import predict_texts
from tinybert.export.predictions import (
    PAIR,
    ClassPrediction,
    EntityPrediction,
    ReadAs,
    Text,
    ValuePrediction,
)
from tinybert.export.reading import TextPrediction, label_names, require_head
from tinybert.export.source import Source
from tinybert.files import writing
from tinybert.prepare.glue import GLUE_TASKS
from tinybert.prepare.qa import read_passages
from tinybert.prepare.reading import read_objects, read_table


def write_submission(
    source: Source, name: str, test: Path, output: Path, read_as: ReadAs
) -> tuple[Path, int]:
    """Write the predictions for a test set; returns the file, and how many there are.

    Args:
        source: The network.
        name: One of `SUBMISSIONS`.
        test: The official test file.
        output: The directory of the file, which is replaced.
        read_as: How answers are chosen.

    Raises:
        InputError: The test file cannot be read, or the output cannot be written.
        UsageError: The network has learned another task, or its labels are not the official ones.
    """
    wanted = SUBMISSIONS[name]
    head = require_head(source)
    if head.task_type != wanted.task_type:
        message = f"the network has learned {head.task_type}; {name} is {wanted.task_type}"
        raise UsageError(message, where=str(source.file))
    official = _official_labels(source, wanted)
    items = list(_read(wanted, test))
    if not items:
        raise InputError("the file holds no rows", where=str(test))
    ids, texts = zip(*items, strict=True)
    facts = GLUE_TASKS.get(wanted.task)
    read_as = replace(
        read_as,
        pairs=(facts is not None and len(facts.texts) > 1) or None,
        characters=True if wanted.task_type == "ner" else None,
        allow_empty=facts is not None and facts.damaged,
    )
    predictions = list(predict_texts(source, texts, read_as))
    path = output / wanted.file
    with writing(path):
        output.mkdir(parents=True, exist_ok=True)
        write_bytes(path, _encode(wanted, ids, predictions, official).encode())
    return path, len(predictions)


def _official_labels(source: Source, wanted: Submission) -> dict[str, str]:
    """Return the official label by the network's name of it.

    Raises:
        UsageError: It is not known which label is which.
    """
    facts, head = GLUE_TASKS.get(wanted.task), require_head(source)
    if facts is None or facts.labels is None:
        return {}
    official = facts.labels
    names, ours = source.network.labels, label_names(source, head)
    if len(ours) == len(official):
        if sorted(map(str.casefold, ours)) == sorted(official):
            return {name: name.casefold() for name in ours}
        task = source.sidecar.task if source.sidecar is not None else None
        if names is None or (task is not None and task.name == wanted.task):
            return dict(zip(ours, official, strict=True))  # `prepare glue` keeps the ids
    raise UsageError(
        f"the network's labels, {quoted(ours)}, are not those of {wanted.task}: {quoted(official)}",
        where=str(source.file),
        cure=f"name a run on records of {wanted.task}, as `prepare glue` makes them",
    )


def _read(wanted: Submission, test: Path) -> Iterator[tuple[str | int, Text]]:
    """Yield the id and the text of each row of a test file."""
    if wanted.task_type == "question_answering":
        for passage in read_passages(test, Counter(), labelled=False):
            for question in passage.questions:
                both = f"{question.text}{PAIR}{passage.text}"
                yield question.id, Text(question.where, both)
        return
    facts = GLUE_TASKS.get(wanted.task)
    if facts is None or facts.format == "jsonl":
        for where, value in read_objects(test):
            text = value.get("text" if facts is None else facts.texts[0])
            if not isinstance(text, str) or type(value.get("id")) is not int:
                raise InputError("the line has no `id`, or no text", where=where)
            yield value["id"], Text(where, text)
        return
    for where, (index, *texts) in read_table(test, "tsv", ("index", *facts.texts)):
        yield index, Text(where, PAIR.join(texts))


def _encode(
    wanted: Submission,
    ids: Sequence[str | int],
    predictions: Sequence[TextPrediction],
    official: Mapping[str, str],
) -> str:
    """Return the content of a file."""
    if wanted.task_type == "question_answering":
        answers = [p.answer for p in predictions if isinstance(p, AnswerPrediction)]
        by_id = dict(zip(ids, answers, strict=True))
        return json.dumps(by_id, ensure_ascii=False, indent=1) + "\n"
    pairs = zip(ids, (_official(p, official) for p in predictions), strict=True)
    if wanted.file.endswith(".tsv"):
        return "index\tprediction\n" + "".join(f"{at}\t{label}\n" for at, label in pairs)
    lines = ({"id": at, "label": label} for at, label in pairs)
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def _official(prediction: TextPrediction, official: Mapping[str, str]) -> object:
    """Return a prediction as a leaderboard has it."""
    if isinstance(prediction, ClassPrediction):
        return official[prediction.label]
    if isinstance(prediction, ValuePrediction):
        return f"{min(5.0, max(0.0, prediction.value)):.3f}"
    assert isinstance(prediction, EntityPrediction)
    types: dict[str, dict[str, list[list[int]]]] = {}
    for entity in prediction.entities:
        places = types.setdefault(entity.type, {}).setdefault(entity.text, [])
        places.append([entity.first, entity.last])
    return types
