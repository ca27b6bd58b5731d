"""Whether the files that a manifest names are still what they were, and its `[expect]` holds."""

from collections.abc import Iterator
from pathlib import Path

from tinybert.compare.expectations import expectation_failures
from tinybert.compare.verdict import Run
from tinybert.errors import InputError, ManifestError
from tinybert.files import PROGRAM, digest_file, digest_files
from tinybert.manifest import exported
from tinybert.manifest.digests import read_tensor_table, tensor_digest, tensor_table
from tinybert.manifest.model import Checkpoint
from tinybert.manifest.record import TRACE
from tinybert.manifest.trace import trace_digest


def verify(manifest: Path, rehash: bool = False) -> tuple[str, int]:
    """Check a run's inputs, its outputs and its expectations; or the files of an export.

    An input with the recorded size and time of change is taken as unchanged, one with another
    time is hashed. Traces and tensor tables are always read.

    Args:
        manifest: The run's manifest, or the record of an export.
        rehash: Hash every input, and read every tensor of every checkpoint.

    Returns:
        The report, and the exit code: 0 everything holds, 1 something does not.

    Raises:
        ManifestError: The file is missing, or is no manifest.
    """
    if manifest.name == exported.RECORD_FILE:
        return exported.Exported.load(manifest).verify()
    run = Run.load(manifest)
    problems, trusted = changed_inputs(run, rehash=rehash)
    notes = [f"{trusted} inputs trusted by size and time; --rehash reads them"] if trusted else []
    if run.folder.is_dir():
        problems += _changed_outputs(run, rehash)
    else:
        notes.append(f"outputs not checked: {run.folder} is not here")
    if run.status == "finished":
        problems += [f"[expect] {failure}" for failure in expectation_failures(run)]
    else:
        notes.append(f"[expect] not checked: the run is {run.status}")
    if code := changed_code(run):
        notes.append(code)
    first = f"different: {problems[0]}" if problems else "same: every file is what it was"
    lines = [first, *(f"  {text}" for text in problems[1:]), *(f"note: {note}" for note in notes)]
    return "\n".join(lines) + "\n", 1 if problems else 0


def changed_inputs(run: Run, *, rehash: bool) -> tuple[list[str], int]:
    """Return which inputs of a run are missing or changed, and how many were not read.

    Args:
        run: The run.
        rehash: Hash every file, also one with the recorded size and time of change.
    """
    changed, to_hash, trusted = [], [], 0
    for file in run.manifest.inputs.files:
        try:
            now = (run.root / file.path).stat()
        except OSError:
            changed.append(f"{file.path}: missing")
            continue
        recorded = run.manifest.volatile.modified.get(file.path)
        if now.st_size != file.size:
            changed.append(f"{file.path}: {now.st_size} bytes, not {file.size}")
        elif rehash or recorded != now.st_mtime_ns // 1000:
            to_hash.append(file)
        else:
            trusted += 1
    try:
        digests = digest_files(run.root / file.path for file in to_hash)
    except InputError as error:
        return [*changed, f"{error.where}: {error.message}"], trusted
    for file, digest in zip(to_hash, digests, strict=True):
        if digest.sha256 != file.sha256:
            changed.append(f"{file.path}: other bytes")
    return changed, trusted


def changed_code(run: Run, program: Path = PROGRAM) -> str | None:
    """Return how a program differs from the one that ran, and where that one is; None if equal.

    Args:
        run: The run.
        program: The directory of runner.py.
    """
    code = run.manifest.inputs.code
    changed = [name for name, sha256 in code.files.items() if _sha256(program / name) != sha256]
    if not changed:
        return None
    named = changed[0] if len(changed) == 1 else f"{len(changed)} files, first {changed[0]}"
    text = f"the program differs now in {named}"
    if code.commit:
        text += f"; it ran at commit {code.commit}"
    if code.patch:
        text += f" with the patch {code.patch.file or code.patch.sha256}"
    return text


def _sha256(path: Path) -> str | None:
    try:
        return digest_file(path).sha256
    except InputError:
        return None


def _changed_outputs(run: Run, rehash: bool) -> list[str]:
    outcome = run.manifest.outcome
    changed = []
    if outcome.trace_digest is not None:
        try:
            if trace_digest(run.folder / TRACE) != outcome.trace_digest:
                changed.append(f"{TRACE}: another trace")
        except ManifestError as error:
            changed.append(f"{TRACE}: {error.message}")
    best = [outcome.best_checkpoint] if outcome.best_checkpoint else []
    for checkpoint in (*outcome.checkpoints, *best):
        changed += _changed_checkpoint(run.folder, checkpoint, rehash)
    return changed


def _changed_checkpoint(folder: Path, checkpoint: Checkpoint, rehash: bool) -> Iterator[str]:
    try:
        table = read_tensor_table(folder / checkpoint.tensor_table)
        if tensor_digest(table) != checkpoint.tensor_digest:
            yield f"{checkpoint.tensor_table}: another table"
    except ManifestError as error:
        yield f"{checkpoint.tensor_table}: {error.message}"
    if not (folder / checkpoint.file).is_file():
        yield f"{checkpoint.file}: missing"
    elif rehash:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            digest = tensor_digest(tensor_table(load_file(folder / checkpoint.file)))
        except (SafetensorError, OSError) as error:
            yield f"{checkpoint.file}: damaged: {error}"
            return
        if digest != checkpoint.tensor_digest:
            yield f"{checkpoint.file}: other tensors"
