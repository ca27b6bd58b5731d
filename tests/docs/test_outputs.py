"""Outputs and exit codes that pages show are those of the program."""

import json
import re

import runner
from tests.conftest import ROOT

REFERENCE = json.loads((ROOT / "manifests" / "tiny.reference.json").read_text())


def test_the_audit_that_is_shown_has_the_outcome_of_the_reference():
    page = (ROOT / "docs" / "audit.md").read_text()
    (shown,) = re.findall(r"by the outcome (\w+) and --nonce", page)
    assert shown == REFERENCE["digests"]["outcome"][:12]


def test_the_table_of_exit_codes_names_the_commands_that_have_their_own():
    page = (ROOT / "README.md").read_text()
    (cell,) = re.findall(r"^\| code \| (.*?) \|", page, re.M)
    assert sorted(re.findall(r"`(\w+)`", cell)) == sorted(runner.RUNNING)
