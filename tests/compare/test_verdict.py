import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinybert.errors import ManifestError
from tinybert.manifest.document import encode_manifest, read_manifest
from tinybert.manifest.model import replace_sections
from tinybert.manifest.trace import TraceWriter
from tinybert.report.text import diff

EXPECT = {
    "reference": "manifests/tiny.reference.json",
    "tolerance": {"relative": 1e-3, "absolute": 1e-6},
}


def tokens(position: int) -> np.ndarray:
    changed = np.arange(48, dtype=np.uint16)
    changed[position] += 1
    return changed


def teacher() -> dict[str, np.ndarray]:
    return {
        "embeddings.word_embeddings.weight": np.full((3, 2), 0.5, np.float32),
        "encoder.layer.10.output.dense.weight": np.full((2, 2), 0.25, np.float32),
        "encoder.layer.2.output.dense.weight": np.array([[1, 0], [0, 0.5]], np.float32) / 4,
    }


PLANTED = {
    "seed": (
        {"seed": 2},
        "different: seed: 1 in A, 2 in B; other arithmetic on equal batches from step 1",
    ),
    "token": (
        {"tokens": tokens(17)},
        "different: data file: other bytes (records); other batches from step 5",
    ),
    "option": (
        {"weight_decay": 1e-2},
        "different: option optimizer.weight_decay: 0.0001 in A, 0.01 in B;"
        " other arithmetic on equal batches from step 2",
    ),
    "shuffle": (
        {"order": [0, 2, 1, *range(3, 12)]},
        "different: option data.do_shuffle: true in A, false in B;"
        " the same batches in another order from step 2",
    ),
    "weight": (
        {"teacher": teacher()},
        "different: teacher checkpoint: other weights in `encoder.layer.2.output.dense.weight`"
        " (teacher.safetensors); other arithmetic on equal batches from step 1",
    ),
    "library": (
        {"numpy": "1.26.3", "noise": 1e-9},
        'different: library numpy: "1.26.4" in A, "1.26.3" in B;'
        " other arithmetic on equal batches from step 2",
    ),
    "code": (
        {"code": {"runner.py": "0" * 64, "tinybert/stages.py": "2" * 64}, "noise": 1e-9},
        "different: code: tinybert/stages.py; other arithmetic on equal batches from step 2",
    ),
    "nothing": (
        {"noise": 1e-9},
        "different: no cause is recorded: inputs, graphs and environments are equal;"
        " other arithmetic on equal batches from step 2",
    ),
    "seed, option and library": (
        {"seed": 2, "weight_decay": 1e-2, "numpy": "1.26.3"},
        "different: seed: 1 in A, 2 in B; other arithmetic on equal batches from step 1",
    ),
    "token, option and library": (
        {"tokens": tokens(17), "weight_decay": 1e-2, "numpy": "1.26.3"},
        "different: option optimizer.weight_decay: 0.0001 in A, 0.01 in B;"
        " other arithmetic on equal batches from step 2",
    ),
    "first token and option": (
        {"tokens": tokens(0), "weight_decay": 1e-2},
        "different: data file: other bytes (records); other batches from step 1",
    ),
}


@pytest.mark.parametrize(("facts", "expected"), PLANTED.values(), ids=PLANTED)
def test_the_first_line_names_the_cause(pretend: Any, facts: dict[str, Any], expected: str) -> None:
    a, b = pretend("a").run(), pretend("b", **facts).run()
    text, code = diff(a, b)
    assert text.partition("\n")[0] == expected
    assert code == 1
    document, code = diff(a, b, format="json")
    assert json.loads(document)["headline"] == expected
    assert code == 1


def test_another_batch_order_on_equal_inputs_is_the_cause(pretend: Any) -> None:
    other = {"order": [0, 1, 2, 4, 3, *range(5, 12)], "do_shuffle": True}
    a, b = pretend("a"), pretend("b", numpy="1.26.3", **other)
    text, _ = diff(a.run(), b.run())
    assert text.partition("\n")[0] == (
        "different: batch order: equal inputs, the same batches in another order from step 4"
    )
    assert '\n  library numpy: "1.26.4" in A, "1.26.3" in B\n' in text


