"""The report of an audit: what was replayed, what differs, how probably a forgery is found."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from math import ceil
from typing import Any

from tinybert.audit.replay import ReplayResult
from tinybert.audit.stretches import Stretch, certainty, one_step_certainty
from tinybert.errors import counted

SHARES = (0.01, 0.05, 0.2, 0.5)
"""Shares of forged steps for which the report has the probability of finding them."""


@dataclass(frozen=True)
class Audit:
    """An audit of a run; `text` is its report."""

    outcome: str
    """The digest of the run's outcome."""
    total_steps: int
    """Steps of the run."""
    nonce: str
    stretches: Sequence[Stretch] = ()
    """All that could have been drawn."""
    drawn: Sequence[Stretch] = ()
    contradictions: Sequence[str] = ()
    """How the manifest contradicts itself or its trace; then nothing was replayed."""
    result: ReplayResult | None = None
    seconds: float = 0.0
    """What the replay took, with compilation and evaluation."""

    @property
    def same(self) -> bool:
        """Whether nothing differs."""
        return not self.contradictions and self.result is not None and not self.result.findings

    @property
    def replayed_steps(self) -> int:
        """Steps that were replayed."""
        return sum(stretch.steps for stretch in self.drawn)

    @property
    def share(self) -> float:
        """Share of the run's steps that were replayed."""
        return self.replayed_steps / self.total_steps

    def certainty(self, share: float) -> float:
        """Return the least probability of finding a run with this share of forged steps."""
        forged = ceil(share * self.total_steps)
        return certainty(self.stretches, len(self.drawn), self.total_steps, forged)

    @property
    def one_step_certainty(self) -> float:
        """The probability of finding one forged step, which is any step with equal chances."""
        return one_step_certainty(self.stretches, len(self.drawn), self.total_steps)

    @property
    def text(self) -> str:
        """The report for people; its first line is the answer."""
        if self.result is None:
            first, *others = self.contradictions
            lines = [f"different: {first}", *(f"  {other}" for other in others)]
            return "\n".join([*lines, "nothing was replayed"]) + "\n"
        return "\n".join(self._lines(self.result)) + "\n"

    @property
    def predicate(self) -> dict[str, Any]:
        """The predicate of the auditor's statement."""
        return {
            "verdict": "same" if self.same else "different",
            "outcome_digest": self.outcome,
            "nonce": self.nonce,
            "total_steps": self.total_steps,
            "replayed_steps": self.replayed_steps,
            "drawn": [asdict(stretch) for stretch in self.drawn],
            "stretches": len(self.stretches),
            "one_step_certainty": self.one_step_certainty if self.stretches else 0.0,
            "report": self.text,
        }

    def _lines(self, result: ReplayResult) -> Iterator[str]:
        steps = f"{self.replayed_steps} of {self.total_steps} steps ({self.share:.1%})"
        if result.findings:
            first, *others = result.findings
            yield f"different: {first.text}"
            yield from (f"  {finding.text}" for finding in others)
            yield f"replayed: {steps} in {self.seconds:.0f} s"
        else:
            yield f"same: {steps} replayed in {self.seconds:.0f} s, every bit as in the trace"
        for stretch in self.drawn:
            start = stretch.checkpoint or "the first weights"
            steps = f"{stretch.first_step + 1} to {stretch.end}"
            yield f"  steps {steps} of {stretch.phase}, from {start}"
        records, states = counted(result.records, "record"), counted(result.states, "state")
        yield f"  compared: {records}, {states} after them, and the metrics"
        yield (
            f"drawn: {len(self.drawn)} of {len(self.stretches)} stretches, by the outcome "
            f"{self.outcome[:12]} and --nonce {self.nonce}"
        )
        yield f"one forged step, anywhere: found with probability {self.one_step_certainty:.3f}"
        yield "forged steps, where the draw is least likely to find them: with probability at least"
        least, *more = (f"{self.certainty(share):.3f} if {share:.0%}" for share in SHARES)
        yield f"  {', '.join([f'{least} of all steps are forged', *more])}"
        unseen = self.total_steps - sum(stretch.checked for stretch in self.stretches)
        if unseen:
            yield (
                f"note: {unseen} steps are checked by no stretch; longer stretches (--steps) and "
                "more kept checkpoints (max_ckpt_num) check more"
            )
