"""What `show` and `lineage` print of runs."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.fake_runs import child
from tinybert.manifest.document import read_manifest
from tinybert.report.text import lineage, show

OUTCOME = "c31849d94958966d61cd23ac58923d52d90714099ec53922463a4a935639431a"
"""Of every run that `child` makes, whatever its parents."""


def test_lineage_shows_the_chain(pretend: Any) -> None:
    parent = pretend("parent").run()
    path = child(pretend("child"), ("student", parent, read_manifest(parent).digests.outcome))
    text, code = lineage(path)
    assert text == (
        f"{path.stem}  general_distill  finished  accuracy 0.5\n"
        f"  student: {parent.stem}  general_distill  finished  mean_loss 15.586\n"
    )
    assert code == 0


def test_lineage_shows_the_metric_of_the_checkpoint_that_others_take(pretend: Any) -> None:
    run = pretend("a")
    run.write_inputs()
    inputs = run.inputs()
    values = inputs.recipe.values | {"task": {"assessment_method": "accuracy"}}
    inputs = replace(inputs, recipe=replace(inputs.recipe, values=values))
    run.inputs = lambda: inputs
    with run.planned() as record:
        run.train(record)
        record.finish(
            metrics={"loss": 0.25, "accuracy": 0.5}, best_step=6, best_metrics={"accuracy": 2 / 3}
        )
    line = f"{record.path.stem}  general_distill  finished  best accuracy 0.666667, step 6 of 12\n"
    assert lineage(record.path) == (line, 0)


def test_lineage_names_a_broken_link(pretend: Any) -> None:
    parent = pretend("parent").run()
    path = child(pretend("child"), ("student", parent, "0" * 64))
    text, code = lineage(path)
    assert text.endswith(f"broken: {parent}: its outcome is not the one that was used\n")
    assert code == 1
    parent.unlink()
    text, code = lineage(path)
    assert text.endswith(f"broken: {parent}: cannot read the manifest: no such file or directory\n")
    assert code == 1


def test_show(pretend: Any) -> None:
    path = pretend("a").run()
    size = (path.parent.parent / "teacher.safetensors").stat().st_size
    text, code = show(path)
    assert (
        text
        == f"""\
{path}
  status            finished
  recipe            recipes/tiny.toml
  stage             general_distill
  seed              1
  code              {"ab" * 20}
  data              records (96 bytes)
  teacher           teacher.safetensors ({size} bytes)
  environment       CPython 3.11.7, MindSpore 2.10.0, a processor
  steps             12, 12 updates
  loss              15.66605 (0x1.f5504816f0069p+3)
  hidden_loss       7.833025 (0x1.f5504816f0069p+2)
  mean_loss         15.586025 (0x1.f2c0b780346dcp+3)
  mean_hidden_loss  7.7930125 (0x1.f2c0b780346dcp+2)
  step 6            checkpoints/step-00000006.safetensors
  step 12           checkpoints/step-00000012.safetensors
  folder            {read_manifest(path).volatile.directory}
  began             2026-03-01T12:00:00.000000Z
  ended             2026-03-01T12:00:00.000000Z
  segments          1
  outcome           {read_manifest(path).digests.outcome}
"""
    )
    assert code == 0


def test_a_cycle_of_parents_is_a_broken_link(pretend: Any, tmp_path: Path) -> None:
    ring = tmp_path / "ring.json"
    first = child(pretend("a"), ("teacher", ring, OUTCOME))
    ring.symlink_to(child(pretend("b"), ("student", first, OUTCOME)))
    text, code = lineage(first)
    assert text == (
        f"{first.stem}  general_distill  finished  accuracy 0.5\n"
        "  teacher: ring  general_distill  finished  accuracy 0.5\n"
        f"    student: {first.stem}  general_distill  finished  accuracy 0.5  (see above)\n"
        f"broken: {first}: it leads to itself\n"
    )
    assert code == 1


def test_a_run_with_many_ways_to_it_is_followed_once(pretend: Any) -> None:
    path = child(pretend("a"))
    for number in range(40):
        parents = [(role, path, OUTCOME) for role in ("teacher", "student")]
        path = child(pretend(f"run{number}"), *parents)
    text, code = lineage(path)
    assert code == 0
    assert len(text.splitlines()) == 81
    assert text.count("(see above)") == 39
