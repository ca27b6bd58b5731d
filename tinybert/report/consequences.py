"""Which differences of two runs the user made, and which follow from them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from tinybert.compare.causes import (
    BUILT,
    CODE,
    DATA,
    ENVIRONMENT,
    OPTION,
    ORDER,
    PARENT,
    SEED,
    WEIGHTS,
    Cause,
    format_value,
)

KINDS = {
    SEED: "seed",
    DATA: "data",
    OPTION: "option",
    WEIGHTS: "weights",
    PARENT: "parent run",
    CODE: "code",
    ORDER: "order",
    BUILT: "graph",
    ENVIRONMENT: "environment",
}
"""What a difference is about, by its rank."""
VALUES = "inputs.recipe.values."
_SIZES = "total_steps|warmup_steps|decay_start|learning_rates|global_batch_size|packing|rows"
_NETWORKS = (
    "parameters|initial_weights|masks|matrix_products|num_attention_heads|padding_idx"
    r"|teacher_cache|optimizer\.decay_groups"
)
EFFECTS = (
    ("seed", "initial_weights|masks"),
    (r"optimizer\.schedule|training", "total_steps|warmup_steps|decay_start|learning_rates"),
    ("optimizer", "optimizer"),
    ("loss_scale", "loss_scale"),
    (r"data|batch_size|global_batch_size", f"{_SIZES}|masks|teacher_cache"),
    ("network|teacher|student|task|distill", _NETWORKS),
    ("topology", "topology|runtime|global_batch_size"),
    ("runtime", "runtime|threads|arithmetic|determinism|masks|teacher_cache"),
)
"""Tables of a recipe, and what of the graph and the environment follows from them."""
_PHASE = re.compile(r"(?:phases\.)?(phase\d)\.")


@dataclass(frozen=True)
class RootCause:
    """A difference, with those that follow from it."""

    cause: Cause
    kind: str
    """What it is about, in a word."""
    name: str
    """An option's key, or the difference in words."""
    consequences: list[Cause]

    @property
    def a(self) -> str:
        """The value in A, as the recipe writes it."""
        return format_value(self.cause.a)

    @property
    def b(self) -> str:
        """The value in B."""
        return format_value(self.cause.b)

    @property
    def has_values(self) -> bool:
        """Whether name and both values say all of it."""
        return self.cause.rank in (SEED, OPTION)


@dataclass(frozen=True)
class Explained:
    """The differences of two runs, by what they follow from."""

    roots: list[RootCause]
    """Those that follow from no other, in their order."""
    together: list[Cause]
    """What was built otherwise, for more than one of these reasons."""
    harmless: list[Cause]
    """Differences without effect that do not follow from a change by the user."""


def explain_differences(causes: Sequence[Cause], harmless: Sequence[Cause] = ()) -> Explained:
    """Return which differences the user made, and which follow from them."""
    roots = [
        RootCause(cause, KINDS.get(cause.rank, ""), _name(cause), [])
        for cause in causes
        if cause.rank != BUILT and not _follows_from_parent(cause, causes)
    ]
    given = [root for root in roots if root.cause.rank not in (ENVIRONMENT, CODE, ORDER)]
    unexplained: list[Cause] = []
    for cause in (*causes, *harmless):
        own = next((root for root in given if _explains(root.cause, cause)), None)
        if own is None and cause.path.startswith("effective.") and len(roots) == 1:
            own = roots[0]
        if own is not None:
            own.consequences.append(cause)
        elif cause.rank == BUILT:
            unexplained.append(cause)
    explained = {id(cause) for root in roots for cause in root.consequences}
    return Explained(
        [root for root in roots if id(root.cause) not in explained],
        unexplained,
        [cause for cause in harmless if id(cause) not in explained],
    )


def _name(cause: Cause) -> str:
    if cause.rank == OPTION:
        return cause.path.removeprefix(VALUES)
    return cause.text.partition(":")[0] if cause.rank == SEED else cause.text


def _follows_from_parent(cause: Cause, causes: Sequence[Cause]) -> bool:
    return any(_explains(other, cause) for other in causes if other.rank == PARENT)


def _explains(root: Cause, cause: Cause) -> bool:
    """Return whether a difference follows from another one, which the user made."""
    if cause is root:
        return False
    if root.rank == PARENT:
        return cause.rank == WEIGHTS and cause.path.split(".")[2] == root.path.split(".")[2]
    section, _, fact = cause.path.partition(".")
    if section not in ("effective", "environment") or root.rank not in (SEED, OPTION):
        return False
    option = root.path.removeprefix(VALUES)
    phases = [match[1] for text in (option, fact) if (match := _PHASE.match(text))]
    if len(set(phases)) > 1:
        return False
    option, fact = _PHASE.sub("", option, count=1), _PHASE.sub("", fact, count=1)
    table = next((effect for name, effect in EFFECTS if re.match(f"({name})\\b", option)), None)
    return table is not None and bool(re.match(f"({table})\\b", fact))
