"""Whether a manifest's files are unchanged, it agrees with itself, and its `[expect]` holds."""

from collections.abc import Iterator
from pathlib import Path

from tinybert.attest.envelope import read_payload
from tinybert.attest.keys import key_id, read_public_key
from tinybert.attest.statement import Statement, root_of
from tinybert.compare.consistency import consistency
from tinybert.compare.expectations import expectation_failures
from tinybert.errors import InputError, ManifestError, UsageError, counted
from tinybert.files import PROGRAM, digest_change, digest_file, digest_files
from tinybert.manifest import exported
from tinybert.manifest.checkpoints import (
    changed_file,
    changed_table,
    changed_tensors,
)
from tinybert.manifest.document import START, Run, read_manifest
from tinybert.manifest.model import Checkpoint
from tinybert.manifest.study import RECORD, Study


def verify(
    manifest: Path,
    rehash: bool = False,
    signature: Path | None = None,
    public_key: Path | None = None,
) -> tuple[str, int]:
    """Check a run's inputs, outputs and expectations, and its manifest; or the files of an export.

    An input with the recorded size and time of change is taken as unchanged, one with another
    time is hashed. Traces and tensor tables are always read, checkpoints are not. What follows
    from other facts of the manifest, from its recipe and from the trace is computed anew.

    Args:
        manifest: The run's manifest, or the record of an export or of a study.
        rehash: Hash every input, and read every tensor of every checkpoint.
        signature: An envelope with a statement about the run or the export, to check as well.
        public_key: The key of who signed it.

    Returns:
        The report, and the exit code: 0 everything holds, 1 something does not.

    Raises:
        ManifestError: The file is missing, or is no manifest.
        InputError: Another key signed, or a file holds no signature or no key.
        UsageError: One of the two is not named.
    """
    if RECORD.fullmatch(manifest.name) and signature is None:
        return Study.load(manifest).verify()
    problems, notes = _signed(manifest, signature, public_key)
    if manifest.name == exported.RECORD_FILE:
        problems += exported.Exported.load(manifest).changes()
    else:
        more, others = _run_problems(Run.load(manifest), rehash)
        problems, notes = problems + more, notes + others
    first = f"different: {problems[0]}" if problems else "same: every file is what it was"
    lines = [first, *(f"  {text}" for text in problems[1:]), *notes]
    return "\n".join(lines) + "\n", 1 if problems else 0


def _signed(
    manifest: Path, signature: Path | None, public_key: Path | None
) -> tuple[list[str], list[str]]:
    """Return which files are not those of a signed statement, and lines about the statement."""
    if signature is None and public_key is None:
        return [], []
    if signature is None or public_key is None:
        cure = "name both --signature and --public-key"
        raise UsageError("a signature is checked with a public key", cure=cure)
    key = read_public_key(public_key)
    statement = Statement.decode(read_payload(signature, key), signature)
    files = counted(len(statement.subjects), "file")
    lines = [f"signed: with key {key_id(key)}, {files}", *statement.lines]
    if manifest.name == exported.RECORD_FILE:
        source = exported.Exported.load(manifest).content.source
        if source.sha256 in statement.subjects.values():  # by who ran the run that left it
            return [], [*lines, f"  {source.checkpoint} among them, which was exported"]
    return statement.changes(manifest, root_of(manifest)), lines


def _run_problems(run: Run, rehash: bool) -> tuple[list[str], list[str]]:
    """Return the problems of a run, and lines about what was not checked."""
    code = changed_code(run)
    problems, trusted = changed_inputs(run, rehash=rehash)
    notes = []
    if trusted:
        notes.append(f"{counted(trusted, 'input')} trusted by size and time; --rehash reads them")
    if run.folder.is_dir():
        problems += _changed_outputs(run, rehash)
        notes += [] if rehash else _unread(run)
    else:
        notes.append(f"outputs not checked: {run.folder} is not here")
    wrong, unknown = _parents(run)
    agreement = consistency(run, same_program=code is None)
    problems, notes = [*problems, *wrong, *agreement.problems], [*notes, *unknown, *agreement.notes]
    if run.status == "finished":
        problems += [f"[expect] {failure.message}" for failure in expectation_failures(run)]
    else:
        notes.append(f"[expect] not checked: the run is {run.status}")
    notes += [code] if code else []
    return problems, [f"note: {note}" for note in notes]


