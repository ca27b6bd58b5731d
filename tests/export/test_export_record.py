"""What `lineage` and `verify` say about the record of an export."""

import pytest

import runner
from tinybert.files import digest_file


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
        f"  network: {student_run.name}  general_distill  finished\n",
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
