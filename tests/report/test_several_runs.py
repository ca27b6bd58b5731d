"""`runs` and `compare`, on pretended runs."""

import json
import os
import re
import shutil
from dataclasses import replace

import pytest

import runner
from tests.conftest import SHIPPED
from tests.report.pages import parsed, section, sections, text_of, texts
from tests.stand_ins import stand_in_run
from tinybert.errors import UsageError
from tinybert.manifest.document import Run, acquire
from tinybert.manifest.study import Study, StudyMember, StudyRecord
from tinybert.recipe.identity import identity
from tinybert.report.page import html
from tinybert.report.seeds import over_seeds
from tinybert.strict_json import parse_json


@pytest.fixture
def root(pretend, monkeypatch):
    """A root with runs of two weight decays and two seeds, one of which failed its [expect]."""
    first = pretend("a")
    for decay in (1e-4, 1e-3):
        for seed in (1, 2):
            run = pretend("a", weight_decay=decay, seed=seed)
            if (decay, seed) == (1e-3, 2):
                run.expect = {"metrics": {"loss": {"max": 1.0}}}
            run.run()
    with pretend("a", seed=9).planned():
        pass
    monkeypatch.chdir(first.root)
    return first.root


def call(capsys, *words):
    code = runner.main([*map(str, words)])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    return out


def manifests(root):
    return sorted(root.glob("manifests/*.json"))


def test_a_trial_is_marked(pretend, capsys):
    run = pretend("a")
    inputs = run.inputs
    run.inputs = lambda: replace(inputs(), trial=True)
    path = run.run()
    line = call(capsys, "runs", "--root", run.root).splitlines()[1]
    assert "finished, trial " in line
    assert "  trial " in call(capsys, "show", path)


def test_runs_are_listed_the_newest_first(root, capsys):
    lines = call(capsys, "runs", "--root", root).splitlines()
    assert lines[0].split() == ["run", "stage", "status", "steps", "result", "took", "size"]
    assert [line.split()[0] for line in lines[1:]] == [p.stem for p in manifests(root)[::-1]]
    assert [line.split()[2] for line in lines[1:]] == [
        "abandoned",
        "finished,",
        "finished",
        "finished",
        "finished",
    ]
    assert "finished, [expect] failed  12     mean_loss " in lines[2]


def test_runs_are_filtered_and_sorted(root, capsys):
    everything = json.loads(call(capsys, "runs", "--root", root, "--format", "json"))
    assert len(everything) == 5
    assert {each["as_expected"] for each in everything} == {True, False}
    words = ("runs", "tiny", "--status", "finished", "--sort", "metric", "--format", "json")
    listed = json.loads(call(capsys, *words, "--root", root))
    values = [each["value"] for each in listed]
    assert len(values) == 4
    assert values == sorted(values)
    assert call(capsys, "runs", "other", "--root", root) == "no runs\n"


def test_values_that_are_not_finite_are_written_as_manifests_have_them(root, capsys, pretend):
    run = pretend("a", weight_decay=1e-3, seed=3)
    run.loss = lambda step, batch: float("nan")
    run.run()
    runs = call(capsys, "runs", "--root", root, "--sort", "metric", "--format", "json")
    listed = parse_json(runs)
    assert listed[-1]["value"] == "float:NaN"
    compared = parse_json(call(capsys, "compare", *manifests(root), "--format", "json"))
    means = [each["metrics"]["mean_loss"] for each in compared["over_seeds"] if each["metrics"]]
    assert {"mean": "float:NaN", "deviation": None, "interval": None} in means
    assert "nan (3 seeds)\n" in call(capsys, "compare", *manifests(root))


def test_a_damaged_manifest_is_named(root, capsys):
    path = manifests(root)[0]
    path.write_text("{")
    assert (
        call(capsys, "runs", "--root", root)
        .splitlines()[-1]
        .startswith(f"not listed: {path.name}: file is no manifest")
    )


def test_what_differs_is_beside_each_other(root, capsys):
    out = call(capsys, "compare", *manifests(root)[:4])
    assert "  optimizer.weight_decay" in out
    before = out.partition("over seeds")[0].splitlines()
    rows = {line.split()[0]: line.split()[1:] for line in before if re.match("  [a-z]", line)}
    assert rows["seed"] == ["1", "2", "1", "2"]
    assert rows["optimizer.weight_decay"] == ["0.0001", "0.0001", "0.001", "0.001"]
    assert "data.seq_length" not in rows
    assert "  optimizer.weight_decay = 0.0001  mean_loss " in out
    assert out.splitlines()[3].endswith(", but not as its [expect] says")


