"""The command `attest`: a signed statement about a run or an export."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tinybert.atomic import write_bytes
from tinybert.attest.envelope import sign
from tinybert.attest.keys import key_id, read_private_key
from tinybert.attest.statement import Statement, envelope_of, export_statement, run_statement
from tinybert.compare.verify import verify
from tinybert.errors import InputError, UsageError, counted
from tinybert.files import relative_to_cwd, require_free_file, writing
from tinybert.manifest.document import Run, require_own_place
from tinybert.manifest.exported import RECORD_FILE, Exported


def attest(manifest: Path, key: Path, output: Path | None, force: bool) -> str:
    """Sign a statement about a finished run, or about an export, that `verify` finds as recorded.

    Args:
        manifest: The run's manifest, or the record of an export.
        key: The private key's file.
        output: The envelope; None: beside the manifest.
        force: Replace an envelope that is there.

    Returns:
        What to print.

    Raises:
        InputError: The file holds no key, or a file is not as it was recorded.
        ManifestError: The manifest cannot be read, or is not where its run put it.
        UsageError: The run is not finished, or the envelope's file is not free.
    """
    private = read_private_key(key)
    target = output or envelope_of(manifest)
    require_free_envelope(target, manifest, key, force=force)
    report, differs = verify(manifest, rehash=True)
    if differs:
        cure = "restore the files; nothing was signed"
        raise InputError(report.splitlines()[0], where=str(manifest), cure=cure)
    if manifest.name == RECORD_FILE:
        statement = export_statement(Exported.load(manifest))
    else:
        run = Run.load(manifest)
        require_own_place(run)
        if run.status != "finished":
            message = f"only a finished run is signed; this one is {run.status}"
            raise UsageError(message, where=str(manifest))
        statement = run_statement(run)
    return write_envelope(target, statement, private)


def require_free_envelope(target: Path, manifest: Path, key: Path, *, force: bool) -> None:
    """Raise a UsageError unless an envelope may be written; see `require_free_file`."""
    inputs = {manifest: "the manifest", key: "the private key"}
    require_free_file(target, inputs, what="the envelope", force=force)


def write_envelope(target: Path, statement: Statement, key: Ed25519PrivateKey) -> str:
    """Write a signed statement; returns what to print.

    Raises:
        InputError: It cannot be written.
    """
    with writing(target):
        write_bytes(target, sign(statement.encode(), key))
    files, by = counted(len(statement.subjects), "file"), key_id(key.public_key())
    return f"{relative_to_cwd(target)}: {files}, signed with key {by}\n"
