"""A manifest of its sections, each with its digest."""

from tinybert.manifest.built import Effective, Environment
from tinybert.manifest.canonical import digest
from tinybert.manifest.model import (
    FORMAT_VERSION,
    Digests,
    Inputs,
    Manifest,
    Outcome,
    Volatile,
)


def build_manifest(
    *,
    inputs: Inputs,
    outcome: Outcome,
    volatile: Volatile,
    effective: Effective | None = None,
    environment: Environment | None = None,
) -> Manifest:
    """Return the manifest of these sections, with their digests."""
    return Manifest(
        format_version=FORMAT_VERSION,
        digests=Digests(
            inputs=digest(inputs),
            effective=digest(effective),
            environment=digest(environment),
            outcome=digest(outcome),
            volatile=digest(volatile),
        ),
        inputs=inputs,
        effective=effective,
        environment=environment,
        outcome=outcome,
        volatile=volatile,
    )


def replace_sections(
    manifest: Manifest,
    *,
    inputs: Inputs | None = None,
    effective: Effective | None = None,
    environment: Environment | None = None,
    outcome: Outcome | None = None,
    volatile: Volatile | None = None,
) -> Manifest:
    """Return a manifest with new sections; the others stay, and so do their digests."""
    digests = manifest.digests
    return Manifest(
        format_version=manifest.format_version,
        digests=Digests(
            inputs=digest(inputs) if inputs else digests.inputs,
            effective=digest(effective) if effective else digests.effective,
            environment=digest(environment) if environment else digests.environment,
            outcome=digest(outcome) if outcome else digests.outcome,
            volatile=digest(volatile) if volatile else digests.volatile,
        ),
        inputs=inputs or manifest.inputs,
        effective=effective or manifest.effective,
        environment=environment or manifest.environment,
        outcome=outcome or manifest.outcome,
        volatile=volatile or manifest.volatile,
    )
