"""Every shipped recipe plans its run, on records that the commands in its comment make."""

import pytest

import runner
from tests.conftest import ROOT, SHIPPED
from tests.stand_ins import prepare_commands, stand_in_run, write_raw
from tinybert.recipe.load import load


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Carry out the `prepare` commands of all recipes, each once, on raw stand-ins."""
    root = tmp_path_factory.mktemp("prepared")
    commands = {
        command for path in SHIPPED.values() for command in prepare_commands(path.read_text())
    }
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        for command in sorted(commands):
            write_raw(command)
            assert runner.main(command) == 0
    return root


def sources(values):
    for which in ("teacher", "student"):
        if source := values.get(which, {}).get(f"load_{which}_ckpt_path"):
            yield source


@pytest.mark.parametrize("path", SHIPPED.values(), ids=SHIPPED)
def test_a_shipped_recipe_plans_its_run(prepared, path, tmp_path, monkeypatch, capsys):
    values = load(path).values
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (tmp_path / "data").symlink_to(prepared / "data")
    for source in sources(values):
        if isinstance(source, str):
            (tmp_path / source).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / source).write_bytes(b"stand-in")
        else:
            stand_in_run(tmp_path, tmp_path / source["recipe"])
    recipe = path.relative_to(ROOT)
    monkeypatch.chdir(tmp_path)
    code = runner.main([str(recipe), "--root", str(tmp_path), "--dry-run", "--device", "CPU"])
    out, err = capsys.readouterr()
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == ["recipe", str(recipe), f"({values['stage']})"]
    assert "rows in 1 file(s)" in out
    assert not list(tmp_path.glob("runs/*/*/trace.jsonl"))
