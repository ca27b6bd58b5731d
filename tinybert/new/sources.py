"""What a chain of recipes is made from: the teacher's directory, the student, records."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

from tinybert.data.sidecar import NAME, PreparedTask, Sidecar, load_sidecar
from tinybert.errors import InputError, UsageError
from tinybert.files import relative_to
from tinybert.model.checkpoint_files import WEIGHTS
from tinybert.model.description import DESCRIPTION, Description
from tinybert.prepare.vocabulary import find_vocabulary, load_vocabulary, require_room
from tinybert.recipe.network import NetworkConfig, Role
from tinybert.recipe.network_tables import StudentInit

PUBLISHED_WIDTHS = {312: 1200, 768: 3072}
"""Width of the feed-forward part of TinyBERT's students, by their hidden size (the paper, 4.1)."""
_SAVE_PRETRAINED = "name a directory as transformers' save_pretrained writes it"
_SIZES = re.compile(r"(\d{1,3})x(\d{1,5})(?:x(\d{1,6}))?")


def require_vocabulary(directory: Path) -> Path:
    """Return the file with the vocabulary of a teacher's directory.

    Raises:
        InputError: It has none, or a damaged tokenizer.json.
    """
    vocabulary = find_vocabulary(directory)
    if vocabulary is None:
        message = "the teacher's directory lacks vocab.txt, and a tokenizer.json of WordPiece"
        raise InputError(message, where=str(directory), cure=_SAVE_PRETRAINED)
    return vocabulary


@dataclass(frozen=True)
class Pretrained:
    """A directory with a model in Hugging Face's files."""

    place: str
    """As recipes name it."""
    config: NetworkConfig
    classifier_dropout: float

    @classmethod
    def read(cls, directory: Path, root: Path, role: Role) -> "Pretrained":
        """Read the description of a teacher, which has its vocabulary beside it, or of a student.

        Raises:
            InputError: A file is missing or damaged, or describes no BERT that this program has.
        """
        for name, what in ((DESCRIPTION, "its description"), (WEIGHTS, "its weights")):
            if not (directory / name).is_file():
                raise InputError(
                    f"the {role}'s directory lacks {name}, {what}",
                    where=str(directory),
                    cure=_SAVE_PRETRAINED,
                )
        description = Description.read(directory / DESCRIPTION)
        try:
            config = description.network("float32")
        except ValueError as error:
            message = f"the {role} is no BERT that this program has: {error}"
            raise InputError(message, where=str(directory / DESCRIPTION)) from error
        if role == "teacher":
            vocabulary = require_vocabulary(directory)
            require_room(load_vocabulary(vocabulary), vocabulary, config.vocab_size)
        dropout = description.classifier_dropout
        return cls(
            relative_to(directory, root),
            config,
            config.hidden_dropout_prob if dropout is None else dropout,
        )


@dataclass(frozen=True)
class Student:
    """What the student is, and where each part of that comes from."""

    place: str | None
    """The directory with its first weights, as recipes name it; None: they come from the seed."""
    config: NetworkConfig
    classifier_dropout: float
    origin: str
    """Of what is not a size."""
    size_origins: tuple[str, str, str]
    """Of `hidden_size`, `num_hidden_layers` and `intermediate_size`."""
    init: StudentInit = "seeded"
    """Where its first weights come from without `place`."""

    @classmethod
    def read(
        cls, named: str, teacher: Pretrained, root: Path, init: StudentInit | None = None
    ) -> "Student":
        """Read `4x312`, `4x312x1200`, or a directory with a model.

        The numbers are layers, hidden size, and width of the feed-forward part; the rest is then
        as the teacher has it.

        Args:
            named: What the command line calls the student.
            teacher: The teacher.
            root: Where paths of recipes start.
            init: Where the weights of a student of these sizes come from; None: the seed.

        Raises:
            InputError: A file of the directory is missing or damaged, or describes no BERT that
                this program has.
            UsageError: It is neither sizes nor a directory, or does not go with the teacher.
        """
        sizes = _SIZES.fullmatch(named)
        if sizes is None and not Path(named).is_dir():
            raise UsageError(
                f"`{named}` is neither the sizes of a student nor a directory with one",
                cure="write layers x width, such as 4x312, or 4x312x1200, or name a directory",
            )
        if sizes is None and init is not None:
            cure = "leave --init out, or write layers x width"
            raise UsageError(f"`{named}` has weights to begin from", cure=cure)
        if sizes is None:
            student = cls._from(Path(named), root)
        else:
            student = cls._of_sizes(sizes, teacher, init or "seeded")
        student._require_fit(teacher)
        return student

    @classmethod
    def _from(cls, directory: Path, root: Path) -> "Student":
        model = Pretrained.read(directory, root, "student")
        origin = "student"
        return cls(model.place, model.config, model.classifier_dropout, origin, (origin,) * 3)

    @classmethod
    def _of_sizes(cls, sizes: re.Match[str], teacher: Pretrained, init: StudentInit) -> "Student":
        layers, width = int(sizes[1]), int(sizes[2])
        heads = teacher.config.num_attention_heads
        if width < 1 or width % heads:
            near = max(1, round(width / heads)) * heads
            raise UsageError(
                f"a width of {width} does not divide into the teacher's {heads} heads",
                cure=f"use a multiple of {heads}, such as {layers}x{near}",
            )
        published = PUBLISHED_WIDTHS.get(width)
        inner, origin = published or 4 * width, "paper" if published else "here"
        if init == "teacher":
            inner, origin = teacher.config.intermediate_size, "teacher"
        if sizes[3]:
            inner, origin = int(sizes[3]), "you"
        config = replace(
            teacher.config, num_hidden_layers=layers, hidden_size=width, intermediate_size=inner
        )
        origins = ("you", "you", origin)
        return cls(None, config, teacher.classifier_dropout, "teacher", origins, init)

    def _require_fit(self, teacher: Pretrained) -> None:
        """Raise a UsageError unless the teacher can teach this student."""
        layers, most = self.config.num_hidden_layers, teacher.config.num_hidden_layers
        if not 1 <= layers <= most:
            raise UsageError(f"a student has 1 to {most} layers, as the teacher, not {layers}")
        (width, inner), widths = (
            (model.config.hidden_size, model.config.intermediate_size) for model in (teacher, self)
        )
        if self.init == "teacher" and widths != (width, inner):
            raise UsageError(
                f"layers of the teacher are {width} wide, and {inner} in the feed-forward part",
                cure=f"use --student {layers}x{width}, or --init seeded",
            )
        ours, theirs = self.config.vocab_size, teacher.config.vocab_size
        if ours != theirs:
            raise UsageError(
                f"the student has {ours:,} token ids, the teacher {theirs:,}",
                where=self.place or "",
                cure="name a student with the teacher's vocabulary: both read the same token ids",
            )


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
        if task is None or task.label is None:
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
