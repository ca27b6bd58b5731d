"""The questions of records of answers: texts, and where each row's tokens lie in them.

    questions.json       contexts; questions with their context and the answers that count
    windows.safetensors  token_spans     (tokens, 2) int32, first character and end of every token,
                                         context after context
                         context_tokens  (contexts + 1,) int64, where each context's tokens begin
                         windows         (rows, 4) int32, what each row reads of its context

Both lie beside the records, and `records.json` has their digests.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import save_file

from tinybert.data.sidecar import QUESTIONS, WINDOWS, Sidecar
from tinybert.data.source import RecordSource
from tinybert.errors import InputError
from tinybert.files import open_safetensors
from tinybert.strict_json import read_json

MAX_BYTES = 1 << 30
"""Of a questions.json."""
CLS_POSITION = 0
"""Where a row's [CLS] is, whose logits stand for no answer."""
_ARRAYS = {"token_spans": np.int32, "context_tokens": np.int64, "windows": np.int32}


class Question(BaseModel):
    """A question about a context."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    id: str
    context: Annotated[int, Field(ge=0)]
    """Place of its context, from 0."""
    answers: Annotated[tuple[str, ...], Field(strict=False)]
    """Every answer that counts as right; none where the context has no answer."""


class _Content(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    contexts: Annotated[tuple[str, ...], Field(strict=False)]
    questions: Annotated[tuple[Question, ...], Field(strict=False)]


class Window(NamedTuple):
    """What a row reads of a context."""

    question: int
    """Place of its question, from 0."""
    first_token: int
    """First token of the context that it reads, from 0."""
    tokens: int
    """How many it reads."""
    position: int
    """Position in the row of the first."""


@dataclass(frozen=True)
class QuestionSet:
    """Questions, and the windows that the rows of records are."""

    contexts: tuple[str, ...]
    questions: tuple[Question, ...]
    token_spans: npt.NDArray[np.int32]
    context_tokens: npt.NDArray[np.int64]
    windows: npt.NDArray[np.int32]

    def window(self, row: int) -> Window:
        """Return what a row reads."""
        return Window(*self.windows[row].tolist())

    def span(self, context: int, first: int, last: int) -> tuple[int, int]:
        """Return the first character and the end of the tokens `first` to `last` of a context."""
        start = int(self.context_tokens[context])
        return int(self.token_spans[start + first, 0]), int(self.token_spans[start + last, 1])

    def save(self, directory: Path) -> list[Path]:
        """Write both files; returns them."""
        content = {
            "contexts": self.contexts,
            "questions": [question.model_dump() for question in self.questions],
        }
        paths = [directory / QUESTIONS, directory / WINDOWS]
        text = json.dumps(content, ensure_ascii=False, separators=(",\n", ": "))
        paths[0].write_text(text + "\n", encoding="utf-8")
        save_file({name: getattr(self, name) for name in _ARRAYS}, paths[1])
        return paths

    @classmethod
    def load(cls, directory: Path) -> "QuestionSet":
        """Read both files.

        Raises:
            InputError: One is missing, damaged, or does not go with the other.
        """
        path = directory / QUESTIONS
        try:
            content = _Content.model_validate(read_json(path, limit=MAX_BYTES))
            path = directory / WINDOWS
            with open_safetensors(path) as file:
                arrays = {name: file.get_tensor(name) for name in _ARRAYS}
            loaded = cls(content.contexts, content.questions, **arrays)
            loaded._check()
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", where=str(path)) from error
        except (ValidationError, SafetensorError, ValueError) as error:
            message = "the file is not what `prepare qa` writes"
            raise InputError(message, where=str(path)) from error
        return loaded

    def _check(self) -> None:
        """Raise a ValueError unless all parts fit each other."""
        shapes = [getattr(self, name).shape[1:] for name in _ARRAYS]
        types = [getattr(self, name).dtype for name in _ARRAYS]
        if shapes != [(2,), (), (4,)] or types != list(_ARRAYS.values()):
            raise ValueError("other shapes or types")
        ends, contexts = self.context_tokens, len(self.contexts)
        if len(ends) != contexts + 1 or ends[0] or ends[-1] != len(self.token_spans):
            raise ValueError("other contexts")
        question, first, tokens, position = self.windows.T
        asked = np.array([each.context for each in self.questions], np.int64)
        if (asked >= contexts).any() or not np.array_equal(
            np.unique(question), np.arange(len(asked))
        ):
            raise ValueError("other questions")
        lengths = np.diff(ends)[asked[question]]
        if (
            min(first.min(), tokens.min() - 1, position.min()) < 0
            or (first + tokens > lengths).any()
        ):
            raise ValueError("a window outside its context")


def find_questions(source: RecordSource) -> tuple[Path, Sidecar]:
    """Return the directory of records of answers, and its records.json.

    Raises:
        InputError: They are not all the records of one `prepare qa`.
    """
    found = [pair for pair in source.sidecars() if (pair[0] / QUESTIONS).exists()]
    if len(found) == 1 and len(source.sidecars()) == 1:
        sidecar = found[0][1]
        records = [file.name for file in sidecar.files if file.rows is not None]
        if records == [path.name for path in source.paths]:
            return found[0]
    raise InputError(
        "answers are measured on whole records of one directory that `prepare qa` made",
        where=str(source.paths[0].parent),
        cure="name that directory in [data]",
    )
