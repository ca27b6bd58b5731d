"""Make a reference of a run's manifest: the same facts, without where and when it ran.

Call it as `python -m tools.make_reference MANIFEST REFERENCE`.
"""

import sys
from pathlib import Path

from tinybert.atomic import write_bytes
from tinybert.errors import TinybertError, UsageError
from tinybert.manifest.document import encode_manifest, read_manifest
from tinybert.manifest.model import Manifest, Volatile, replace_sections


def reference(manifest: Manifest) -> Manifest:
    """Return the manifest of a finished run with its volatile facts blank.

    Raises:
        UsageError: The run is not finished.
    """
    if manifest.outcome.status != "finished":
        raise UsageError(f"a {manifest.outcome.status} run is no reference")
    kept = manifest.volatile
    volatile = Volatile(run_id=kept.run_id, created=kept.created, root="", directory=kept.directory)
    return replace_sections(manifest, volatile=volatile)


def main() -> int:
    """Carry out the command line."""
    try:
        source, target = map(Path, sys.argv[1:])
        write_bytes(target, encode_manifest(reference(read_manifest(source))))
    except TinybertError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
