"""Every command and option that texts and messages name is one of the command line."""

import argparse
import ast
import re
import shlex

import pytest

from tests.conftest import ROOT, SHIPPED
from tinybert.commands.arguments import parser

TEXTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md")),
    *(ROOT / name for name in ("manifests/README.md", "recipes/tiny/README.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *SHIPPED.values(),
]
SOURCES = sorted([*(ROOT / "tinybert").rglob("*.py"), *(ROOT / "tools").glob("*.py")])
COMMAND = re.compile(r"(?:^[\s#]*(?:\w*\$ )?|`)(?:\w+=\w+ )?python runner\.py ([^`\n]+)", re.M)
QUOTED = re.compile(r"`(?:python runner\.py )?([^`\n]+)`")
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
PLACEHOLDERS = {"RECIPE": "x.toml", "N": "1", "FAMILY": "huggingface"}
STARTING = ("msrun.py", "identity.py")
"""Files that start other programs, with options of these."""
PIP = "--require-hashes"


def subparsers(top):
    (commands,) = (a for a in top._actions if isinstance(a, argparse._SubParsersAction))
    return commands.choices


def options_of(top):
    """Return the options of a parser and of the parsers in it."""
    found = set()
    for action in top._actions:
        found |= set(action.option_strings)
        if isinstance(action, argparse._SubParsersAction):
            found |= set().union(*map(options_of, action.choices.values()))
    return found


TOP = parser(ROOT)
COMMANDS = subparsers(TOP)
OPTIONS = options_of(TOP)


def parses(text):
    """Parse a command as runner.py does, with values for its placeholders."""
    text = re.sub(r"\$\w+", "x", re.split(r"\s{2,}", text.strip())[0])
    rest = " --seq-length 8 --output x" if text.endswith(" ...") else ""
    words = shlex.split(re.sub(r"[\[\]]|\.\.\.", "", text) + rest)
    words = [PLACEHOLDERS.get(word, word) for word in words]
    if len(words) == 2 and words[0] == "prepare":  # a name, without its arguments
        words.append("--help")
    try:
        TOP.parse_args(["run", *words] if words[0].endswith(".toml") else words)
    except SystemExit as end:
        return end.code == 0
    return True


def commands_in(path):
    text = re.sub(r"\\\n[\s#]*", "", path.read_text(encoding="utf-8"))
    return [match[1] for match in COMMAND.finditer(text)]


def strings_in(path):
    """Yield every text of a program that is no docstring, values as `x.toml`."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {
        id(part)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr)
        for part in ast.walk(node)
    }
    statements = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (p.value if isinstance(p, ast.Constant) else "x.toml" for p in node.values)
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            if id(node) not in inner and id(node) not in statements:
                yield node.value


NAMED = [
    *((path, command) for path in TEXTS for command in commands_in(path)),
    *(
        (path, match[1])
        for path in SOURCES
        for text in strings_in(path)
        for match in QUOTED.finditer(text)
        if "python runner.py" in match[0]
        or (match[1].split()[0] in COMMANDS and " " in match[1].strip())
    ),
]


def test_commands_are_found_in_texts_recipes_and_messages():
    names = {path.name for path, _ in NAMED}
    assert {
        "README.md",
        "hosts.md",
        "ascend.md",
        "parent_runs.py",
        *(p.name for p in SHIPPED.values()),
    } <= names


@pytest.mark.parametrize("command", sorted({command for _, command in NAMED}))
def test_a_named_command_parses(command):
    assert parses(command)


@pytest.mark.parametrize("command", ["predic x", "x.toml --frsh", "prepare glu", "diff A"])
def test_a_misspelt_command_does_not_parse(command):
    assert not parses(command)


def test_every_option_in_a_message_is_one_of_the_command_line():
    named = {
        (path.name, option)
        for path in SOURCES
        for text in strings_in(path)
        if path.parts[len(ROOT.parts)] == "tinybert" and path.name not in STARTING
        for option in OPTION.findall(text)
    }
    assert {(name, option) for name, option in named if option not in {*OPTIONS, PIP}} == set()
