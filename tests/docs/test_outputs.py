"""Outputs that pages show are those of the committed reference."""

import json
import re

from tests.conftest import ROOT

REFERENCE = json.loads((ROOT / "manifests" / "tiny.reference.json").read_text())


def test_the_audit_that_is_shown_has_the_outcome_of_the_reference():
    page = (ROOT / "docs" / "audit.md").read_text()
    (shown,) = re.findall(r"by the outcome (\w+) and --nonce", page)
    assert shown == REFERENCE["digests"]["outcome"][:12]
