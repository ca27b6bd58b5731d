"""Which facts of an environment results depend on, and which have no effect on a bit."""

import re
from collections.abc import Mapping
from typing import Any

from tinybert.manifest.built import ArithmeticFacts, Environment
from tinybert.manifest.canonical import digest
from tinybert.manifest.leaf import iterate_facts

EFFECTIVE_WHEN_PORTABLE = re.compile(
    r"arithmetic\.|mindspore\.|platform$|topology\.(device|processes)$|determinism\."
    r"|distributions\.(llvmlite|mindspore|numba|numpy|scipy)$"
    r"|variables\.(GLIBC_TUNABLES|LD_PRELOAD|(ONE)?DNN_.*|MS_.*)$"
)
"""What results depend on with portable arithmetic: the programs that compute, as they are set up.
The processor, its threads, and programs that compute nothing are not among them."""


def is_bit_relevant(environment: Environment, path: str) -> bool:
    """Return whether results depend on a fact, such as `cpu.model`; unless known, they may."""
    return not is_portable(environment) or bool(EFFECTIVE_WHEN_PORTABLE.match(path))


def is_portable(environment: Environment) -> bool:
    """Return whether a run computed with portable arithmetic."""
    arithmetic = environment.arithmetic
    return isinstance(arithmetic, ArithmeticFacts) and arithmetic.form == "portable"


def facts_with_effect(environment: Environment) -> Mapping[str, Any]:
    """Return what results depend on, by its path in the environment."""
    facts = {fact.path: fact.value for fact in iterate_facts(environment, "environment")}
    paths = {path: path.removeprefix("environment.") for path in facts}
    return {
        name: facts[path]
        for path, name in paths.items()
        if name != "bits_digest" and is_bit_relevant(environment, name)
    }


def bits_digest(environment: Environment) -> str:
    """Return SHA-256 of what results depend on: equal ones promise equal bits."""
    return digest(facts_with_effect(environment))
