import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.conftest import ROOT
from tinybert.terminal import UNPRINTABLE, printable

RECIPE = "recipes/no\x1b[31m\u202esuch\r\x9b.toml"


@given(st.text())
def test_nothing_that_moves_a_cursor_is_left_and_json_stays_the_same(text):
    assert not UNPRINTABLE.search(printable(text))
    assert json.loads(printable(json.dumps(text, ensure_ascii=False))) == text


def test_ordinary_text_stays():
    assert printable("tab\tnew\nline é 中 \U0001f600") == "tab\tnew\nline é 中 \U0001f600"


def call(*arguments, shell="exec {}", **environment):
    words = " ".join(f"'{word}'" for word in (sys.executable, ROOT / "runner.py", *arguments))
    command = ["bash", "-c", shell.format(words)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, timeout=60)
    return done.returncode, done.stdout, done.stderr


def test_control_characters_of_a_name_are_escaped():
    code, out, err = call("validate", RECIPE, PYTHONUTF8="1")
    assert code == 2
    for text in (out, err):
        assert not UNPRINTABLE.search(text.decode())
    assert out.startswith(
        b"error: no such recipe\n  --> recipes/no\\u001b[31m\\u202esuch\\r\\u009b.toml\n"
    )


def test_control_characters_of_an_argument_are_escaped():
    code, out, err = call("verify", "a", "--unknown\x1b[31m")
    assert (code, out) == (2, b"")
    assert b"\x1b" not in err and rb"--unknown\u001b[31m" in err


@pytest.mark.parametrize(
    "environment", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0"}]
)
def test_an_ascii_terminal_gets_escapes(environment):
    code, out, err = call("validate", "recipes/ä\U0001f600.toml", "--format", "json", **environment)
    assert (code, err) == (2, b"")
    assert json.loads(out)["recipes"][0]["path"].startswith("recipes/")


def test_an_argument_that_is_no_text_of_the_locale_is_one_message():
    environment = {"LC_ALL": "C", "PYTHONUTF8": "0"}
    code, out, err = call("predict", "model", "--text", "ä", **environment)
    assert (code, out) == (2, b"")
    assert err.decode() == (
        "error: an argument is not UTF-8: '\\udcc3\\udca4'\n"
        "help: name files in UTF-8; where the locale has another encoding: LC_ALL=C.UTF-8\n"
    )


@pytest.mark.parametrize("shell", ["exec {} >&-", "exec {} 2>&-", "exec {} <&- >&- 2>&-"])
def test_closed_streams_change_no_exit_code(shell):
    assert call("validate", "recipes/tiny.toml", shell=shell)[0] == 0
    code, out, _ = call("validate", "recipes/none.toml", shell=shell)
    assert code == 2
    assert call("diff", "a.json", "b.json", shell=shell)[:2] == (2, b"")
    assert (out == b"") == (">&- " in f"{shell.replace('2>&-', '')} ")


@pytest.mark.parametrize("command", ["schema | true", "diff a b 2>&1 | true"])
def test_a_reader_that_goes_away_changes_no_exit_code(command):
    program = f"'{sys.executable}' '{ROOT / 'runner.py'}'"
    words, _, rest = command.partition(" |")
    script = f"{program} {words} |{rest}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], cwd=ROOT, capture_output=True, timeout=60)
    assert (done.returncode, done.stderr) == (0 if words == "schema" else 2, b"")


def test_a_full_disk_is_one_message():
    code, _, err = call("schema", shell="exec {} >/dev/full")
    assert code == 2
    assert err.startswith(b"error: the system refused: no space left on device\n")
