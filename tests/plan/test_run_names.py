"""One way to name a run, in every command."""

import shutil

import pytest

import runner
from tests.conftest import SHIPPED
from tests.stand_ins import stand_in_run
from tinybert.errors import InputError, UsageError
from tinybert.plan.run_names import find_manifest, find_record


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """A root with two runs of a recipe, the older first, and then one of another."""
    monkeypatch.chdir(tmp_path)
    for name in ("tiny", "tiny_finetune"):
        shutil.copy(SHIPPED[name], f"{name}.toml")
    made = [
        stand_in_run(tmp_path, "tiny.toml"),
        stand_in_run(tmp_path, "tiny.toml", overrides=["seed=2"]),
        stand_in_run(tmp_path, "tiny_finetune.toml"),
    ]
    return [path.relative_to(tmp_path) for path in made]


def test_every_name_of_a_run_is_understood(runs, tmp_path):
    first, second, other = runs
    assert find_manifest(str(first), tmp_path) == first
    assert find_manifest(second.stem, tmp_path) == second
    assert find_manifest(second.stem[:-3], tmp_path) == second
    assert find_manifest("tiny_f", tmp_path) == other
    assert find_manifest("tiny.toml", tmp_path) == first, "the other one has another seed"
    (tmp_path / "later").mkdir()
    newest = max(runs, key=lambda path: path.stem.split("-", 1)[1])
    assert find_manifest("latest", tmp_path) == newest


def test_what_names_no_run_or_several_is_refused(runs, tmp_path):
    with pytest.raises(UsageError, match="no run is named `tinny`"):
        find_manifest("tinny", tmp_path)
    with pytest.raises(UsageError) as caught:
        find_manifest("tiny", tmp_path)
    assert caught.value.message == "3 runs have names that begin with `tiny`:" + "".join(
        f"\n  - {path.stem}" for path in sorted(runs, key=lambda path: path.name[-29:])[::-1]
    )
    text = (tmp_path / "tiny.toml").read_text()
    (tmp_path / "tiny.toml").write_text(text.replace("seed = 1", "seed = 3"))
    with pytest.raises(InputError, match="the recipe has no finished run; the nearest is "):
        find_manifest("tiny.toml", tmp_path)


def test_the_directory_of_an_export_means_its_record(tmp_path):
    (tmp_path / "out").mkdir()
    assert find_record(str(tmp_path / "out"), tmp_path) == tmp_path / "out"
    record = tmp_path / "out" / "export.json"
    record.write_text("{}")
    assert find_record(str(tmp_path / "out"), tmp_path) == record


@pytest.mark.parametrize("name", ["manifests/none.json", "student.ckpt", "model.safetensors"])
def test_a_path_that_is_not_there_is_left_to_its_reader(tmp_path, name):
    assert str(find_manifest(name, tmp_path)) == name


def test_a_recipe_may_have_a_dot_in_its_name(runs, tmp_path):
    for name in ("tiny_v1.5", "my.ckpt"):
        shutil.copy("tiny.toml", f"{name}.toml")
        path = stand_in_run(tmp_path, f"{name}.toml")
        assert find_manifest(name, tmp_path) == path.relative_to(tmp_path)
    with pytest.raises(UsageError, match=r"no run is named `tiny_v1\.6`"):
        find_manifest("tiny_v1.6", tmp_path)


@pytest.mark.parametrize("name", ["latest", "tiny_finetune.toml", "tiny_fine"])
def test_commands_take_any_name(runs, tmp_path, capsys, name):
    assert runner.main(["show", name, "--root", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    if name != "latest":
        assert out.splitlines()[0] == str(runs[2])
    assert runner.main(["diff", name, name, "--root", str(tmp_path)]) == 0
