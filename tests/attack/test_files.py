"""A damaged file is refused, or changes nothing: never another result in silence."""

import json
import random
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors import SafetensorError
from safetensors.numpy import load

from tests.attack.answers import ask, judged
from tests.attack.damage import (
    BYTES,
    SEED,
    change_header,
    change_json,
    change_lines,
    replaced,
)
from tinybert.data.importing import STORES, import_records
from tinybert.errors import TinybertError
from tinybert.manifest.checkpoints import tensor_digest, tensor_table
from tinybert.plan.plan import make_plan, read_checkpoints
from tinybert.recipe.load import load as load_recipe

pytestmark = pytest.mark.slow

ALL = 1000
"""Damaged files, over all formats."""
TEXTS = ("--text", "the lamp is in the kitchen", "--text", "a river")


# What a file means: damage that leaves it may be answered in any way.
def as_bytes(content):
    return content


def as_json(content):
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return content


def as_tensors(content):
    try:
        return tensor_digest(tensor_table(load(content)))
    except (SafetensorError, ValueError, TypeError, KeyError):
        return content


def as_whole_lines(content):
    """A torn last line is what a kill leaves of a trace; it is no part of it."""
    return content[: content.rfind(b"\n") + 1]


# What is done with the files of the chain: a value that must not change, or an error.
def plan_of(chain, recipe):
    plan, problems = make_plan(load_recipe(recipe), chain.root)
    if problems:
        raise problems[0]
    return plan


def rows(chain):
    source = plan_of(chain, chain.general_recipe).records["data"].source
    with tempfile.TemporaryDirectory() as store:
        return import_records(source, Path(store)).digest


def labelled_rows(chain):
    plan = plan_of(chain, chain.teacher_recipe)
    with tempfile.TemporaryDirectory() as store:
        return plan.labels, import_records(plan.records["data"].source, Path(store)).digest


def mindrecord_rows(chain):
    places, mindrecord = '"places/dev"', json.dumps(str(chain.mindrecord))
    text = chain.teacher_recipe.read_text().replace(places, mindrecord)
    text = text.replace('"places/train"', mindrecord).replace('"tfrecord"', '"mindrecord"')
    lines = (line for line in text.splitlines(True) if "schema_dir" not in line)
    recipe = chain.root / "mindrecord.toml"
    recipe.write_text("".join(lines))
    with tempfile.TemporaryDirectory() as store:
        source = plan_of(chain, recipe).records["eval_data"].source
        return import_records(source, Path(store)).digest


def stored_rows(chain):
    source = plan_of(chain, chain.general_recipe).records["data"].source
    return import_records(source, chain.root / STORES).digest


def store_of(chain):
    """Return the folder that `stored_rows` reads."""
    (folder,) = (chain.root / STORES).glob(f"*-{stored_rows(chain)}")
    return folder


def weights(chain):
    loaded = read_checkpoints(plan_of(chain, chain.task_recipe))
    return {role: tensor_digest(tensor_table(dict(w.arrays))) for role, w in loaded.items()}


def predictions(folder):
    def ask_for_predictions(chain):
        answer = ask("predict", getattr(chain, folder), *TEXTS)
        problems = list(answer.problems())
        assert not problems, f"{problems}: {answer}"
        if answer.code:
            raise TinybertError(str(answer))
        return answer.out

    return ask_for_predictions


@dataclass(frozen=True)
class Format:
    """A kind of file: where the chain has one, what happens to it, who reads it."""

    file: Callable
    kinds: tuple
    meaning: Callable = as_bytes
    use: Callable | None = None
    """Reads it for a run or an answer."""
    checks: tuple = ()
    """Commands that must notice a change of its meaning."""
    asks: tuple = ()
    """Commands that must have an answer, whatever it is."""


def manifests(*names):
    """Return the commands that look at runs."""
    found = []
    for name in names:
        found += [("show", name), ("lineage", name), ("diff", name, "general")]
        found.append(("report", name, "--output", "page.html", "--force"))
    return tuple(found)


