"""The arguments of the command line about an augmentation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tinybert.errors import UsageError
from tinybert.recipe.network import Role

Context = Literal["text", "text_and_original"]


@dataclass(frozen=True)
class AugmentOptions:
    """Where candidates come from, and how many rows are made of them."""

    masked_lm: Path | None
    """The network whose head of masked language modelling gives candidates for words of one piece:
    a run, or a checkpoint."""
    embeddings: Path | None
    """The network whose word embeddings give them instead: the nearest ones."""
    word_vectors: Path | None
    """The file of word vectors that gives candidates for other words; without a network for all."""
    root: Path
    """Directory with `manifests/`, where a network is a run."""
    recipe: Path | None
    """The recipe that describes a checkpoint without config.json."""
    role: Role | None
    """The network of the recipe, or of the run."""
    context: Context
    """What the head reads: the text with a word masked, or the text itself after it, too."""
    threshold: float
    """Probability by which a word is replaced (p)."""
    candidates: int
    """Most candidates for a word (M)."""
    samples: int
    """Rows that are made of a row (N)."""
    seed: int
    """Of which words are replaced, and by which candidates."""
    keep_words: Path | None
    """A file of words that stay."""

    @property
    def network(self) -> Path | None:
        """The network that gives candidates for words of one piece."""
        return self.masked_lm or self.embeddings

    def check(self) -> None:
        """Refuse options that contradict each other, and numbers that are too small.

        Raises:
            UsageError: There is one.
        """
        if self.masked_lm is not None and self.embeddings is not None:
            raise UsageError(
                "two networks give candidates for words of one piece",
                cure="name one: --masked-lm, or --embeddings",
            )
        if self.network is None and self.word_vectors is None:
            raise UsageError(
                "nothing gives candidates for words",
                cure="name a network with the head of masked language modelling, --masked-lm "
                "SOURCE, word vectors, --word-vectors FILE, or both; where neither is at hand, any "
                "encoder: --embeddings SOURCE",
            )
        if self.context != "text" and self.masked_lm is None:
            raise UsageError("--context is for --masked-lm: nothing else reads more than a word")
        if not 0 < self.threshold <= 1:
            raise UsageError(f"--threshold is a probability above 0, not {self.threshold}")
        if self.candidates < 1 or self.samples < 1:
            raise UsageError("--candidates and --samples are at least 1")