def test_options_that_not_every_stage_has_are_counted_alone(tmp_path, capsys):
    paths = [
        stand_in_run(tmp_path, SHIPPED[name]) for name in ("tiny_finetune", "tiny_task_distill")
    ]
    before, _, after = call(capsys, "compare", *paths).partition("  and ")
    rows = [line.split() for line in before.splitlines() if line.startswith("  ")]
    assert ["stage", "finetune", "task_distill"] in rows
    assert not any("-" in row[1:] for row in rows)
    count = re.match(r"(\d+) options that not every stage has\nresults\n", after)
    assert count and int(count[1]) > len(rows)
    ranking = section(html([*paths, paths[0]]), "ranking")
    assert f"Not in the table: {count[1]} options that not every stage has." in text_of(ranking)


def test_runs_of_other_options_or_parents_are_no_group(root):
    runs = [Run.load(path) for path in manifests(root)[:4]]
    groups = list(over_seeds(runs))
    assert [len(group.runs) for group in groups] == [2, 2]
    losses = [float(run.manifest.outcome.metrics["mean_loss"]) for run in runs]
    assert groups[0].spreads["mean_loss"].mean == pytest.approx(sum(losses[:2]) / 2)


def test_a_repeated_seed_counts_once(root, pretend, capsys):
    first, second = manifests(root)[:2]
    again = pretend("a").run()
    assert "over seeds" not in call(capsys, "compare", first, again)
    groups = list(over_seeds([Run.load(path) for path in (first, second, again)]))
    assert [(len(group.runs), group.seeds) for group in groups] == [(3, 2)]
    (once,) = over_seeds([Run.load(path) for path in (first, second)])
    assert groups[0].spreads == once.spreads
    assert "(2 seeds), 95 % interval" in call(capsys, "compare", first, second, again)


def test_curves_lie_over_each_other(root, capsys, tmp_path):
    page = tmp_path / "page.html"
    call(capsys, "compare", *manifests(root)[:4], "--output", page)
    text = page.read_text()
    drawn = [text.count(f'<path class="line {color}"') for color in "abc"]
    assert drawn == [5, 4, 0], "a colour for each weight decay; the learning rates are equal"
    assert sections(text) == ["ranking", "spreads", "checks", "curves", "facts", "origins"]
    assert texts(section(text, "ranking"), "best")[0].startswith("C best 15.51 1 0.001 ")
    assert runner.main(["compare", str(manifests(root)[0]), "--output", str(page)]) == 2
    assert "the file exists" in capsys.readouterr().err


def test_a_study_has_the_page_of_its_runs(pretend):
    runs = [pretend("a", seed=seed) for seed in (1, 2, 3)]
    for run in runs:
        run.write_inputs()
    members = [
        StudyMember(overrides=[f"seed={run.seed}"], identity=identity(run.inputs().recipe.values))
        for run in runs
    ]
    values = {"seed": [1, 2, 3]}
    record = StudyRecord(recipe="tiny", device=None, values=values, members=members)
    study = Study.write(runs[0].root, record)
    for run in runs[:2]:
        with run.planned() as planned:
            inputs = replace(planned.manifest.inputs, study=study.digest)
            planned.update(inputs=inputs)
            planned.start(run.effective(), run.environment())
            run.train(planned)
            planned.finish(metrics={"mean_loss": float(run.seed)})
    page = html([study.path])
    header = next(parsed(page).iter("header"))
    assert texts(header, "badge") == ["2 of 3 finished"]
    assert texts(header, "tile")[0].startswith("Mean loss 1.500 mean of 2 seeds, 95 % interval")
    assert texts(section(page, "ranking"), "best")[0].startswith("A best 1 1 ")
    assert texts(section(page, "ranking"), "texts") == ["seed=3"]
    with pytest.raises(UsageError, match="nothing else"):
        html([study.path, study.path])


def test_a_failed_expectation_is_shown(root, capsys):
    path = manifests(root)[3]
    out = call(capsys, "show", path)
    assert "  [expect]" in out
    assert "above 1.0" in out
    call(capsys, "report", path, "--output", root / "page.html")
    page = (root / "page.html").read_text()
    (alert,) = texts(parsed(page), "alert")
    assert re.match(r"1 expectation failed loss is \S+, above 1.0$", alert)
    assert texts(next(parsed(page).iter("header")), "badge") == ["expectation failed"]


