"""Whatever is done to the files of a run, every command answers: shortly, soon, and printably."""

import hashlib
import json
import os
import random
import shutil
import time
from pathlib import Path

import pytest

import runner
from tests.fake_runs import PretendedRun
from tinybert.manifest.canonical import digest
from tinybert.terminal import UNPRINTABLE

COMMANDS = (
    *("show A", "lineage A", "verify A", "verify --rehash A", "diff A B"),
    *("diff B A --format json", "diff A B --across-topology", "diff A B --require tolerance"),
    *("report A --output P --force", "report B A --output P --force"),
)
SECTIONS = ("inputs", "effective", "environment", "outcome", "volatile")
DEEP = json.loads("[" * 50 + "]" * 50)
VALUES = (
    *(None, True, 0, -1, 2**53 - 1, 10**15, 1e308, -0.0, 5e-324, [], {}, [[]], DEEP),
    *("", "\x00", "\x1b[31m", "\u202e", "x" * 100_000, "finished", "running", "failed"),
    *("../../../etc/passwd", "/dev/zero", "/dev/stdin", "a/../b", "float:NaN", "0x1p+9999"),
    *("9999-99-99T99:99:99Z", "0001-01-01T00:00:00Z", {"value": 1.0, "hex": "z"}, {"\x1b": "\r"}),
)
BYTES = (
    *(b"\x00", b"{", b'"', b"\x1b[31m", b"9" * 40, b"e999", b"NaN", b"\\ud800", b"\n"),
    *(b"[" * 3000, b"\xff\xfe", b'"a":1,"a":2,'),
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with the manifests A and B of two finished runs."""
    monkeypatch.chdir(tmp_path)
    for name, noise in (("a", 0.0), ("b", 0.01)):
        run = PretendedRun(tmp_path / name)
        run.noise = noise
        tolerance = {"relative": 1e-3, "absolute": 0.0}
        run.expect = {"reference": "manifests/none.json", "tolerance": tolerance}
        Path(name.upper()).symlink_to(run.run())
    log = next(Path("a/runs/tiny").iterdir()) / "log.jsonl"
    log.write_text('{"step": 6, "accuracy": 0.5, "event": "evaluation"}\n' * 2)
    shutil.copytree("a", "whole")
    return tmp_path


def answer(capsys, command):
    """Call a command; its exit code, after checking what every answer must be."""
    began = time.process_time()
    code = runner.main(command.split())
    seconds = time.process_time() - began
    printed = "".join(capsys.readouterr())
    assert code in (0, 1, 2), printed
    assert seconds < 5
    assert not UNPRINTABLE.search(printed)
    assert "Traceback" not in printed
    return code, printed


def places(value, path=()):
    """Yield the path of every value inside a JSON value."""
    items = enumerate(value) if isinstance(value, list) else value.items()
    for key, inner in items:
        yield (*path, key)
        if isinstance(inner, dict | list):
            yield from places(inner, (*path, key))


def edit(choose, value):
    """Change one to three values inside a JSON value, mostly to others of their type."""
    for _ in range(choose.choice((1, 1, 3))):
        found = [path for path in places(value) if path[0] != "digests"]
        *outer, key = choose.choice(found)
        table = value
        for part in outer:
            table = table[part]
        alike = [other for other in VALUES if type(other) is type(table[key])]
        match choose.randrange(10):
            case 0:
                del table[key]
            case 1 if isinstance(table, dict):
                table["\x1b[0m"] = choose.choice(VALUES)
            case 2 if isinstance(table, list):
                table *= 50
            case 3 | 4:
                table[key] = choose.choice(VALUES)
            case _:
                table[key] = choose.choice(alike or VALUES)


def damage(choose, data):
    """Change one to five places of a file's bytes."""
    data = bytearray(data)
    for _ in range(choose.choice((1, 1, 2, 5))):
        at = choose.randrange(len(data) + 1)
        match choose.randrange(5):
            case 0 if at < len(data):
                data[at] ^= 1 << choose.randrange(8)
            case 1:
                del data[at : at + choose.choice((1, 10, 1000))]
            case 2:
                del data[at:]
            case 3:
                data[at:at] = data[max(0, at - 500) : at]
            case _:
                data[at:at] = choose.choice(BYTES)
    return bytes(data)


def seal(manifest):
    for name in SECTIONS:
        if name in manifest:
            manifest["digests"][name] = digest(manifest[name])
    Path("A").write_text(json.dumps(manifest))


def reseal_manifest(choose, manifest, run):
    edit(choose, manifest)
    seal(manifest)


def edit_manifest(choose, manifest, run):
    Path("A").write_bytes(damage(choose, Path("A").read_bytes()))


def reseal_trace(choose, manifest, run):
    records = [json.loads(line) for line in (run / "trace.jsonl").read_bytes().splitlines()]
    for record in records:
        del record["chain"]
    edit(choose, records)
    chain, lines = hashlib.sha256(), []
    for record in records:
        body = json.dumps(record, separators=(",", ":")).encode()
        chain.update(body + b"\n")
        lines.append(body[:-1] + b',"chain":"' + chain.hexdigest().encode() + b'"}\n')
    (run / "trace.jsonl").write_bytes(b"".join(lines))
    manifest["outcome"]["trace_digest"] = chain.hexdigest()
    seal(manifest)


def reseal_table(choose, manifest, run):
    checkpoint = choose.choice(manifest["outcome"]["checkpoints"])
    table = json.loads((run / checkpoint["tensor_table"]).read_bytes())
    edit(choose, table)
    (run / checkpoint["tensor_table"]).write_text(json.dumps(table))
    checkpoint["tensor_digest"] = digest(table)
    seal(manifest)


def damage_file(choose, manifest, run):
    files = [
        path for path in Path("a").rglob("*") if path.is_file() and "manifests" not in path.parts
    ]
    path = choose.choice(sorted(files))
    data = path.read_bytes()
    path.unlink()
    match choose.randrange(10):
        case 0:
            path.mkdir()
        case 1:
            os.mkfifo(path)
        case 2:
            path.symlink_to("/dev/zero")
        case 3:
            path.symlink_to(path)
        case _:
            path.write_bytes(damage(choose, data))


ATTACKS = (reseal_manifest, edit_manifest, reseal_trace, reseal_table, damage_file)


def attack(capsys, change, seeds, commands):
    manifest = Path("A").resolve()
    for seed in seeds:
        shutil.rmtree("a")
        shutil.copytree("whole", "a")
        run = next(Path("a/runs/tiny").iterdir())
        change(random.Random(seed), json.loads(manifest.read_bytes()), run)
        for command in commands:
            answer(capsys, command)


@pytest.mark.parametrize("change", ATTACKS, ids=lambda change: change.__name__)
def test_some_attacks_on_a_run(folder, capsys, change):
    attack(capsys, change, range(3), COMMANDS[::3])


@pytest.mark.slow
@pytest.mark.parametrize("change", ATTACKS, ids=lambda change: change.__name__)
def test_many_attacks_on_a_run(folder, capsys, change):
    attack(capsys, change, range(500), COMMANDS)


@pytest.mark.parametrize("command", ["show X", "lineage X", "verify X", "diff A X", "report A X"])
@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.write_text("[" * 100_000), "it is nested too deeply"),
        (lambda path: path.write_text('{"a": 1' + "0" * 400 + "}"), "it holds an integer of 2^53"),
        (lambda path: path.write_text(r'{"a": "\ud800"}'), "it holds half a surrogate pair"),
        (lambda path: os.mkfifo(path), "not a regular file"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file"),
        (lambda path: path.symlink_to(path), "too many levels of symbolic links"),
        (lambda path: path.mkdir(), "is a directory"),
        (
            lambda path: path.write_bytes(b" " * (17 << 20)),
            "it is larger than 16,777,216",
        ),
    ],
    ids=["deep", "integer", "surrogate", "fifo", "device", "loop", "directory", "large"],
)
def test_what_is_no_manifest_is_one_message(folder, capsys, command, make, reason):
    make(Path("X"))
    code, printed = answer(capsys, command)
    assert code == 2
    assert reason in printed.splitlines()[0]
    assert printed.splitlines()[1] == "  --> X"


@pytest.mark.parametrize("command", ["verify", "lineage"])
@pytest.mark.parametrize("content", ["[" * 100_000, "{}", '{"sha256": "\x1b[31m"}', "[1]"])
def test_what_is_no_record_of_an_export_is_one_message(folder, capsys, command, content):
    Path("export.json").write_text(content)
    code, printed = answer(capsys, f"{command} export.json")
    assert (code, printed.splitlines()[1]) == (2, "  --> export.json")
    assert len(printed.splitlines()) <= 3
