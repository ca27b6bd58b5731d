"""Several recipes in one command: their order, what is skipped, what remains after a failure."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import runner
from tests.conftest import NARROW, ROOT, SHIPPED
from tests.stand_ins import stand_in_run
from tinybert.commands.chain import chain_of, require_files
from tinybert.errors import InputError, UsageError
from tinybert.run.execute import RunOptions

NAMES = ("tiny_finetune", "tiny", "tiny_task_distill", "tiny_evaluate")


@pytest.fixture
def root(tmp_path, monkeypatch):
    """The tiny recipes, with narrow networks and a step or two, in a root of their own."""
    for name in NAMES:
        text = SHIPPED[name].read_text().partition("[expect]")[0]
        for old, new in NARROW.items():
            text = text.replace(old, new)
        path = tmp_path / SHIPPED[name].relative_to(ROOT)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for name in ("records", "places", "vocab.txt"):
        (tmp_path / "recipes" / "tiny" / name).symlink_to(ROOT / "recipes" / "tiny" / name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


EVALUATE = "recipes/tiny/tiny_evaluate.toml"
DISTILL = "recipes/tiny/tiny_task_distill.toml"
FINETUNE = "recipes/tiny/tiny_finetune.toml"


def named(links):
    return [(link.recipe.name, link.finished is not None, set(link.pending)) for link in links]


def options(root, **changes):
    return replace(RunOptions("", root), **changes)


def chain(recipes, options):
    return chain_of([(Path(each), options.overrides) for each in recipes], options)


def test_links_come_first(root):
    assert named(chain([EVALUATE], options(root))) == [
        ("tiny_finetune", False, set()),
        ("tiny", False, set()),
        ("tiny_task_distill", False, {"teacher", "student"}),
        ("tiny_evaluate", False, {"student"}),
    ]


def test_a_recipe_that_is_named_twice_is_run_once(root):
    links = chain([DISTILL, "recipes/tiny.toml", "./" + DISTILL], options(root))
    assert [name for name, *_ in named(links)] == ["tiny_finetune", "tiny", "tiny_task_distill"]


def test_finished_runs_are_not_repeated_and_neither_is_what_they_link_to(root):
    stand_in_run(root, root / FINETUNE)
    finetuned = ("tiny_finetune", True, set())
    student = ("tiny", False, set())
    assert named(chain([DISTILL], options(root)))[:3] == [
        finetuned,
        student,
        ("tiny_task_distill", False, {"student"}),
    ]
    stand_in_run(root, root / DISTILL)
    assert named(chain([EVALUATE], options(root))) == [
        ("tiny_task_distill", True, set()),
        ("tiny_evaluate", False, set()),
    ]
    fresh = chain([DISTILL], options(root, fresh=True))
    assert named(fresh) == [finetuned, student, ("tiny_task_distill", False, {"student"})]


def test_changes_are_those_of_the_recipes_that_are_named(root):
    stand_in_run(root, root / FINETUNE)
    changed = options(root, overrides=["seed=5"])
    links = {link.recipe.name: link.recipe.recipe.seed for link in chain([EVALUATE], changed)}
    assert links == {"tiny_finetune": 1, "tiny": 1, "tiny_task_distill": 1, "tiny_evaluate": 5}


def test_a_recipe_that_is_named_with_changes_is_run_beside_the_one_that_others_link_to(root):
    links = list(chain([DISTILL, FINETUNE], options(root, overrides=["seed=5"])))
    assert [(link.recipe.name, link.recipe.recipe.seed) for link in links] == [
        ("tiny_finetune", 1),
        ("tiny", 1),
        ("tiny_task_distill", 5),
        ("tiny_finetune", 5),
    ]


def test_what_several_runs_of_a_recipe_lack_is_listed_once(root):
    pairs = [(Path(FINETUNE), [f"seed={seed}", "data.train_data_dir=x"]) for seed in (1, 2)]
    with pytest.raises(InputError) as caught:
        require_files(chain_of(pairs, options(root)), root)
    assert caught.value.message.startswith(f"{FINETUNE}: ")


def test_recipes_that_link_in_a_circle_are_refused(root):
    path = Path(DISTILL)
    path.write_text(path.read_text().replace(FINETUNE, DISTILL))
    with pytest.raises(UsageError, match="links to itself"):
        list(chain([EVALUATE], options(root)))


def test_nothing_runs_where_a_file_is_missing(root, capsys):

    path = Path(EVALUATE)
    path.write_text(path.read_text().replace("places/dev", "places/absent"))
    assert runner.main(["run", "--with-parents", EVALUATE, "--root", str(root)]) == 4
    _, err = capsys.readouterr()
    assert f"error: {EVALUATE}: no " in err
    assert not (root / "manifests").exists()


def test_options_of_one_run_are_refused_for_several(root, capsys):

    words = ["run", FINETUNE, EVALUATE, "--root", str(root), "--profile", "2"]
    assert runner.main(words) == 2
    assert "--profile" in capsys.readouterr().err


def test_a_chain_that_was_broken_goes_on(root, capsys):
    """The first of two runs is not as its [expect] says; the same command does what remains."""
    finetune = Path(FINETUNE)
    text = finetune.read_text() + "\n[expect]\nmetrics = { accuracy = { min = 1.1 } }\n"
    finetune.write_text(text.replace("epoch_size = 4", "epoch_size = 1"))
    text = SHIPPED["tiny_evaluate"].read_text().partition("[expect]")[0]
    for old, new in {
        **NARROW,
        "[student]": "[teacher]",
        "load_student_ckpt_path": "load_teacher_ckpt_path",
        DISTILL: FINETUNE,
        "hidden_size = 8\nnum_hidden_layers = 1\nintermediate_size = 16": (
            "hidden_size = 16\nnum_hidden_layers = 2\nintermediate_size = 24"
        ),
    }.items():
        text = text.replace(old, new)
    Path(EVALUATE).write_text(text)
    words = ["run", "--with-parents", EVALUATE, "--root", str(root)]
    command = [sys.executable, ROOT / "runner.py", *words]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    (manifest,) = root.glob("manifests/tiny_finetune-*.json")
    assert first.returncode == 3
    assert f"1 of 2: {FINETUNE}\n" in first.stderr
    assert first.stderr.endswith(
        f"error: the run of {FINETUNE} ended with 3; not begun: {EVALUATE}\n"
        "help: the same command goes on from here\n"
    )
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 0
    assert second.stderr.startswith(
        f"1 of 2: {FINETUNE} is finished, but not as its [expect] says: "
        f"manifests/{manifest.name}\n2 of 2: {EVALUATE}\n"
    )
    (evaluated,) = root.glob("manifests/tiny_evaluate-*.json")
    assert second.stdout == f"manifests/{evaluated.name}\n"
    assert runner.main(words) == 0
    out, err = capsys.readouterr()
    assert (out, err) == ("", f"1 of 1: {EVALUATE} is finished: manifests/{evaluated.name}\n")
