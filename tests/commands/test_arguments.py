import inspect
import subprocess
import sys
from importlib import import_module

import pytest

from runner import COMMANDS
from tests.conftest import ROOT
from tinybert.augment.options import AugmentOptions
from tinybert.commands.argument_types import take
from tinybert.commands.arguments import parser
from tinybert.commands.networks import convert, export
from tinybert.commands.predict import PredictInput, ReadOptions, predict
from tinybert.compare.verify import verify
from tinybert.export.source import SourceRequest
from tinybert.prepare.corpus import prepare_corpus
from tinybert.prepare.ner import ner_texts
from tinybert.prepare.qa import prepare_qa
from tinybert.prepare.records import PrepareOptions
from tinybert.prepare.sentences import TableOptions, glue_texts, table_texts
from tinybert.prepare.vocabulary_training import VocabularyOptions, prepare_vocabulary
from tinybert.recipe.explain import explain
from tinybert.recipe.validate import validate
from tinybert.report.page import report
from tinybert.report.text import diff, show
from tinybert.run.execute import RunOptions


@pytest.mark.parametrize(
    ("line", "function"),
    [
        ("validate x.toml", validate),
        ("explain x.toml", explain),
        ("diff a b", diff),
        ("verify a", verify),
        ("report a", report),
        ("show a", show),
    ],
)
def test_the_options_of_a_command_are_the_parameters_of_its_function(line, function):
    options = vars(parser(ROOT).parse_args(line.split()))
    assert options.pop("command") == line.split()[0]
    options.pop("runs_root", None)  # for the names of runs alone
    assert inspect.signature(function).bind(**options).arguments.keys() == options.keys()


def test_the_options_of_run_are_those_of_each_run():
    options = vars(parser(ROOT).parse_args(["run", "x.toml", "y.toml"]))
    del options["command"], options["with_parents"]
    fields = RunOptions.__dataclass_fields__.keys() - {"replay"}  # of an audit
    assert {"recipe", *options} - {"recipes"} == fields


@pytest.mark.parametrize(
    ("line", "function"),
    [
        ("convert a --to mindspore --output b", convert),
        ("export a --format onnx --output b", export),
    ],
)
def test_the_other_options_of_a_network_are_what_names_it(line, function):
    options = vars(parser(ROOT).parse_args(line.split()))
    del options["command"]
    source = inspect.signature(function).bind(**options).arguments["source"]
    assert source.keys() == SourceRequest.__dataclass_fields__.keys()


def test_the_options_of_predict_are_an_input_how_it_is_read_and_what_names_a_network():
    options = vars(parser(ROOT).parse_args(["predict", "a"]))
    del options["command"]
    bound = inspect.signature(predict).bind(**options).arguments
    assert bound.keys() == {"format", "options"}
    for kind in (PredictInput, ReadOptions):
        take(kind, bound["options"])
    assert bound["options"].keys() == SourceRequest.__dataclass_fields__.keys()


def test_every_command_has_a_function_of_its_name():
    (commands,) = (action for action in parser(ROOT)._actions if action.dest == "command")
    assert commands.choices.keys() == COMMANDS.keys()
    for name, module in COMMANDS.items():
        assert callable(getattr(import_module(module), name))


@pytest.mark.parametrize(
    ("line", "function"),
    [
        ("vocab a --output b --size 9", prepare_vocabulary),
        ("corpus a", prepare_corpus),
        ("glue RTE a", glue_texts),
        ("qa SQuAD-1.1 a", prepare_qa),
        ("ner a --input-format conll", ner_texts),
        ("table a --text t --label l", table_texts),
        ("augment glue RTE a", glue_texts),
        ("augment table a --text t --label l", table_texts),
    ],
)
def test_the_options_of_prepare_are_the_parameters_of_its_kinds(line, function):
    records = [] if "vocab" in line else ["--vocab", "v", "--output", "b", "--seq-length", "8"]
    options = vars(parser(ROOT).parse_args(["prepare", *line.split(), *records]))
    del options["command"], options["what"]
    if options.pop("kind", None) is not None:
        take(AugmentOptions, options)
    if function is table_texts:
        options["table"] = take(TableOptions, options)
    if function is prepare_vocabulary:
        options["options"] = take(VocabularyOptions, options)
    if records:
        common = take(PrepareOptions, options)
        options |= {} if function in (glue_texts, ner_texts, table_texts) else {"options": common}
    bound = inspect.signature(function).bind(**options).arguments
    assert bound.keys() == options.keys()


def test_reading_the_command_line_imports_nothing_slow():
    slow = ("numpy", "pydantic", "mindspore", "jinja2", "rich", "tree_sitter")
    code = f"import sys, tinybert.commands.arguments; print({{*{slow}}} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("vocab a --size 2147483648", "--size: 2147483648 is not below 2147483648"),
        ("vocab a --size 1_000", "--size: invalid integer value: '1_000'"),
        (f"corpus a --seed {1 << 53}", "--seed: 9007199254740992 is not below 9007199254740992"),
        (
            f"corpus a --seq-length {'9' * 5000}",
            f"--seq-length: invalid integer value: '{'9' * 5000}'",
        ),
        (
            f"corpus a --rows-per-file -{'9' * 20}",
            f"--rows-per-file: -{'9' * 20} is not below 2147483648",
        ),
    ],
)
def test_an_integer_that_nothing_can_hold_is_an_error(line, problem, capsys):
    with pytest.raises(SystemExit) as ended:
        parser(ROOT).parse_args(["prepare", *line.split()])
    assert ended.value.code == 2
    assert capsys.readouterr().err.endswith(f"error: argument {problem}\n")


def test_integers_are_what_they_are():
    words = "prepare corpus a --vocab v --output o --seq-length 128 --seed 9007199254740991".split()
    options = parser(ROOT).parse_args(words)
    assert (options.seq_length, options.seed) == (128, (1 << 53) - 1)
