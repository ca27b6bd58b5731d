"""What a shell and a newcomer see: help, version, completion."""

import os
import pty
import select
import subprocess

import pytest

import runner
from tests.conftest import ROOT
from tinybert.commands.completion import completion


def test_without_arguments_there_is_help(capsys):
    with pytest.raises(SystemExit) as ended:
        runner.main([])
    out, err = capsys.readouterr()
    assert (ended.value.code, err) == (0, "")
    assert out.startswith("usage: runner.py [-h] [--version] COMMAND ...")
    assert "worker" not in out


def test_a_misspelt_command_names_those_of_users(capsys):
    with pytest.raises(SystemExit) as ended:
        runner.main(["wrker"])
    assert ended.value.code == 2
    err = capsys.readouterr().err
    assert "'validate'" in err
    assert "'worker'" not in err


def test_the_version_names_the_program_and_what_it_runs_on(capsys):
    with pytest.raises(SystemExit) as ended:
        runner.main(["--version"])
    assert ended.value.code == 0
    out = capsys.readouterr().out
    assert out.startswith("tinybert 0.1.0 (commit ")
    assert ", Python 3." in out
    assert "MindSpore 2.10.0" in out


def completed(*words):
    """Return what bash offers for the last word."""
    line = " ".join(f"'{word}'" for word in words)
    script = completion("bash") + (
        f"\nCOMP_WORDS=({line}); COMP_CWORD={len(words) - 1}; _tinybert\n"
        'printf "%s\\n" "${COMPREPLY[@]}"\n'
    )
    done = subprocess.run(
        ["bash", "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return done.stdout.split()


@pytest.mark.parametrize("files", [[], ["a.json", "b.json"]])
def test_the_command_of_a_job_is_unknown_without_its_file(capsys, files):
    with pytest.raises(SystemExit) as ended:
        runner.main(["worker", *files])
    assert ended.value.code == 2
    assert "argument COMMAND: invalid choice: 'worker'" in capsys.readouterr().err


@pytest.mark.parametrize("program", [("runner.py",), ("python", "runner.py")])
def test_bash_completes_commands_options_choices_and_files(program):
    assert "verify" in completed(*program, "ver")
    assert completed(*program, "run", "--with") == ["--with-parents"]
    assert "--dry-run" in completed(*program, "recipes/tiny.toml", "--dry")
    assert "onnx" in completed(*program, "export", "x", "--format", "on")
    assert completed(*program, "run", "recipes/tiny.t") == ["recipes/tiny.toml"]
    assert "--study" not in completed(*program, "run", "--st")


def test_python_programs_of_others_are_left_alone():
    assert completed("python", "other.py", "ver") == []


def test_zsh_takes_the_same_functions():
    assert completion("zsh").startswith("# source <(python runner.py completion zsh)\nautoload")
    assert "_tinybert() {" in completion("zsh")


def typed(tmp_path, line):
    """Return what an interactive bash with the completion shows after a line and the tab key."""
    script = tmp_path / "completion.bash"
    script.write_text(completion("bash"))
    controller, terminal = pty.openpty()
    shell = subprocess.Popen(
        ["bash", "--norc", "--noprofile", "-i"],
        cwd=ROOT,
        env={**os.environ, "PS1": "$ ", "TERM": "dumb"},
        stdin=terminal,
        stdout=terminal,
        stderr=terminal,
        start_new_session=True,
    )
    os.close(terminal)
    try:
        os.write(controller, f"source '{script}'; echo 'rea''dy'\n".encode())
        read_until(controller, b"ready\r\n$ ")
        os.write(controller, line.encode() + b"\t#")
        return read_until(controller, b"#").decode().rpartition("$ ")[2]
    finally:
        shell.kill()
        shell.wait()
        os.close(controller)


def read_until(file, end):
    """Return what a terminal shows, up to an end; fail where it does not come within a minute."""
    shown = b""
    while end not in shown:
        assert select.select([file], [], [], 60)[0], shown
        shown += os.read(file, 4096)
    return shown


@pytest.mark.parametrize(
    ("line", "after"),
    [
        ("python runn", "python runner.py #"),
        ("python READ", "python README.md #"),
        ("python runner.py expo", "python runner.py export #"),
    ],
)
def test_python_still_completes_its_own_files(tmp_path, line, after):
    assert typed(tmp_path, line) == after
