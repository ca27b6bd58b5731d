"""What a launcher shows of its processes, and repeats of the first one's log."""

import hmac
import io
import json
import sys
from types import SimpleNamespace

import pytest
import structlog
from rich.console import Console

from tinybert.launch.view import LogRepeater, RankProgress
from tinybert.launch.watch import JobFailure
from tinybert.run.heartbeat import Heartbeat, WorkerExit, decode_heartbeat, encode_heartbeat
from tinybert.run.logs import configure
from tinybert.terminal import UNPRINTABLE

HOSTILE = (
    *("[bold]x[/bold]", "[link=http://example.com]x[/link]", "[/nothing]", ":skull:"),
    *("\x1b]0;title\x07x", "\x1b[2Jx", "a\rb", "\u202egnp.exe", "\x9b31mx"),
)
"""Markup, and what moves a terminal."""


class Terminal(io.StringIO):
    """A standard error that is a terminal."""

    def isatty(self):
        return True


def test_events_but_steps_are_repeated_once_and_whole(tmp_path):
    log_file = tmp_path / "worker_0.log"
    repeater = LogRepeater(log_file)
    with structlog.testing.capture_logs() as heard:
        repeater.repeat()
        log_file.write_text('[INFO] chatter\n{"event": "step", "loss": 1}\n{"event": "evalu')
        repeater.repeat()
        assert heard == []
        with log_file.open("a") as file:
            file.write('ation", "step": 20, "accuracy": 0.5, "level": "info", "timestamp": "t"}\n')
        repeater.repeat()
        repeater.repeat()
    assert heard == [{"event": "evaluation", "step": 20, "accuracy": 0.5, "log_level": "info"}]


@pytest.mark.parametrize("text", HOSTILE)
def test_the_table_shows_texts_of_others_as_they_are(tmp_path, text):
    beat = SimpleNamespace(step=1, activity=text, loss=0.5, learning_rate=1e-3, samples=0)
    table = RankProgress(10, tmp_path / "log")._table({0: beat}, 0.0)
    shown = io.StringIO()
    Console(file=shown, width=200, force_terminal=False, no_color=True).print(table)
    escaped = json.dumps(text)[1:-1] if UNPRINTABLE.search(text) else text
    assert escaped in shown.getvalue()
    assert not UNPRINTABLE.search(shown.getvalue())


@pytest.mark.parametrize("text", HOSTILE)
def test_a_heartbeat_with_such_an_activity_is_no_heartbeat(text):
    content = encode_heartbeat(Heartbeat(0, 1, "host", "saving"), b"token")[32:]
    forged = content.replace(b'"saving"', json.dumps(text).encode())
    answers = [
        decode_heartbeat(hmac.digest(b"token", data, "sha256") + data, b"token")
        for data in (content, forged)
    ]
    assert [answer is None for answer in answers] == [False, True]


@pytest.mark.parametrize("text", HOSTILE)
def test_texts_of_a_failure_carry_no_control_characters(text):
    failure = JobFailure(1, text, 0, last_lines=[text], ended=WorkerExit(1, message=text))
    for shown in (failure.what, *failure.last_lines, failure.ended.message):
        assert not UNPRINTABLE.search(shown)


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("key", ["event", "address", "level", "exc_info", "stack"])
def test_repeated_events_are_shown_as_they_are_while_the_table_is_drawn(
    tmp_path, monkeypatch, text, key
):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "200")
    configure("console")
    log_file = tmp_path / "worker_0.log"
    event = {"event": "evaluation"} | {key: text, "nested": [text]}
    log_file.write_text(json.dumps(event) + "\n")
    with RankProgress(10, log_file) as progress:
        progress.show({0: Heartbeat(0, 1, text, "step", 3)})
    structlog.reset_defaults()
    shown = terminal.getvalue()
    if key in ("event", "address"):
        escaped = json.dumps(text)[1:-1] if UNPRINTABLE.search(text) else text
        assert escaped in shown
    for sequence in ("\x1b]", "\x1b[2J", "\u202e", "\x9b", "\x07"):
        assert sequence not in shown
