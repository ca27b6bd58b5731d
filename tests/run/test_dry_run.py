"""Every shipped recipe plans its run, on records that the commands in its comment make."""

import os
import shutil
import signal
import subprocess
import sys
from hashlib import sha256
from types import SimpleNamespace

import pytest
from safetensors.numpy import save_file

import runner
from tests.conftest import ROOT, SHIPPED
from tests.stand_ins import (
    prepare_commands,
    program_code,
    stand_in_checkpoint,
    stand_in_run,
    stand_in_weights,
    write_raw,
)
from tinybert import commands
from tinybert.recipe.load import load
from tinybert.recipe.network import ROLES


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


def dry_run(capsys, recipe, root, *options):
    code = runner.main([str(recipe), "--root", str(root), "--dry-run", *options])
    return code, *capsys.readouterr()


@pytest.mark.parametrize("path", SHIPPED.values(), ids=SHIPPED)
def test_a_shipped_recipe_plans_its_run(prepared, path, tmp_path, monkeypatch, capsys):
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (tmp_path / "data").symlink_to(prepared / "data")
    roles = [role for role in ROLES if role in load(path).values]
    sizes = [f"{role}.{key}=24" for role in roles for key in ("hidden_size", "intermediate_size")]
    resolved = load(path, sizes)  # so that stand-ins of checkpoints are small
    for role in roles:
        source = resolved.values[role].get(f"load_{role}_ckpt_path")
        weights = stand_in_weights(resolved.recipe, role)
        if isinstance(source, str):
            stand_in_checkpoint(tmp_path / source, weights)
        elif source is not None:
            stand_in_run(tmp_path, tmp_path / source["recipe"], weights=weights)
    recipe = path.relative_to(ROOT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(commands.run, "code_identity", lambda program: (program_code(), b""))
    if "steps" in resolved.values.get("expect", {}):  # those of the real number of rows
        sizes.append("expect.steps=")
    changes = [word for size in sizes for word in ("--set", size)]
    code, out, err = dry_run(capsys, recipe, tmp_path, "--device", "CPU", *changes)
    assert (code, err) == (0, "")
    assert out.splitlines()[0].split() == ["recipe", str(recipe), f"({resolved.values['stage']})"]
    assert "rows in 1 file\n" in out
    assert not list(tmp_path.glob("runs/*/*/trace.jsonl"))


INTERRUPTED = """
import os, signal, sys, time
signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, signal.SIGTERM))  # before any thread
import runner
import tinybert.commands.run as command

def interrupted(*_):
    os.kill(os.getpid(), int(sys.argv.pop(1)))
    for _ in range(500):  # a plan is many short calls
        time.sleep(0.1)

command.make_plan = interrupted
sys.exit(runner.main(sys.argv[2:]))
"""


@pytest.mark.parametrize(
    ("signum", "options"), [(signal.SIGINT, ("--dry-run",)), (signal.SIGTERM, ())]
)
def test_a_signal_ends_the_planning(tmp_path, signum, options):
    words = (f"{signum:d}", SHIPPED["tiny"], "--root", tmp_path, *options)
    command = [sys.executable, "-c", INTERRUPTED, *map(str, words)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=50)
    assert done.returncode == 128 + signum
    assert done.stderr == f"error: stopped by {signum.name}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_reads_checkpoints(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    text = SHIPPED["tiny_finetune"].read_text()
    recipe = tmp_path / "a.toml"
    recipe.write_text(text.replace('init = "seeded"', 'load_teacher_ckpt_path = "model"'))
    weights = stand_in_weights(load(SHIPPED["tiny_finetune"]).recipe, "teacher")
    encoder = {n: array for n, array in weights.items() if "pooler" not in n and "classif" not in n}
    stand_in_checkpoint(tmp_path / "model", encoder)
    code, out, err = dry_run(capsys, recipe, tmp_path)
    assert (code, out.splitlines()[0].split()[0]) == (0, "recipe")
    assert "weights from the seed" in err and "teacher.pooler.dense.weight" in err
    del encoder["teacher.embeddings.LayerNorm.bias"]
    save_file(encoder, tmp_path / "model" / "model.safetensors")
    code, _, err = dry_run(capsys, recipe, tmp_path)
    assert (code, err.partition("\n  -->")[0]) == (
        4,
        "error: the weights do not fit the network:\n  missing: embeddings.LayerNorm.bias (48,)",
    )


def test_a_dry_run_hashes_prepared_records(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes" / "tiny").mkdir(parents=True)
    shutil.copytree(ROOT / "recipes" / "tiny" / "records", tmp_path / "recipes/tiny/records")
    (rows,) = tmp_path.glob("recipes/tiny/records/*.tfrecord")
    before, state = rows.read_bytes(), rows.stat()
    rows.write_bytes(before[:-1] + bytes([before[-1] ^ 1]))
    os.utime(rows, ns=(state.st_atime_ns, state.st_mtime_ns))
    now, then = (sha256(content).hexdigest() for content in (rows.read_bytes(), before))
    assert dry_run(capsys, SHIPPED["tiny"], tmp_path) == (
        4,
        "",
        f"error: the file was changed after it was prepared: its SHA-256 is {now}, not {then}\n"
        f"  --> {rows}\nhelp: restore the directory as it was prepared, or prepare it anew\n",
    )
    (rows.parent / "records.json").unlink()
    assert dry_run(capsys, SHIPPED["tiny"], tmp_path)[0] == 0


def test_a_dry_run_refuses_what_a_run_refuses_of_the_code(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(
        commands.run, "code_identity", lambda program: (SimpleNamespace(dirty=True), b"")
    )
    code, out, err = dry_run(capsys, SHIPPED["tiny"], ROOT, "--require-clean")
    assert (code, out) == (2, "")
    assert err.startswith("error: the code has uncommitted changes\n")
