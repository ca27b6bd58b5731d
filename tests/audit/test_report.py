"""The text of an audit's report."""

from tinybert.audit.replay import ReplayResult
from tinybert.audit.report import Audit
from tinybert.audit.stretches import Stretch

STRETCHES = [
    Stretch("general_distill", None, 0, 8, False),
    Stretch("general_distill", "checkpoints/step-00000040.safetensors", 40, 8, True),
]


def test_a_report_has_what_was_replayed_and_how_probably_a_forgery_is_found():
    result = ReplayResult(findings=[], records=8, states=1)
    audit = Audit("ab" * 32, 48, "7", STRETCHES, STRETCHES[1:], result=result, seconds=38.4)
    assert audit.text.splitlines() == [
        "same: 8 of 48 steps (16.7%) replayed in 38 s, every bit as in the trace",
        "  steps 41 to 48 of general_distill, from checkpoints/step-00000040.safetensors",
        "  compared: 8 records, 1 state after them, and the metrics",
        "drawn: 1 of 2 stretches, by the outcome abababababab and --nonce 7",
        "one forged step, anywhere: found with probability 0.156",  # 1 / 2 * 15 / 48
        "forged steps, where the draw is least likely to find them: with probability at least",
        "  0.000 if 1% of all steps are forged, 0.000 if 5%, 0.000 if 20%, 0.000 if 50%",
        "note: 33 steps are checked by no stretch; longer stretches (--steps) and more kept "
        "checkpoints (max_ckpt_num) check more",
    ]
