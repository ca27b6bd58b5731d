"""`attest` and `verify --signature` on runs whose losses are made up."""

import json

import pytest

from tests.attest.conftest import write_keys
from tinybert.attest.keys import key_id, read_private_key, read_public_key
from tinybert.attest.statement import audit_statement, envelope_of
from tinybert.commands.attest import attest, write_envelope
from tinybert.compare.verify import verify
from tinybert.errors import InputError, ManifestError, UsageError
from tinybert.manifest.document import Run


@pytest.fixture
def signed(pretend, tmp_path):
    """Return a signed run: its manifest, and arguments of `verify`."""
    private, public = write_keys(tmp_path / "keys")
    manifest = pretend("a").run()
    attest(manifest, private, None, False)
    return manifest, {"signature": envelope_of(manifest), "public_key": public}


def flip(path, place):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def test_a_signed_run_verifies(signed):
    manifest, options = signed
    key = key_id(read_public_key(options["public_key"]))
    text, code = verify(manifest, **options)
    first, second, *_ = text.splitlines()
    assert (first, second) == (
        "same: every file is what it was",
        f"signed: with key {key}, 3 files",
    )
    assert code == 0


def test_the_statement_is_one_of_slsa_about_manifest_and_checkpoints(signed):
    from tinybert.attest.envelope import read_payload

    manifest, options = signed
    run = Run.load(manifest)
    document = json.loads(
        read_payload(options["signature"], read_public_key(options["public_key"]))
    )
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert document["predicateType"] == "https://slsa.dev/provenance/v1"
    names = [subject["name"] for subject in document["subject"]]
    folder = run.manifest.volatile.directory
    assert names == [
        f"manifests/{manifest.name}",
        *(f"{folder}/{kept.file}" for kept in run.manifest.outcome.checkpoints),
    ]
    definition = document["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["recipe"] == run.manifest.inputs.recipe.text
    files = {each["name"]: each["digest"] for each in definition["resolvedDependencies"]}
    assert {"program", "records", "teacher.safetensors"} == files.keys()
    assert files["program"]["gitCommit"] == "ab" * 20
    details = document["predicate"]["runDetails"]
    assert details["metadata"]["startedOn"] == "2026-03-01T12:00:00Z"
    assert details["builder"].keys() == {"id", "version"}


def test_a_flipped_byte_of_a_manifest_is_refused(signed):
    manifest, options = signed
    whole, messages = manifest.read_bytes(), set()
    for place in range(0, len(whole), 61):
        flip(manifest, place)
        try:
            text, code = verify(manifest, **options)
            assert code == 1
            messages.add(text.partition("not about")[0])
        except ManifestError as error:
            messages.add(error.message.partition(":")[0].partition("`")[0])
        manifest.write_bytes(whole)
    assert {"section ", "file is no manifest"} <= messages
    assert verify(manifest, **options)[1] == 0


def test_a_manifest_that_was_sealed_again_is_refused(signed, pretend):
    """Whoever changes a manifest can seal it again, but not sign it."""
    manifest, options = signed
    manifest.write_text(manifest.read_text() + "\n")
    text, code = verify(manifest, **options)
    assert text.startswith(f"different: the statement is not about {manifest.name}: its SHA-256 is")
    assert code == 1


def test_a_changed_checkpoint_is_refused_without_reading_its_tensors(signed):
    manifest, options = signed
    run = Run.load(manifest)
    kept = run.manifest.outcome.checkpoints[-1].file
    flip(run.folder / kept, -1)
    assert verify(manifest)[1] == 0  # by its size alone
    text, code = verify(manifest, **options)
    name = f"{run.manifest.volatile.directory}/{kept}"
    assert text.startswith(f"different: {name}, which was signed: SHA-256 ")
    assert code == 1
    (run.folder / kept).unlink()
    assert f"{name}, which was signed: missing" in verify(manifest, **options)[0]


def test_what_is_not_as_recorded_is_not_signed(pretend, tmp_path):
    private, _ = write_keys(tmp_path / "keys")
    manifest = pretend("a").run()
    run = Run.load(manifest)
    flip(run.folder / run.manifest.outcome.checkpoints[0].file, -1)
    with pytest.raises(InputError) as caught:
        attest(manifest, private, None, False)
    assert caught.value.message.startswith("different: checkpoints/step-00000006.safetensors: SHA")
    assert not envelope_of(manifest).exists()


def test_an_unfinished_run_is_not_signed(pretend, tmp_path):
    private, _ = write_keys(tmp_path / "keys")
    with pretend("a").planned() as record, pytest.raises(UsageError) as caught:
        attest(record.path, private, None, False)
    assert caught.value.message == "only a finished run is signed; this one is planned"


def test_an_envelope_is_replaced_by_force_alone(signed):
    manifest, options = signed
    private = options["public_key"].with_name("key.pem")
    before = options["signature"].read_bytes()
    with pytest.raises(UsageError, match="the file exists"):
        attest(manifest, private, None, False)
    attest(manifest, private, None, True)
    assert options["signature"].read_bytes() == before  # nothing in it depends on time


def test_an_envelope_never_replaces_manifest_or_key(signed):
    manifest, options = signed
    private = options["public_key"].with_name("key.pem")
    for output in (manifest, private):
        before = output.read_bytes()
        with pytest.raises(UsageError, match="the envelope would replace the"):
            attest(manifest, private, output, True)
        assert output.read_bytes() == before


def test_signature_and_key_go_together(signed):
    manifest, options = signed
    for name in options:
        with pytest.raises(UsageError, match="a signature is checked with a public key"):
            verify(manifest, **{name: options[name]})


def test_an_auditors_statement_is_shown(signed, tmp_path):
    manifest, options = signed
    private = read_private_key(options["public_key"].with_name("key.pem"))
    report = {"verdict": "same", "report": "same: 5 of 12 steps\n  and more\n"}
    place = tmp_path / "audit"
    write_envelope(place, audit_statement(Run.load(manifest), report), private)
    text, code = verify(manifest, **{**options, "signature": place})
    assert text.splitlines()[2:4] == ["  same: 5 of 12 steps", "    and more"]
    assert code == 0