def test_the_whole_answer(pretend: Any) -> None:
    a, b = pretend("a").run(), pretend("b", weight_decay=1e-2, numpy="1.26.3").run()
    text, _ = diff(a, b)
    assert (
        text
        == f"""\
different: option optimizer.weight_decay: 0.0001 in A, 0.01 in B; other arithmetic on equal batches\
 from step 2
  A  {a}
  B  {b}
first differing step: 2 (other arithmetic on equal batches from step 2)
  loss: 15.52055 (0x1.f0a858793dd98p+3) in A, 15.377 (0x1.ec10624dd2f1bp+3) in B
  parts.hidden_loss: 7.760275 (0x1.f0a858793dd98p+2) in A, 7.6885 (0x1.ec10624dd2f1bp+2) in B
  largest relative difference of a step's loss: 0.101
first differing tensor: student.encoder.layer.0.output.dense.weight (checkpoint of step 6)
  largest difference: 0.861 absolute, 0.0518 relative
  4 of 5 tensors differ
outcome
  metrics.loss: 15.66605 (0x1.f5504816f0069p+3) in A, 14.087 (0x1.c2c8b43958106p+3) in B
  metrics.hidden_loss: 7.833025 (0x1.f5504816f0069p+2) in A, 7.0435 (0x1.c2c8b43958106p+2) in B
  metrics.mean_loss: 15.586025 (0x1.f2c0b780346dcp+3) in A, 14.7965 (0x1.d97ced916872bp+3) in B
  metrics.mean_hidden_loss: 7.7930125 (0x1.f2c0b780346dcp+2) in A, \
7.39825 (0x1.d97ced916872bp+2) in B
  trace_digest: 5c53e868e6f4 in A, 3a7db970ba7b in B
  checkpoints.0.tensor_digest: 4c794e273e77 in A, bb231b0114c8 in B
  checkpoints.1.tensor_digest: fb250ae29c56 in A, c95db15067ad in B
causes, the most probable first
  option optimizer.weight_decay: 0.0001 in A, 0.01 in B
  library numpy: "1.26.4" in A, "1.26.3" in B
"""
    )


def test_the_answer_as_json(pretend: Any) -> None:
    a, b = pretend("a").run(), pretend("b", seed=2).run()
    text, code = diff(a, b, format="json")
    answer = json.loads(text)
    assert (answer["verdict"], answer["exit_code"], code) == ("different", 1, 1)
    assert (answer["a"], answer["b"]) == (str(a), str(b))
    assert answer["causes"][0] == {
        "path": "inputs.recipe.values.seed",
        "class": "input",
        "a": 1,
        "b": 2,
        "text": "seed: 1 in A, 2 in B",
    }
    assert answer["step"]["global_step"] == 0
    assert answer["step"]["values"]["loss"] == [15.506, 16.506]
    assert answer["tensor"]["name"] == "student.encoder.layer.0.output.dense.weight"
    assert answer["outcome"]["metrics.loss"][0]["hex"] == "0x1.f5504816f0069p+3"


@pytest.mark.parametrize("require", ["bitwise", "tolerance"])
def test_equal_outcomes_are_bitwise_whatever_else_differs(pretend: Any, require: Any) -> None:
    a = pretend("a").run()
    b = pretend("b", numpy="1.26.3", code={"runner.py": "2" * 64}).run()
    text, code = diff(a, b, require=require)
    assert code == 0
    assert (
        text
        == f"""\
bitwise: the outcomes are equal
  A  {a}
  B  {b}
differences without effect
  code: runner.py and 1 more files
  library numpy: "1.26.4" in A, "1.26.3" in B
"""
    )


@pytest.mark.parametrize(("require", "expected"), [("bitwise", 1), ("tolerance", 0)])
def test_near_outcomes_are_within_tolerance(pretend: Any, require: Any, expected: int) -> None:
    expect = EXPECT
    a = pretend("a", expect=expect).run()
    b = pretend("b", noise=1e-6, numpy="1.26.3").run()
    text, code = diff(a, b, require=require)
    assert text.startswith(
        'within tolerance: library numpy: "1.26.4" in A, "1.26.3" in B;'
        " other arithmetic on equal batches from step 2\n"
    )
    assert code == expected


def test_far_outcomes_say_what_is_out_of_tolerance(pretend: Any) -> None:
    expect = EXPECT
    a, b = pretend("a", expect=expect).run(), pretend("b", expect=expect, noise=1e-2).run()
    text, code = diff(a, b, require="tolerance")
    assert code == 1
    lines = text.splitlines()
    assert [lines[3], lines[7]] == [
        "  metrics.loss: 15.66605 in A, 15.77605 in B",
        "  loss of step 3: 15.5351 in A, 15.5551 in B",
    ]


