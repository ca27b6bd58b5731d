"""What a chain of recipes is made from: the teacher's directory, records, the student's sizes."""

import re
from dataclasses import dataclass
from pathlib import Path

from tinybert.data.sidecar import NAME, VOCABULARY, PreparedTask, Sidecar, load_sidecar
from tinybert.errors import InputError, UsageError
from tinybert.files import relative_to
from tinybert.model.checkpoint_files import WEIGHTS
from tinybert.model.description import DESCRIPTION, Description
from tinybert.prepare.vocabulary import load_vocabulary
from tinybert.recipe.network import NetworkConfig

PUBLISHED_WIDTHS = {312: 1200, 768: 3072}
"""Width of the feed-forward part of TinyBERT's students, by their hidden size (the paper, 4.1)."""
_SIZES = re.compile(r"(\d{1,3})x(\d{1,5})(?:x(\d{1,6}))?")


@dataclass(frozen=True)
class Teacher:
    """A directory with a model in Hugging Face's files."""

    place: str
    """As recipes name it."""
    config: NetworkConfig
    classifier_dropout: float

    @classmethod
    def read(cls, directory: Path, root: Path) -> "Teacher":
        """Read the description of a teacher.

        Raises:
            InputError: A file is missing or damaged, or describes no BERT that this program has.
        """
        for name, what in (
            (DESCRIPTION, "its description"),
            (WEIGHTS, "its weights"),
            (VOCABULARY, "its vocabulary"),
        ):
            if not (directory / name).is_file():
                raise InputError(
                    f"the teacher's directory lacks {name}, {what}",
                    where=str(directory),
                    cure="name a directory as transformers' save_pretrained writes it",
                )
        description = Description.read(directory / DESCRIPTION)
        try:
            config = description.network("float32")
        except ValueError as error:
            message = f"the teacher is no BERT that this program has: {error}"
            raise InputError(message, where=str(directory / DESCRIPTION)) from error
        tokens = len(load_vocabulary(directory / VOCABULARY).ids)
        if tokens > config.vocab_size:
            message = f"the vocabulary has {tokens:,} tokens, the network {config.vocab_size:,}"
            raise InputError(message, where=str(directory / VOCABULARY))
        dropout = description.classifier_dropout
        return cls(
            relative_to(directory, root),
            config,
            config.hidden_dropout_prob if dropout is None else dropout,
        )


@dataclass(frozen=True)
class Student:
    """Sizes of a student."""

    num_hidden_layers: int
    hidden_size: int
    intermediate_size: int
    origin: str
    """Where `intermediate_size` comes from."""

    @classmethod
    def parse(cls, text: str, teacher: Teacher) -> "Student":
        """Read `4x312` or `4x312x1200`: layers, hidden size, width of the feed-forward part.

        Raises:
            UsageError: It is not of that form, or the sizes do not go with the teacher's.
        """
        found = _SIZES.fullmatch(text)
        if found is None:
            cure = "write layers x width, such as 4x312, or 4x312x1200"
            raise UsageError(f"`{text}` is not the sizes of a student", cure=cure)
        layers, width = int(found[1]), int(found[2])
        heads = teacher.config.num_attention_heads
        if not 1 <= layers <= teacher.config.num_hidden_layers:
            most = teacher.config.num_hidden_layers
            raise UsageError(f"a student has 1 to {most} layers, as the teacher, not {layers}")
        if width < 1 or width % heads:
            near = max(1, round(width / heads)) * heads
            raise UsageError(
                f"a width of {width} does not divide into the teacher's {heads} heads",
                cure=f"use a multiple of {heads}, such as {layers}x{near}",
            )
        if found[3]:
            return cls(layers, width, int(found[3]), "you")
        published = PUBLISHED_WIDTHS.get(width)
        origin = "paper" if published else "here"
        return cls(layers, width, published or 4 * width, origin)


@dataclass(frozen=True)
class RecordsPlace:
    """A directory of prepared records."""

    place: str
    """As recipes name it."""
    sidecar: Sidecar

    @classmethod
    def find(cls, directory: Path, root: Path) -> "RecordsPlace":
        """Read the records.json of a directory.

        Raises:
            InputError: It has none, or it was changed.
        """
        sidecar = load_sidecar(directory)
        if sidecar is None:
            cure = "name records that `prepare` made, or the raw file"
            raise InputError(f"the directory holds no {NAME}", where=str(directory), cure=cure)
        return cls(relative_to(directory, root), sidecar)


@dataclass(frozen=True)
class TaskRecords:
    """The records of a task."""

    train: RecordsPlace
    dev: RecordsPlace

    @property
    def task(self) -> PreparedTask:
        """What their labels mean.

        Raises:
            InputError: The records have no labels.
        """
        task = self.train.sidecar.task
        if task is None:
            raise InputError("the records have no labels", where=self.train.place)
        return task


def find_task_records(data: Path, dev: Path | None, root: Path) -> TaskRecords:
    """Return the records in a directory: its `train` and `dev`, or itself, with another for `dev`.

    Raises:
        InputError: One of them is missing or damaged.
    """
    whole = (data / NAME).is_file()
    train = RecordsPlace.find(data if whole else data / "train", root)
    if dev is None and whole:
        cure = "name records of a dev set: --dev DIR"
        raise InputError("there is no dev set beside these records", where=str(data), cure=cure)
    return TaskRecords(train, RecordsPlace.find(dev or data / "dev", root))