def changed_inputs(run: Run, *, rehash: bool) -> tuple[list[str], int]:
    """Return which inputs of a run are missing or changed, and how many were not read.

    Those with the recorded size and time of change are not read, unless `rehash` is true.
    """
    changed, to_hash, trusted = [], [], 0
    for file in run.manifest.inputs.files:
        try:
            now = (run.root / file.path).stat()
        except (OSError, ValueError):  # no file can have a name with a null character
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
        if change := digest_change(digest.sha256, file.sha256):
            changed.append(f"{file.path}: {change}")
    return changed, trusted


def changed_code(run: Run, program: Path = PROGRAM) -> str | None:
    """Return how a program differs from the one that ran, and where that one is; None if equal."""
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


def _parents(run: Run) -> tuple[list[str], list[str]]:
    """Return what the runs whose results were read do not confirm, and which are not here."""
    inputs, problems, notes = run.manifest.inputs, list[str](), list[str]()
    for parent in inputs.parents:
        name = f"the {parent.role}'s run {parent.manifest}"
        try:
            manifest = read_manifest(run.root / parent.manifest)
        except ManifestError as error:
            notes.append(f"{name} not checked: {error.message}")
            continue
        if manifest.digests.outcome != parent.outcome_digest:
            outcome = manifest.digests.outcome
            problems.append(f"{name}: outcome {outcome}, not {parent.outcome_digest}")
        if manifest.inputs.stage != parent.stage:
            problems.append(f"{name}: stage {manifest.inputs.stage}, not {parent.stage}")
        left = {file.sha256 for file in manifest.volatile.checkpoint_files.values()}
        read = {file.sha256 for file in inputs.files if file.role == parent.role}
        if parent.role != START and (not read or (left and not left & read)):
            problems.append(f"{name}: it left no checkpoint that was read")
    return problems, notes


def _changed_outputs(run: Run, rehash: bool) -> Iterator[str]:
    for file in run.manifest.inputs.files:
        if file.tensor_table is not None or file.tensor_digest is not None:
            yield from _changed_table(file.tensor_table or "", file.tensor_digest or "", run)
    for checkpoint in run.manifest.outcome.every_checkpoint():
        yield from _changed_table(checkpoint.tensor_table, checkpoint.tensor_digest, run)
        yield from _changed_checkpoint(run, checkpoint, rehash)


def _unread(run: Run) -> Iterator[str]:
    """Yield which checkpoints were not read."""
    files = [checkpoint.file for checkpoint in run.manifest.outcome.every_checkpoint()]
    sized = sum(file in run.manifest.volatile.checkpoint_files for file in files)
    if sized:
        yield f"{counted(sized, 'checkpoint')} compared by size alone; --rehash reads them"
    if sized < len(files):
        yield f"{counted(len(files) - sized, 'checkpoint')} not read; --rehash reads them"


def _changed_table(name: str, recorded: str, run: Run) -> Iterator[str]:
    if change := changed_table(run.folder / name, recorded):
        yield f"{name}: {change}"


def _changed_checkpoint(run: Run, checkpoint: Checkpoint, rehash: bool) -> Iterator[str]:
    path, name = run.folder / checkpoint.file, checkpoint.file
    recorded = run.manifest.volatile.checkpoint_files.get(name)
    if change := changed_file(path, recorded, read=rehash):
        yield f"{name}: {change}"
        return
    if not rehash:
        return
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        arrays = load_file(path)
    except (SafetensorError, OSError) as error:
        yield f"{name}: damaged: {error}"
        return
    if change := changed_tensors(arrays, checkpoint):
        yield f"{name}: {change}"
