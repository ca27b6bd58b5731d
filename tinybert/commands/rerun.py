"""The command `rerun`: the same recipe on the same inputs, and then the verdict."""

from pathlib import Path

import structlog

from tinybert.atomic import write_bytes
from tinybert.commands.run import run
from tinybert.compare.verdict import Run
from tinybert.compare.verify import changed_inputs
from tinybert.errors import InputError
from tinybert.files import PROGRAM
from tinybert.manifest.document import require_own_place
from tinybert.manifest.identity import code_identity
from tinybert.report.text import diff
from tinybert.run.options import RunOptions
from tinybert.run.resume import origin_of

log = structlog.get_logger()

DIFFERENT = 3
"""Exit code where the verdict is not that the runs agree."""


def rerun(path: Path) -> tuple[str, int]:
    """Repeat the run of a manifest, and compare; return the comparison and the exit code.

    The recipe is the recorded text, not the file as it is now.

    Raises:
        InputError: An input is missing or is not what it was.
        ManifestError: The manifest cannot be read, or is not where its run put it.
        TinybertError: As `run`.
    """
    source = Run.load(path)
    manifest, root = source.manifest, source.root
    require_own_place(path, manifest)
    changed, _ = changed_inputs(source, rehash=True)
    if changed:
        listed = "".join(f"\n  - {change}" for change in changed)
        cure = "restore the files; `verify` lists them"
        raise InputError(f"inputs are not what they were:{listed}", where=str(path), cure=cure)
    facts = manifest.inputs.recipe
    code, _ = code_identity(PROGRAM)
    if manifest.inputs.code.digest != code.digest:
        log.warning(
            "the program differs from the recorded one", recorded=origin_of(manifest.inputs.code)
        )
    recipe = root / "runs" / facts.name / f"{facts.name}.toml"
    recipe.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(recipe, facts.text.encode())
    overrides, device = facts.arguments()
    again = run(RunOptions(str(recipe), root, overrides, device, fresh=True))
    text, differs = diff(path, Path(again))
    return text, DIFFERENT if differs else 0
