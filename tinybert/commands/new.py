"""The command `new`: a chain of recipes for a teacher, a task's data and a student."""

import os
import re
import shlex
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tinybert.atomic import atomic_directory, write_bytes
from tinybert.data.sidecar import Sidecar
from tinybert.errors import TinybertError, UsageError, all_of
from tinybert.files import PROGRAM, relative_to, relative_to_cwd, writing
from tinybert.new.entries import Chain
from tinybert.new.recipes import recipes
from tinybert.new.sources import (
    Pretrained,
    RecordsPlace,
    Student,
    TaskRecords,
    find_task_records,
    require_vocabulary,
)
from tinybert.plan.parent_runs import recipe_links
from tinybert.plan.plan import checkpoint_problems, make_plan
from tinybert.prepare.corpus import prepare_corpus
from tinybert.prepare.ner import ner_texts
from tinybert.prepare.qa import prepare_qa
from tinybert.prepare.reading import Part
from tinybert.prepare.records import PrepareOptions, write_task
from tinybert.prepare.sentences import TableOptions, table_texts
from tinybert.prepare.tokenizer_files import read_tokenizer
from tinybert.recipe.load import resolve
from tinybert.recipe.network_tables import StudentInit
from tinybert.recipe.task_types import AnswerTask
from tinybert.run.logs import configure

NAME = re.compile(r"[A-Za-z0-9_-]{1,100}")


def new(
    *,
    name: str,
    teacher: Path,
    student: str,
    init: StudentInit | None,
    data: Path,
    dev: Path | None,
    corpus: Sequence[str],
    seq_length: int,
    lowercase: bool | None,
    device: str,
    root: Path,
    force: bool,
    **raw: Any,
) -> str:
    """Prepare what is raw, write the recipes, and return what they are and how to run them.

    `raw` has the fields of `RawTask`.

    Raises:
        InputError: A file is missing or damaged, or does not go with the others.
        UsageError: Something must be named that is not, or the output may not be replaced.
    """
    folder = root / "recipes" / name
    _require_free(name, folder, force=force)
    configure("console")
    described = Pretrained.read(teacher, root, "teacher")
    wanted = Student.read(student, described, root, init)
    if not data.is_dir():
        _require_positions(seq_length, described, wanted)
    builder = RecordsBuilder(root, root / "data" / name, teacher, seq_length, lowercase, force)
    with _removed_on_failure(builder.folder):
        records = builder.task(data, dev, RawTask(**raw))
        chain = Chain(
            name=name,
            teacher=described,
            student=wanted,
            records=records,
            corpus=builder.corpus(corpus) if corpus else None,
            device=device,
            threads=os.cpu_count() or 1,
            folder=relative_to(folder, root),
            command=shlex.join(["python", "runner.py", *sys.argv[1:]]),
        )
        texts = recipes(chain)
        if problems := [each for made in texts.items() for each in _problems(*made, root)]:
            raise all_of(problems)
        _write(texts, folder, replace=force)
    places = [relative_to_cwd(root / path) for path in texts]
    elsewhere = [] if root.resolve() == PROGRAM else ["--root", str(root)]
    run = shlex.join(["python", "runner.py", "run", "--with-parents", places[-1], *elsewhere])
    return "\n".join([*_described(records), *places, f"run them: {run}"])


def _require_free(name: str, folder: Path, *, force: bool) -> None:
    """Raise a UsageError unless a chain may have this name, and its recipes this folder."""
    if not NAME.fullmatch(name):
        raise UsageError(f"`{name}` is no name of a chain", cure="use letters, digits, _ and -")
    if folder.exists() and not force:
        cure = "choose another name, or replace it with --force"
        raise UsageError("there are recipes of this name", where=relative_to_cwd(folder), cure=cure)


def _require_positions(seq_length: int, teacher: Pretrained, student: Student) -> None:
    """Raise a UsageError unless both networks read rows of so many tokens."""
    positions = min(each.config.max_position_embeddings for each in (teacher, student))
    if seq_length > positions:
        message = f"the networks have {positions:,} positions, fewer than --seq-length {seq_length}"
        raise UsageError(message, cure=f"--seq-length {positions}, or less: longer rows are cut")


@contextmanager
def _removed_on_failure(folder: Path) -> Iterator[None]:
    """Remove a folder that was not there before if the body fails, so that it can be repeated."""
    existed = folder.exists()
    try:
        yield
    except BaseException:
        if not existed:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _write(texts: Mapping[str, str], folder: Path, *, replace: bool) -> None:
    with writing(folder), atomic_directory(folder, replace=replace) as directory:
        for path, made in texts.items():
            write_bytes(directory / Path(path).name, made.encode())


