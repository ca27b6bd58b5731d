"""What records and checkpoints must have in common: the vocabulary and the order of labels."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tinybert.data.labels import check_label_order, rename_labels
from tinybert.data.sidecar import PreparedTask, Sidecar
from tinybert.errors import InputError, UsageError, quoted
from tinybert.model.description import recorded_labels
from tinybert.plan.parent_runs import LinkedRun
from tinybert.prepare.tokenizer_files import StatedTokenizer, read_tokenizer
from tinybert.prepare.vocabulary import find_vocabulary, load_vocabulary
from tinybert.recipe.model import Evaluate, Finetune, TaskDistill
from tinybert.recipe.network import ROLES, Role
from tinybert.recipe.task_types import TASK_KINDS, TASK_TYPES, TaskType

PreparedRecords = Sequence[tuple[Path, Sidecar]]
"""Directories of prepared records, each with the content of its records.json."""

_PREPARE_AGAIN = "prepare the records anew, with the networks' vocabulary and tokenizer options"


def vocabulary_problems(
    prepared: PreparedRecords,
    vocab_size: int,
    checkpoints: Mapping[str, Path],
    parents: Mapping[str, LinkedRun],
) -> Iterator[InputError]:
    """Yield where token ids do not mean the same: a token's id is its line in one vocabulary.

    Records that were not prepared here are not compared, and neither is a checkpoint without a
    known run and without a vocabulary in its directory.

    Args:
        prepared: The recipe's records.
        vocab_size: Token ids of the networks.
        checkpoints: Where the weights of each network come from.
        parents: The runs that they were taken from, where they were.
    """
    for directory, sidecar in prepared:
        tokens = sidecar.vocabulary.tokens
        if tokens > vocab_size:
            yield InputError(
                f"the vocabulary of the records has {tokens:,} tokens, vocab_size is "
                f"{vocab_size:,}",
                where=str(directory),
                cure="prepare the records anew with the networks' vocabulary",
            )
    if not prepared:
        return
    (place, first), *others = prepared
    for directory, sidecar in others:
        yield from _differences(sidecar, first, str(directory), f"those in {place}")
    for role, run in parents.items():
        for _, sidecar in run.sidecars()[:1]:  # they agreed with each other when it ran
            yield from _differences(first, sidecar, str(place), f"those of the {role}, {run.path}")
    for role, path in checkpoints.items():
        beside = find_vocabulary(path)
        if beside is not None and load_vocabulary(beside).sha256 != first.vocabulary.sha256:
            message = f"the records were made with another vocabulary than the {role}'s, {beside}"
            yield InputError(message, where=str(place), cure=_PREPARE_AGAIN)
        if path.is_dir():
            yield from _tokenizer_differences(first, read_tokenizer(path), place, role)


def _differences(one: Sidecar, other: Sidecar, where: str, name: str) -> Iterator[InputError]:
    """Yield how the token ids of two sets of records differ."""
    if one.vocabulary.sha256 != other.vocabulary.sha256:
        message = f"the records were made with another vocabulary than {name}"
        yield InputError(message, where=where, cure=_PREPARE_AGAIN)
    elif one.vocabulary.tokenizer != other.vocabulary.tokenizer:
        options, other_options = one.vocabulary.tokenizer, other.vocabulary.tokenizer
        message = f"the records were made with {options}, and {name}, with {other_options}"
        yield InputError(message, where=where, cure=_PREPARE_AGAIN)


def _tokenizer_differences(
    sidecar: Sidecar, stated: StatedTokenizer, place: Path, role: str
) -> Iterator[InputError]:
    """Yield the options of a checkpoint's tokenizer that records were not made with."""
    recorded = sidecar.vocabulary.tokenizer
    accents = stated.strip_accents
    if stated.options is not None and stated.lowercase == recorded.lowercase:
        accents = stated.options.strip_accents
    for key, theirs, ours in (
        ("do_lower_case", stated.lowercase, recorded.lowercase),
        ("strip_accents", accents, recorded.strip_accents),
        (
            "tokenize_chinese_chars",
            stated.tokenize_chinese_chars,
            recorded.tokenize_chinese_chars,
        ),
    ):
        if theirs not in (None, ours):
            message = f"{key} is {theirs} of the {role}'s tokenizer and {ours} of the records"
            yield InputError(message, where=str(place), cure=_PREPARE_AGAIN)


def agreed_labels(
    recipe: TaskDistill | Finetune | Evaluate,
    prepared: PreparedRecords,
    checkpoints: Mapping[str, Path],
    *,
    complete: bool,
) -> tuple[str, ...] | None:
    """Return the label names of the records, in the order of their ids, where they are known.

    Args:
        recipe: The recipe.
        prepared: Its records.
        checkpoints: Where the weights of each network come from.
        complete: Whether nothing is missing or damaged, so that unknown names are a problem.

    Raises:
        InputError: The records, the trained heads and `[task]` do not agree.
    """
    task, names = recipe.task, None
    for directory, sidecar in prepared:
        labels = sidecar.task.labels if sidecar.task is not None else None
        if sidecar.task is not None:
            _check_kind(sidecar.task, task.task_type, directory)
        check_label_order(
            labels, names, where=str(directory), source="the other records of this recipe"
        )
        names = names or labels
    if task.label_names is not None:
        names = _renamed(names, task.label_names)
    for role in roles_with_trained_heads(recipe):
        if (path := checkpoints.get(role)) is not None:
            check_label_order(recorded_labels(path), names, where=str(path), source="the records")
    if names is not None and len(names) != task.num_labels:
        raise InputError(
            f"num_labels is {task.num_labels}; the records have {len(names)} labels: "
            + quoted(names),
            cure=f"write `num_labels = {len(names)}` in [task]",
        )
    if names is None and task.assessment_method == "entity_f1" and complete:
        raise InputError(
            "entity_f1 needs the names of the tags, and the records do not say them",
            cure="make the records with `prepare ner`, or measure accuracy or mf1",
        )
    return names


def _check_kind(prepared: PreparedTask, task_type: TaskType, directory: Path) -> None:
    """Raise an InputError unless records have labels of the kind that a task learns from."""
    if prepared.label is None:
        raise InputError(
            "the records have no labels, so that nothing can be learned or measured",
            where=str(directory),
            cure="predict them: python runner.py predict RUN --records DIR",
        )
    if prepared.label != TASK_KINDS[task_type].label:
        learned = TASK_TYPES[prepared.label]
        raise InputError(
            f'the records are of `task_type = "{learned}"`, the recipe of "{task_type}"',
            where=str(directory),
            cure="correct task_type in [task], or name other records",
        )


def _renamed(names: tuple[str, ...] | None, renamed: Mapping[str, str]) -> tuple[str, ...]:
    """Return the names of labels after `label_names` in [task]."""
    if names is None:
        raise InputError(
            "label_names in [task] renames labels, and the records have no names for them",
            cure="remove it, or use records that `prepare` made",
        )
    try:
        return rename_labels(names, renamed)
    except UsageError as error:
        raise InputError(f"label_names in [task]: {error.message}") from error


def roles_with_trained_heads(recipe: TaskDistill | Finetune | Evaluate) -> tuple[Role, ...]:
    """Return the networks whose heads come from their checkpoints."""
    if isinstance(recipe, Evaluate):
        return ROLES
    return ("teacher",) if isinstance(recipe, TaskDistill) and recipe.phase2 is not None else ()