def test_what_is_needed_or_wanted_stays(root, capsys):
    finished, abandoned = manifests(root)[:4], manifests(root)[4]
    assert call(capsys, "prune", "--root", root, "--yes") == "nothing to remove\n"
    folders = [Run.load(path).folder for path in finished]
    shutil.copytree(folders[0], root / "runs" / "tiny" / "lost")
    (root / "runs" / "store").mkdir()
    out = call(capsys, "prune", "--root", root, "--caches", "--yes")
    assert [re.split("  +", line)[1:] for line in out.splitlines()[:-1]] == [
        ["runs/tiny/lost", "without a manifest"],
        ["runs/store", "imported records, made again when needed"],
    ]
    assert not (root / "runs" / "store").exists()
    assert all(folder.is_dir() for folder in folders)
    assert call(capsys, "prune", abandoned, "--root", root, "--yes").endswith(" B\n")
    assert abandoned.exists(), "the record stays"


def test_a_run_that_others_are_built_on_is_not_removed(tmp_path, capsys):
    teacher = stand_in_run(tmp_path, SHIPPED["tiny_finetune"])
    child = stand_in_run(tmp_path, SHIPPED["tiny_task_distill"], parents={"teacher": teacher})
    assert runner.main(["prune", str(teacher), "--root", str(tmp_path), "--yes"]) == 2
    assert f"the run is needed: {child.stem} is built on it" in capsys.readouterr().err
    stand_in_run(tmp_path, SHIPPED["tiny_task_distill"], parents={"teacher": teacher})
    out = call(capsys, "prune", "--root", tmp_path, "--yes")
    assert "repeated, with the same outcome" in out
    assert out.splitlines()[-1].startswith("removed: 1 folder, ")
    assert not Run.load(child).folder.exists()
    assert Run.load(teacher).folder.is_dir()


@pytest.mark.parametrize("spelling", ["a link", "a detour"])
def test_a_needed_run_stays_however_it_is_named(tmp_path, capsys, spelling):
    teacher = stand_in_run(tmp_path, SHIPPED["tiny_finetune"])
    child = stand_in_run(tmp_path, SHIPPED["tiny_task_distill"], parents={"teacher": teacher})
    if spelling == "a link":
        (tmp_path / "link").symlink_to(tmp_path)
        named = tmp_path / "link" / "manifests" / teacher.name
    else:
        named = tmp_path / "runs" / ".." / "manifests" / teacher.name
    assert runner.main(["prune", str(named), "--root", str(tmp_path), "--yes"]) == 2
    assert f"the run is needed: {child.stem} is built on it" in capsys.readouterr().err
    assert Run.load(teacher).folder.is_dir()


def test_a_run_below_another_root_is_not_removed(pretend, tmp_path, capsys):
    run = pretend("a").run()
    assert runner.main(["prune", str(run), "--root", str(tmp_path / "b"), "--yes"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("error: the run is not below the root\n")
    assert f"help: name its root: --root {tmp_path / 'a'}\n" in err
    assert Run.load(run).folder.is_dir()


def test_a_run_that_is_named_twice_is_removed_and_counted_once(pretend, capsys):
    run = pretend("a").run()
    again = run.parent / ".." / "manifests" / run.name
    out = call(capsys, "prune", run, again, "--root", run.parent.parent, "--yes")
    assert out.splitlines()[-1].startswith("removed: 1 folder, ")
    assert not Run.load(run).folder.exists()


def test_a_run_by_the_name_of_a_linked_folder_stays(pretend, capsys):
    run = pretend("a").run()
    (run.parent.parent / "runs" / "renamed").symlink_to(Run.load(run).folder.parent)
    assert call(capsys, "prune", "--root", run.parent.parent, "--yes") == "nothing to remove\n"
    assert Run.load(run).folder.is_dir()


@pytest.mark.parametrize("caches", [False, True])
def test_what_a_process_began_to_use_meanwhile_stays(pretend, capsys, monkeypatch, caches):
    """The user answers after a run went on."""
    run = Run.load(pretend("a").run())
    (run.root / "runs" / "store").mkdir()

    class Terminal:
        def isatty(self):
            return True

        def readline(self):
            self.lock = acquire(run.folder)
            return "y\n"

    terminal = Terminal()
    monkeypatch.setattr("sys.stdin", terminal)
    words = ["--caches"] if caches else [str(run.path)]
    assert runner.main(["prune", *words, "--root", str(run.root)]) == 2
    os.close(terminal.lock)
    assert f"error: {run.path.stem} is under way" in capsys.readouterr().err
    assert run.folder.is_dir()
    assert (run.root / "runs" / "store").is_dir()
