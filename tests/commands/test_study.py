"""`study`: what is written down, what `verify` notices, and the table."""

import json
import math
import shutil
from collections import Counter
from pathlib import Path

import pytest

import runner
from tests.conftest import ROOT, SHIPPED
from tests.fake_runs import EFFECTIVE, ENVIRONMENT
from tests.stand_ins import stand_in_run
from tinybert.commands.study import best_group
from tinybert.manifest.document import Run, read_manifest
from tinybert.manifest.identity import code_identity
from tinybert.manifest.model import Inputs
from tinybert.manifest.record import RunRecord
from tinybert.manifest.sealed import encode_sealed
from tinybert.manifest.study import Study
from tinybert.recipe.load import load
from tinybert.report.seeds import over_seeds
from tinybert.run.resume import recipe_facts
from tinybert.strict_json import parse_json

FINETUNE = "recipes/tiny/tiny_finetune.toml"
RATES = ("--set", "optimizer.schedule.learning_rate=1e-3,2e-3", "--set", "seed=1,2,3")


@pytest.fixture
def root(tmp_path, monkeypatch):
    path = tmp_path / FINETUNE
    path.parent.mkdir(parents=True)
    shutil.copy(SHIPPED["tiny_finetune"], path)
    for name in ("places", "vocab.txt"):
        (path.parent / name).symlink_to(ROOT / "recipes" / "tiny" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


ACCURACIES = dict(enumerate([0.5, 0.6, 0.7, 0.7, 0.8, 0.9]))


@pytest.fixture
def studied(root, monkeypatch):
    """A study of two rates and three seeds, whose runs are pretended."""
    code, _ = code_identity(ROOT)

    def pretend(recipe, options, stop, later):
        study = Study.load(options.study)
        place = [m.overrides for m in study.record.members].index(list(recipe.overrides))
        inputs = Inputs(
            stage="finetune",
            recipe=recipe_facts(recipe),
            code=code,
            seeds={"seed": recipe.recipe.seed},
            study=study.digest,
        )
        with RunRecord.plan(root, inputs) as record:
            record.start(EFFECTIVE, ENVIRONMENT)
            record.finish(metrics={"accuracy": ACCURACIES[place]})

    monkeypatch.setattr("tinybert.commands.study.run_apart", pretend)
    return lambda *words: runner.main(["study", FINETUNE, *words, "--root", str(root)])


def study_of(root):
    (path,) = root.glob("manifests/*.study-*.json")
    return Study.load(path)


def test_every_run_is_written_down_and_then_run(root, studied, capsys):
    assert studied(*RATES) == 0
    out, err = capsys.readouterr()
    study = study_of(root)
    assert [member.overrides for member in study.record.members] == [
        [f"optimizer.schedule.learning_rate={rate}", f"seed={seed}"]
        for rate in ("0.001", "0.002")
        for seed in (1, 2, 3)
    ]
    assert err.splitlines()[0] == "1 of 6: optimizer.schedule.learning_rate=0.001 seed=1"
    lines = out.splitlines()
    assert lines[0] == f"manifests/{study.path.name}: 6 of 6 runs finished"
    assert lines[2].split("  ")[0] == "optimizer.schedule.learning_rate = 0.001"
    assert "0.6 ± 0.1 (3 seeds), 95 % interval of the mean 0.3516 to 0.8484" in lines[2]
    assert lines[-1] == "best by the mean of accuracy: optimizer.schedule.learning_rate = 0.002"
    assert runner.main(["verify", str(study.path)]) == 0
    assert studied(*RATES) == 0
    assert capsys.readouterr().err.count(" is finished: manifests/") == 6


def test_manifests_are_read_once_a_stage_however_many_members_there_are(root, studied, monkeypatch):
    studied(*RATES)
    reads = Counter()

    def read(path):
        reads[path] += 1
        return read_manifest(path)

    monkeypatch.setattr("tinybert.manifest.document.read_manifest", read)
    assert studied(*RATES) == 0
    assert set(reads.values()) == {3}, "for what is linked, what is missing, and the table"
    assert runner.main(["verify", str(study_of(root).path)]) == 0
    assert set(reads.values()) == {4}


def test_what_each_member_links_to_is_run_first(root, monkeypatch):
    other, distill = "recipes/tiny/other.toml", "recipes/tiny/tiny_task_distill.toml"
    for name in ("tiny", "tiny_task_distill"):
        shutil.copy(SHIPPED[name], root / SHIPPED[name].relative_to(ROOT))
    (root / "recipes" / "tiny" / "records").symlink_to(ROOT / "recipes" / "tiny" / "records")
    Path(other).write_text(Path(FINETUNE).read_text().replace("seed = 1", "seed = 2"))
    ran = []

    def pretend(recipe, options, stop, later):
        ran.append(recipe.path)
        if options.study is None:
            stand_in_run(root, recipe.path)

    monkeypatch.setattr("tinybert.commands.chain.run_apart", pretend)
    monkeypatch.setattr("tinybert.commands.study.run_apart", pretend)
    teachers = ",".join(f'{{ recipe = "{teacher}" }}' for teacher in (FINETUNE, other))
    words = ["--set", f"teacher.load_teacher_ckpt_path={teachers}", "--root", str(root)]
    assert runner.main(["study", distill, *words]) == 1, "the members are not run here"
    parents = [FINETUNE, "recipes/tiny.toml", other]
    assert ran == [Path(path) for path in [*parents, distill, distill]]


def test_a_run_that_is_taken_away_or_added_is_noticed(root, studied, capsys):
    studied(*RATES)
    study = study_of(root)
    gone = study.members()[3][1].path
    text = gone.read_text()
    gone.unlink()
    capsys.readouterr()
    assert runner.main(["verify", str(study.path)]) == 1
    assert capsys.readouterr().out == (
        "different: optimizer.schedule.learning_rate=0.002 seed=1: its run is not here\n"
    )
    gone.write_text(text)
    inputs = study.members()[0][1].manifest.inputs
    seven = load(FINETUNE, ["optimizer.schedule.learning_rate=0.001", "seed=7"])
    more = Inputs(**{**vars(inputs), "recipe": recipe_facts(seven)})
    with RunRecord.plan(root, more) as record:
        record.finish()
    assert runner.main(["verify", str(study.path)]) == 1
    assert capsys.readouterr().out == (
        f"different: {record.path.name}: it names this study, which has no such run\n"
    )


def test_a_record_that_is_edited_is_refused_and_one_that_is_sealed_again_has_no_runs(
    root, studied, capsys
):
    studied(*RATES)
    study = study_of(root)
    content = json.loads(study.path.read_text())
    content["members"] = content["members"][:5]
    del content["sha256"]
    study.path.write_text(json.dumps(content | {"sha256": study.digest}))
    capsys.readouterr()
    assert runner.main(["verify", str(study.path)]) == 2
    assert "the study was edited: its digest is not the recorded one" in capsys.readouterr().err
    study.path.write_bytes(encode_sealed(content))
    assert runner.main(["verify", str(study.path)]) == 2
    assert "the study was edited: its digest is not the one in its name" in capsys.readouterr().err
    again = Study.write(root, type(study.record)(**{**vars(study.record), "recipe": "tiny_x"}))
    assert all(run is None for _, run in again.members())


def test_a_file_says_the_same_as_the_command_line(root, studied):
    (root / "rates.toml").write_text(
        f'recipe = "{FINETUNE}"\n[values]\n'
        '"optimizer.schedule.learning_rate" = [1e-3, 2e-3]\nseed = [1, 2, 3]\n'
    )
    studied(*RATES)
    first = study_of(root)
    assert runner.main(["study", "rates.toml", "--root", str(root)]) == 0
    assert study_of(root).digest == first.digest


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "a study has 1 to 1,000 runs, this one 0"),
        (("--set", "seed"), "`--set seed` has no values"),
        (("--set", "seed=1,1"), "two runs of the study would be the same"),
        (("--set", "seed=1,x"), "expected integer for `seed`"),
        (("--set", f"seed={','.join(map(str, range(1001)))}"), "this one 1,001"),
        (("--set", "data.train_data_dir=nowhere"), "no such file or directory"),
    ],
)
def test_a_study_that_cannot_run_is_refused_and_not_written(root, studied, capsys, words, message):
    assert studied(*words) in (2, 4)
    assert message in capsys.readouterr().err
    assert not list(root.glob("manifests/*"))


def test_the_best_loss_is_the_least(pretend):
    runs = [pretend("a", weight_decay=decay).run() for decay in (1e-4, 1e-2)]
    groups = list(over_seeds([Run.load(path) for path in runs]))
    losses = [group.spreads["mean_loss"].mean for group in groups]
    assert best_group(groups).spreads["mean_loss"].mean == min(losses)


@pytest.mark.parametrize("place", [0, 5])
def test_a_mean_that_is_no_number_is_the_worst(studied, monkeypatch, capsys, place):
    monkeypatch.setitem(ACCURACIES, place, math.nan)
    assert studied(*RATES) == 0
    assert "nan (3 seeds)" in (text := capsys.readouterr().out)
    best = "optimizer.schedule.learning_rate = " + ("0.002" if place == 0 else "0.001")
    assert text.splitlines()[-1] == f"best by the mean of accuracy: {best}"
    assert studied(*RATES, "--format", "json") == 0
    groups = parse_json(capsys.readouterr().out)["groups"]
    assert [each["metrics"]["accuracy"]["mean"] for each in groups].count("float:NaN") == 1
