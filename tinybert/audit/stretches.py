"""Which steps of a finished run an audit replays, and how surely it finds forged ones.

A stretch begins where the state is known: with the first step of a training, or after a checkpoint
that was kept. It has at most N steps and ends before the next beginning, so that no two stretches
share a step. Of all M stretches K are drawn, by SHA-256 of the outcome's digest, the nonce and the
stretch's first step: the K least. Whoever made the run did not know the nonce.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import comb


@dataclass(frozen=True)
class Stretch:
    """Consecutive steps of one training."""

    phase: str
    """The training's name."""
    checkpoint: str | None
    """The checkpoint to begin from, in the run's folder; None: the training's first weights."""
    first_step: int
    """Steps of the run before it."""
    steps: int
    """Its length."""
    closed: bool
    """Whether the trace has the digest of the state after its last step."""

    @property
    def end(self) -> int:
        """Steps of the run after it."""
        return self.first_step + self.steps

    @property
    def checked(self) -> int:
        """Steps whose record and whose effect are compared.

        What a step did to the weights shows in the record of the next, or in the state after it.
        """
        return self.steps if self.closed else self.steps - 1


def all_stretches(
    phase: str,
    *,
    steps_before: int,
    total_steps: int,
    kept: Mapping[int, str],
    committed: Collection[int],
    length: int,
) -> list[Stretch]:
    """Return every stretch of a training, in order.

    Args:
        phase: The training's name.
        steps_before: Steps of the run before the training.
        total_steps: Steps of the training.
        kept: Checkpoints to begin from, in the run's folder, by the steps of the run before them.
        committed: Steps of the run after which the trace has the digest of the state.
        length: Most steps of a stretch.
    """
    end = steps_before + total_steps
    starts = [steps_before, *sorted(step for step in kept if steps_before < step < end)]
    stretches = []
    for start, following in zip(starts, [*starts[1:], end], strict=True):
        steps = min(length, following - start)
        file = None if start == steps_before else kept[start]
        stretches.append(Stretch(phase, file, start, steps, start + steps in committed))
    return stretches


def draw(stretches: Sequence[Stretch], count: int, outcome: str, nonce: str) -> list[Stretch]:
    """Return `count` stretches, or all, in their order; the draw follows from digest and nonce."""

    def lot(stretch: Stretch) -> bytes:
        return hashlib.sha256(f"{outcome} {nonce} {stretch.first_step}".encode()).digest()

    drawn = sorted(stretches, key=lot)[:count]
    return sorted(drawn, key=lambda stretch: stretch.first_step)


def certainty(stretches: Sequence[Stretch], count: int, total_steps: int, forged: int) -> float:
    """Return the least probability that drawing `count` stretches finds a forgery.

    The least, because whoever forged `forged` of the `total_steps` steps may know everything but
    the draw: then they are steps that no stretch checks, as many as there are, and the others are
    in as few stretches as can hold them.
    """
    checked = sorted((stretch.checked for stretch in stretches), reverse=True)
    left = forged - (total_steps - sum(checked))
    touched = 0
    while left > 0:
        left -= checked[touched]
        touched += 1
    return 1 - comb(len(checked) - touched, count) / comb(len(checked), count)


def one_step_certainty(stretches: Sequence[Stretch], count: int, total_steps: int) -> float:
    """Return the probability of finding one forged step, which is any step with equal chances."""
    return count / len(stretches) * sum(stretch.checked for stretch in stretches) / total_steps