def _described(records: TaskRecords) -> list[str]:
    """Return a line for each part of the data, and a warning for rows that are cut."""
    lines = []
    for each in (records.train, records.dev):
        sidecar, counts = each.sidecar, each.sidecar.counts
        lines.append(f"{each.place}: {sidecar.rows:,} rows of {sidecar.seq_length} tokens")
        if cut := counts.get("truncated_rows"):
            longest = counts["longest_row"]
            lines.append(f"warning: {cut:,} of them are cut; the longest has {longest} tokens")
    return lines


def _problems(path: str, text: str, root: Path) -> list[TinybertError]:
    """Return what a run of a recipe would refuse, but for the runs that it links to."""
    recipe = resolve(path, text.encode())
    pending = {role for role, _ in recipe_links(recipe.recipe)}
    plan, problems = make_plan(recipe, root, pending)
    return [*problems, *([] if problems else checkpoint_problems(plan))]


@dataclass(frozen=True)
class RawTask:
    """How raw files of a task are read."""

    text: str | None
    text_pair: str | None
    label: str | None
    label_kind: Literal["class", "number", "classes"]
    label_separator: str | None
    tags: Literal["cluener", "conll"] | None
    """The format of token tags; None: the files are tables, with these columns."""
    questions: AnswerTask | None
    """Whose program scores answers to questions; None: the files have none."""

    def prepare(
        self, file: Path, options: PrepareOptions, part: Part | None, labels_from: Path | None
    ) -> Sidecar:
        """Make the records of one part.

        Raises:
            InputError: The file cannot be read, or a row does not have the format.
            UsageError: A column must be named that is not.
        """
        if self.questions is not None:
            return prepare_qa(
                self.questions, [file], options, stride=None, max_question_length=64, part=part
            )
        if self.tags is not None:
            tagged = ner_texts(
                [file], input_format=self.tags, labels=None, labels_from=labels_from, part=part
            )
            return write_task(tagged, options)
        if self.text is None or self.label is None:
            raise UsageError(
                "a table needs the names of its columns",
                where=str(file),
                cure="name them: --text COLUMN --label COLUMN; or --tags, where words have tags; "
                "or --questions, where contexts have questions",
            )
        table = TableOptions(
            text=self.text,
            text_pair=self.text_pair,
            label=self.label,
            label_kind=self.label_kind,
            label_separator=self.label_separator,
            labels=None,
            labels_from=labels_from if self.label_kind != "number" else None,
            input_format=None,
        )
        return write_task(table_texts([file], table, part=part), options)


@dataclass(frozen=True)
class RecordsBuilder:
    """Makes records of raw files, as the teacher's tokenizer reads them."""

    root: Path
    folder: Path
    """Where they go."""
    teacher: Path
    """The directory with vocabulary and tokenizer."""
    seq_length: int
    lowercase: bool | None
    force: bool

    def _options(self, part: str) -> PrepareOptions:
        if self.lowercase is None and read_tokenizer(self.teacher).options is None:
            raise UsageError(
                "the teacher's files do not say whether texts are lower-cased for it",
                where=str(self.teacher),
                cure="say so: --lowercase, or --cased",
            )
        return PrepareOptions(
            vocab=require_vocabulary(self.teacher),
            output=self.folder / part,
            seq_length=self.seq_length,
            format="tfrecord",
            lowercase=self.lowercase,
            strip_accents=None,
            tokenize_chinese_chars=None,
            rows_per_file=100_000,
            force=self.force,
        )

    def corpus(self, inputs: Sequence[str]) -> RecordsPlace:
        """Return the records of plain text."""
        options = self._options("corpus")
        sidecar = prepare_corpus(inputs, options, input_format=None, single_segments=False, seed=1)
        return RecordsPlace(relative_to(options.output, self.root), sidecar)

    def task(self, data: Path, dev: Path | None, raw: RawTask) -> TaskRecords:
        """Return the records of a task, made from raw files unless `data` is a directory."""
        if data.is_dir():
            return find_task_records(data, dev, self.root)
        train, labels_from = self._options("train"), None
        places: list[tuple[PrepareOptions, Path, Part]]
        places = [(train, data, "train"), (self._options("dev"), dev or data, "dev")]
        parts = []
        for options, file, part in places:
            sidecar = raw.prepare(file, options, None if dev else part, labels_from)
            parts.append(RecordsPlace(relative_to(options.output, self.root), sidecar))
            labels_from = train.output
        return TaskRecords(*parts)