VERIFY = (("verify", "--rehash", "task"),)
GENERAL = (("verify", "--rehash", "general"),)
TEACHER = (("verify", "--rehash", "teacher"),)
FORMATS = {
    "records": Format(
        lambda chain: next((chain.root / "rows").glob("*.tfrecord")),
        BYTES,
        use=rows,
        checks=GENERAL,
    ),
    "schema": Format(
        lambda chain: chain.root / "rows" / "schema.json",
        (*BYTES, change_json, change_json, change_json),
        use=rows,
        checks=GENERAL,
    ),
    "records.json": Format(
        lambda chain: chain.root / "places" / "train" / "records.json",
        (*BYTES, *[change_json] * 10),
        as_json,
        use=labelled_rows,
        checks=TEACHER,
    ),
    "mindrecord": Format(
        lambda chain: chain.mindrecord / "records-00000.mindrecord", BYTES, use=mindrecord_rows
    ),
    "store index": Format(
        lambda chain: store_of(chain) / "store.json",
        (*BYTES, *[change_json] * 10),
        as_json,
        use=stored_rows,
    ),
    "store array": Format(lambda chain: store_of(chain) / "input_ids.bin", BYTES, use=stored_rows),
    "linked checkpoint": Format(
        lambda chain: chain.folder(chain.teacher) / chain.best(chain.teacher)["file"],
        (*BYTES, *[change_header] * 4),
        as_tensors,
        use=weights,
        checks=TEACHER,
        asks=(("run", "task_recipe", "--root", "root", "--dry-run"),),
    ),
    "tensor table": Format(
        lambda chain: chain.folder(chain.general) / chain.best(chain.general)["tensor_table"],
        (*BYTES, *[change_json] * 10),
        as_json,
        use=weights,
        checks=GENERAL,
        asks=manifests("general"),
    ),
    "trace": Format(
        lambda chain: chain.folder(chain.task) / "trace.jsonl",
        (*BYTES, *[change_lines] * 10),
        as_whole_lines,
        checks=VERIFY,
        asks=manifests("task"),
    ),
    "manifest": Format(
        lambda chain: chain.task,
        (*BYTES, *[change_json] * 10),
        as_json,
        checks=VERIFY,
        asks=manifests("task"),
    ),
    "parent's manifest": Format(
        lambda chain: chain.teacher,
        (*BYTES, *[change_json] * 10),
        as_json,
        use=weights,
        checks=TEACHER,
        asks=(("lineage", "task"), ("run", "task_recipe", "--root", "root", "--dry-run")),
    ),
    "export.json": Format(
        lambda chain: chain.exported / "export.json",
        (*BYTES, *[change_json] * 10),
        as_json,
        use=predictions("exported"),
        checks=(("verify", "exported/export.json"),),
        asks=(("lineage", "exported/export.json"),),
    ),
    "exported model": Format(
        lambda chain: chain.exported / "model.safetensors",
        (*BYTES, *[change_header] * 4),
        use=predictions("exported"),
        checks=(("verify", "exported/export.json"),),
    ),
    "config.json": Format(
        lambda chain: chain.exported / "config.json",
        (*BYTES, *[change_json] * 10),
        use=predictions("exported"),
        checks=(("verify", "exported/export.json"),),
        asks=(("convert", "exported", "--to", "mindspore", "--output", "x.ckpt", "--force"),),
    ),
    "exported vocabulary": Format(
        lambda chain: chain.exported / "vocab.txt",
        (*BYTES, *[change_lines] * 10),
        use=predictions("exported"),
        checks=(("verify", "exported/export.json"),),
    ),
    "onnx": Format(
        lambda chain: chain.onnx / "model.onnx",
        BYTES,
        checks=(("verify", "onnx/export.json"),),
    ),
    "ckpt": Format(
        lambda chain: chain.checkpoint,
        BYTES,
        asks=(
            (
                *("convert", "checkpoint", "--recipe", "task_recipe", "--network", "student"),
                *("--to", "huggingface", "--output", "converted", "--force"),
                *("--vocab", "vocab.txt", "--lowercase"),
            ),
        ),
    ),
    "vocabulary": Format(
        lambda chain: chain.root / "vocab.txt",
        (*BYTES, *[change_lines] * 10),
        asks=(
            (
                *("prepare", "table", "places/dev.tsv", "--text", "sentence", "--label", "label"),
                *("--vocab", "vocab.txt", "--seq-length", 32, "--output", "prepared", "--force"),
            ),
        ),
    ),
}


def command(chain, words):
    """Return a command with the attributes of the chain in the place of their names."""
    return [getattr(chain, str(word), word) for word in words]


def trial(chain, format, whole, damage, baseline):
    """Return how damage is answered, the longest time it took, and what is wrong with that."""
    changed = not isinstance(damage, bytes) or format.meaning(damage) != format.meaning(whole)
    known = format.checks or format.use
    verdict = "harmless" if known or not changed else "taken at its word"
    slowest, problems = 0.0, []
    for words in (*format.checks, *format.asks):
        answer = ask(*command(chain, words))
        slowest = max(slowest, answer.seconds)
        problems += [f"{problem} of {words[0]}: {answer}" for problem in answer.problems()]
        if answer.code:
            verdict = "refused"
        elif changed and words in format.checks:
            problems.append(f"{words[0]} noticed nothing: {answer}")
    if format.use is not None:
        try:
            if format.use(chain) != baseline:
                problems.append("another result, in silence")
        except TinybertError:
            verdict = "refused"
        except Exception as error:
            problems.append(f"{type(error).__name__}: {error}")
    return verdict, slowest, problems


@pytest.mark.parametrize("name", FORMATS)
def test_damage_is_refused_or_changes_nothing(chain, table, name, monkeypatch):
    monkeypatch.chdir(chain.root)
    format = FORMATS[name]
    path = format.file(chain)
    whole = path.read_bytes()
    baseline = format.use(chain) if format.use is not None else None
    found = []
    for number in range(-(-ALL // len(FORMATS))):
        dice = random.Random(f"{SEED} {name} {number}")
        kind = dice.choice(format.kinds)
        damage = kind(dice, whole)
        with replaced(path, damage):
            verdict, slowest, problems = trial(chain, format, whole, damage, baseline)
        table.add(name, judged(verdict, problems), slowest)
        found += [f"{name} {number}, {kind.__name__}: {problem}" for problem in problems]
    assert found == [], "\n" + "\n".join(found)