@pytest.mark.parametrize(
    ("expect", "place"),
    [({"tolerance": {"relative": 1e-3}}, "tolerance.absolute"), ({"steps": "many"}, "steps")],
)
def test_expectations_that_no_recipe_has_are_refused(pretend: Any, expect: Any, place: str) -> None:
    a, b = pretend("a").run(), pretend("b", noise=1e-2).run()
    manifest = read_manifest(b)
    recipe = replace(manifest.inputs.recipe, values={"expect": expect})
    edited = replace_sections(manifest, inputs=replace(manifest.inputs, recipe=recipe))
    b.write_bytes(encode_manifest(edited))
    with pytest.raises(ManifestError, match=rf"inputs\.recipe\.values\.expect\.{place}: "):
        diff(a, b)


def test_a_single_step_out_of_tolerance_is_enough(pretend: Any) -> None:
    a = pretend("a", expect=EXPECT)
    b = pretend("b", expect=EXPECT)
    right = b.loss
    b.loss = lambda step, batch: right(step, batch) + (0.1 if step == 7 else 0.0)
    text, _ = diff(a.run(), b.run())
    assert text.splitlines()[3] == "  loss of step 8: 15.60785 in A, 15.707849999999999 in B"


def test_runs_that_did_not_finish_are_incomparable(pretend: Any) -> None:
    run = pretend("b")
    with run.planned() as record:
        run.train(record, last=3)
    text, code = diff(pretend("a").run(), record.path)
    assert text.startswith("incomparable: B is abandoned\n")
    assert code == 2
    text, code = diff(record.path, record.path)
    assert text.startswith("incomparable: A is abandoned; B is abandoned\n")
    assert code == 2


def test_another_stage_is_incomparable(pretend: Any) -> None:
    a, b = pretend("a").run(), pretend("b").run()
    manifest = read_manifest(b)
    edited = replace_sections(manifest, inputs=replace(manifest.inputs, stage="finetune"))
    b.write_bytes(encode_manifest(edited))
    text, code = diff(a, b)
    assert text.startswith("incomparable: another stage: general_distill in A, finetune in B\n")
    assert code == 2


def test_another_set_of_tensors_is_incomparable(pretend: Any) -> None:
    a, b = pretend("a").run(), pretend("b", student_size=4, weight_decay=0.0).run()
    text, code = diff(a, b)
    assert text.partition("\n")[0] == (
        "incomparable: another set of tensors: `student.embeddings.word_embeddings.weight` is"
        " float32 (3,) in A and float32 (4,) in B; option optimizer.weight_decay: 0.0001 in A,"
        " 0.0 in B"
    )
    assert code == 2


def test_without_traces_and_checkpoints_the_manifests_are_compared(pretend: Any) -> None:
    a, b = pretend("a").run(), pretend("b", seed=2).run()
    shutil.rmtree(b.parent.parent / "runs")
    text, code = diff(a, b)
    assert text.startswith("different: seed: 1 in A, 2 in B\n")
    assert text.endswith("note: no trace of B at hand: steps were not compared\n")
    assert code == 1


def test_a_trace_that_is_not_the_runs_is_not_used(pretend: Any) -> None:
    a, b = pretend("a").run(), pretend("b", seed=2).run()
    trace = b.parent.parent / read_manifest(b).volatile.directory / "trace.jsonl"
    TraceWriter(trace, records=5).close()
    text, _ = diff(a, b)
    assert "note: no trace of B at hand: steps were not compared\n" in text


def test_a_trace_that_was_changed_in_the_middle_is_not_used(pretend: Any) -> None:
    a, b = pretend("a").run(), pretend("b", seed=2).run()
    trace = b.parent.parent / read_manifest(b).volatile.directory / "trace.jsonl"
    first, *others = trace.read_bytes().splitlines(keepends=True)
    trace.write_bytes(first.replace(b'"overflow":false', b'"overflow":true') + b"".join(others))
    text, _ = diff(a, b)
    assert "note: no trace of B at hand: steps were not compared\n" in text


def test_a_shorter_run_is_different_from_where_it_ends(pretend: Any) -> None:
    a, run = pretend("a").run(), pretend("b")
    with run.planned() as record:
        run.train(record, last=9)
        record.finish()
    text, _ = diff(a, record.path)
    assert "first differing step: 10 (B ends before step 10)\n" in text
    assert "  steps: 12 in A, 9 in B\n" in text


def test_moved_inputs_are_no_cause(pretend: Any) -> None:
    a, b = pretend("a"), pretend("b", noise=1e-9)
    b.data_dir = "elsewhere"
    text, _ = diff(a.run(), b.run())
    assert text.startswith("different: no cause is recorded: ")
    assert text.endswith(
        'differences that cause nothing\n  option data.data_dir: "records" in A, "elsewhere" in B\n'
    )


def test_a_missing_manifest_is_an_error(pretend: Any, tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match="cannot read the manifest"):
        diff(pretend("a").run(), tmp_path / "gone.json")
