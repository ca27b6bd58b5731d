"""The plan of the acceptance on Ascend, as far as it can be looked at without a card."""

import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tinybert.commands.arguments import parser
from tinybert.recipe.load import load
from tools.ascend_acceptance import Check, carry_out, plan

PLAN = plan()
RUNS = [check for check in PLAN if check.arguments[0] == "run"]


def test_without_a_card_it_stops_at_once_and_says_why():
    command = [sys.executable, "-m", "tools.ascend_acceptance"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 4
    assert done.stdout == ""
    assert done.stderr.startswith("error: no Ascend card can be used here, so nothing was run:\n")
    assert "no device file /dev/davinci*" in done.stderr


@pytest.mark.parametrize("check", PLAN, ids=lambda check: check.name)
def test_every_command_is_one_of_the_command_line(check):
    assert parser(ROOT).parse_args(check.arguments).command == check.arguments[0]


@pytest.mark.parametrize("check", RUNS, ids=lambda check: check.name)
def test_every_run_is_of_a_valid_recipe(check):
    options = parser(ROOT).parse_args(check.arguments)
    (recipe,) = options.recipes
    resolved = load(ROOT / recipe, options.overrides, options.device)
    assert resolved.recipe.topology.device == options.device
    assert resolved.recipe.topology.devices_per_host == check.cards


def test_names_are_unique_and_verdicts_come_after_their_runs():
    names = [check.name for check in PLAN]
    assert len(set(names)) == len(names)
    for place, check in enumerate(PLAN):
        assert set(check.needs) <= {run.name for run in RUNS if run in PLAN[:place]}


def test_every_run_is_compared_with_another():
    compared = {name for check in PLAN for name in check.needs}
    # `resumed` goes on with the one, the other has no result
    assert {check.name for check in RUNS} - compared == {"killed", "simulation"}


def verdicts(results):
    return {result.check.name: result.passed for result in results}


def test_what_lacks_cards_or_a_run_is_not_run(tmp_path):
    checks = [Check("eight", ("run",), cards=8), Check("diff", ("diff", "{one}", "{two}"))]
    assert verdicts(carry_out(checks, 1, tmp_path)) == {"eight": None, "diff": None}
    assert list(tmp_path.iterdir()) == []  # no log of a command


def test_commands_are_carried_out_and_their_output_is_kept(tmp_path, capsys):
    reference = "manifests/tiny.reference.json"
    checks = [
        Check("same", ("diff", reference, reference), "equal manifests are equal"),
        Check("bad", ("verify", "manifests/none.json"), "a missing manifest fails"),
    ]
    results = carry_out(checks, 1, tmp_path)
    assert verdicts(results) == {"same": True, "bad": False}
    assert results[0].answer == "bitwise: the outcomes are equal"
    assert (tmp_path / "same.log").read_text().startswith(results[0].answer)
    assert "| same | equal manifests are equal | passed |" in capsys.readouterr().out
