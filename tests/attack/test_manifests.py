"""Manifests that somebody edited: without new digests, and with digests that fit."""

import json
import random
import re

import pytest

from tests.attack.answers import ask, judged
from tests.attack.damage import HOSTILE, SEED, edited, hostile_text, leaves, replaced
from tinybert.errors import InputError
from tinybert.manifest.canonical import digest
from tinybert.manifest.model import SECTIONS

pytestmark = pytest.mark.slow

EDITED = RESEALED = 500
ASKS = (
    ("verify", "task"),
    ("show", "task"),
    ("lineage", "task"),
    ("diff", "task", "general"),
    ("report", "task", "general", "--output", "page.html", "--force"),
)
RECOMPUTED = re.compile(
    r"outcome\.(steps|optimizer_steps|samples|overflows|nonfinite_losses|trace_digest)$"
    r"|outcome\.(best_)?metrics\.\w+\.(value|hex)$"
    r"|outcome\.(checkpoints\.\d+|best_checkpoint)\.(tensor_digest|file|tensor_table)$"
    r"|inputs\.recipe\.(text|text_sha256|digest|values\..*)$"
    r"|inputs\.code\.(digest|files\..*)$"
    r"|inputs\.files\.\d+\.(path|size)$"  # it says that it trusts digests, and how to read
    r"|inputs\.seeds\..*$"
)
"""What `verify` can find out from the files of a run, or from another place of its manifest."""


def ask_all(chain):
    return {words[0]: ask(*(getattr(chain, word, word) for word in words)) for words in ASKS}


def problems_of(answers):
    return [
        f"{problem} of {command}: {answer}"
        for command, answer in answers.items()
        for problem in answer.problems()
    ]


@pytest.fixture
def document(chain, monkeypatch):
    monkeypatch.chdir(chain.root)
    return lambda: json.loads(chain.task.read_text())


def change(dice, document):
    """Change one fact; return its path and the two values."""
    path, holder, key = dice.choice(leaves(document))
    before = holder[key]
    holder[key] = dice.choice(HOSTILE) if dice.random() < 0.3 else edited(dice, before)
    return ".".join(map(str, path)), before, holder[key]


def test_an_edited_manifest_is_refused_by_every_command(chain, table, document):
    found = []
    for number in range(EDITED):
        dice = random.Random(f"{SEED} edited {number}")
        changed = document()
        path, before, after = change(dice, changed)
        with replaced(chain.task, hostile_text(changed)):
            answers = ask_all(chain)
        problems = problems_of(answers)
        if json.dumps(changed) != json.dumps(document()):
            problems += [
                f"{command} took it: {answer}"
                for command, answer in answers.items()
                if answer.code != 2 or (command == "verify" and answer.code == 0)
            ]
        slowest = max(answer.seconds for answer in answers.values())
        table.add("edited manifest", judged("refused", problems), slowest)
        about = f"{number}, {path}: {before!r:.80} to {after!r:.80}"
        found += [f"{about}: {problem}" for problem in problems]
    assert found == [], "\n" + "\n".join(found)


def test_a_resealed_manifest_is_found_out_where_its_facts_can_be_recomputed(chain, table, document):
    found = []
    for number in range(RESEALED):
        dice = random.Random(f"{SEED} resealed {number}")
        changed = document()
        path, before, after = change(dice, changed)
        try:
            changed["digests"] = {name: digest(changed[name]) for name in SECTIONS}
        except (ValueError, InputError, RecursionError):  # no canonical JSON: nobody can seal it
            pass
        with replaced(chain.task, hostile_text(changed)):
            answers = ask_all(chain)
        problems = problems_of(answers)
        noticed = answers["verify"].code != 0
        equal = json.dumps(changed) == json.dumps(document())
        if RECOMPUTED.match(path) and not (noticed or equal):
            problems.append(f"verify noticed nothing: {answers['verify']}")
        answer = "harmless" if equal else "refused" if noticed else "taken at its word"
        slowest = max(answer.seconds for answer in answers.values())
        table.add("resealed manifest", judged(answer, problems), slowest)
        about = f"{number}, {path}: {before!r:.80} to {after!r:.80}"
        found += [f"{about}: {problem}" for problem in problems]
    assert found == [], "\n" + "\n".join(found)
