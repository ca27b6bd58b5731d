"""Changed recipes: every command that reads one has an answer, and the same one."""

import random

import pytest

from tests.attack.answers import ask, judged
from tests.attack.damage import BYTES, SEED, Place, change_lines, replaced
from tests.conftest import SHIPPED
from tests.recipe.test_recipe_mutations import BASES, HEADERS, NAMES, VALUES

pytestmark = pytest.mark.slow

ALL = 2000
COMMANDS = (
    ("validate", "x.toml"),
    ("validate", "x.toml", "--format", "json"),
    ("explain", "x.toml"),
    ("run", "x.toml", "--dry-run", "--root", "."),
)
SHIPPED_TEXTS = [path.read_text() for path in SHIPPED.values()]


def change_value(dice, content):
    """Give one key another value, or another name, or take it to another table."""
    lines = content.decode().splitlines(keepends=True)
    at = dice.choice([i for i, line in enumerate(lines) if " = " in line])
    name, _, value = lines[at].partition(" = ")
    match dice.randrange(5):
        case 0 | 1:
            lines[at] = f"{name} = {dice.choice(VALUES)}\n"
        case 2:
            lines[at] = f"{dice.choice(NAMES)} = {value}"
        case 3:
            lines.insert(at, f"{dice.choice(HEADERS)}\n")
        case _:
            lines[at] = f"{name} = {dice.choice(['[', '{ a = '])}" * dice.choice([2, 5_000]) + "\n"
    return "".join(lines).encode()


KINDS = (*BYTES, *[change_lines] * 8, *[change_value] * 20)


def test_a_changed_recipe_has_an_answer_of_every_command(tmp_path, table, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / "x.toml"
    path.write_text("")
    found = []
    for number in range(ALL):
        dice = random.Random(f"{SEED} recipe {number}")
        damage = dice.choice(BASES + SHIPPED_TEXTS).encode()
        for _ in range(dice.randint(1, 3)):
            kind = dice.choice(KINDS)
            if isinstance(damage, Place) or not damage or b" = " not in damage:
                break
            try:
                damage = kind(dice, damage)
            except UnicodeDecodeError:  # an earlier change left no text
                break
        with replaced(path, damage):
            answers = [ask(*words) for words in COMMANDS]
        slowest = max(answer.seconds for answer in answers)
        problems = [
            f"{problem} of {' '.join(words)}: {answer}"
            for words, answer in zip(COMMANDS, answers, strict=True)
            for problem in answer.problems()
        ]
        if (answers[0].code == 0) != (answers[2].code == 0):
            problems.append(f"validate and explain disagree: {answers[0]}; {answers[2]}")
        if answers[0].code != 0 and answers[3].code == 0:
            problems.append(f"what validate refuses is planned: {answers[0]}")
        verdict = "harmless" if answers[0].code == 0 else "refused"
        table.add("recipe", judged(verdict, problems), slowest)
        found += [f"{number}, {kind.__name__}: {problem}" for problem in problems]
    assert found == [], "\n" + "\n".join(found)
