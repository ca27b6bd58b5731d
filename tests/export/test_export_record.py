"""What `lineage` and `verify` say about the record of an export."""

import pytest

import runner
from tests.attest.conftest import write_keys
from tinybert.attest.envelope import sign
from tinybert.attest.keys import read_private_key
from tinybert.attest.statement import envelope_of, run_statement
from tinybert.files import digest_file
from tinybert.manifest.document import Run


@pytest.fixture
def exported(call, student_run, tmp_path):
    call("export", student_run, "--format", "huggingface", "--output", tmp_path / "models" / "a")
    return tmp_path / "models" / "a"


def ask(capsys, tmp_path, *arguments):
    code = runner.main([*map(str, arguments)])
    out, err = capsys.readouterr()
    return code, (out + err).replace(str(tmp_path), "DIR")


def test_the_chain_of_an_export_begins_with_its_run(exported, student_run, tmp_path, capsys):
    code, text = ask(capsys, tmp_path, "lineage", exported / "export.json")
    assert (code, text) == (
        0,
        "DIR/models/a/export.json  huggingface\n"
        f"  network: {student_run.stem}  general_distill  finished\n",
    )
    student_run.unlink()
    code, text = ask(capsys, tmp_path, "lineage", exported / "export.json")
    assert (code, text.splitlines()[2:]) == (
        1,
        [
            f"broken: manifests/{student_run.name}: cannot read the manifest: "
            "no such file or directory"
        ],
    )


def test_the_chain_of_a_checkpoint_is_the_checkpoint(call, exported, tmp_path, capsys):
    call("export", exported, "--format", "huggingface", "--output", tmp_path / "b")
    _, text = ask(capsys, tmp_path, "lineage", tmp_path / "b" / "export.json")
    assert text == ("DIR/b/export.json  huggingface\n  network: DIR/models/a/model.safetensors\n")


def test_changes_of_an_export_show(exported, tmp_path, capsys):
    record = exported / "export.json"
    assert ask(capsys, tmp_path, "verify", record) == (0, "same: every file is what it was\n")
    before = digest_file(exported / "config.json").sha256
    (exported / "config.json").write_text("{}")
    now = digest_file(exported / "config.json").sha256
    (exported / "model.safetensors").unlink()
    assert ask(capsys, tmp_path, "verify", record) == (
        1,
        f"different: config.json: SHA-256 {now}, not {before}\n  model.safetensors: missing\n",
    )
    record.write_text(record.read_text().replace('"general_distill"', '"finetune"'))
    assert ask(capsys, tmp_path, "verify", record) == (
        2,
        "error: the record was edited: its digest is not the recorded one\n"
        "  --> DIR/models/a/export.json\nhelp: use the record as the export wrote it\n",
    )
    record.write_text("[]")
    assert ask(capsys, tmp_path, "verify", record)[1].startswith("error: file is no record")


def test_an_export_carries_the_signed_statement_about_its_run(call, student_run, tmp_path, capsys):
    private, public = write_keys(tmp_path / "keys")
    statement = run_statement(Run.load(student_run))
    envelope_of(student_run).write_bytes(sign(statement.encode(), read_private_key(private)))
    call("export", student_run, "--format", "huggingface", "--output", tmp_path / "a")
    record, envelope = tmp_path / "a" / "export.json", tmp_path / "a" / "run.intoto.json"
    key = ("--public-key", public)
    code, text = ask(capsys, tmp_path, "verify", record, "--signature", envelope, *key)
    assert (code, text.splitlines()[0]) == (0, "same: every file is what it was")
    assert text.splitlines()[2].endswith("step-00000002.safetensors among them, which was exported")
    envelope.write_bytes(envelope.read_bytes() + b" ")
    code, text = ask(capsys, tmp_path, "verify", record, "--signature", envelope, *key)
    assert (code, text.startswith("different: run.intoto.json: SHA-256 ")) == (1, True)


def test_an_export_is_signed(exported, tmp_path, capsys):
    private, public = write_keys(tmp_path / "keys")
    record = exported / "export.json"
    code, text = ask(capsys, tmp_path, "attest", record, "--key", private)
    assert (code, text.startswith("DIR/models/a/export.intoto.json: ")) == (0, True)
    options = ("--signature", exported / "export.intoto.json", "--public-key", public)
    code, text = ask(capsys, tmp_path, "verify", record, *options)
    assert (code, text.startswith("same: every file is what it was\nsigned: with")) == (0, True)
    (exported / "config.json").write_text("{}")
    code, text = ask(capsys, tmp_path, "verify", record, *options)
    assert code == 1
    assert text.startswith("different: config.json, which was signed: SHA-256 ")
