from tinybert.commands import doctor


def test_a_machine_without_ascend_runs_recipes_on_its_cpu(runner):
    code, text, _ = runner("doctor", variables={"ASCEND_HOME_PATH": "/nowhere"})
    assert code == 0
    lines = text.splitlines()
    assert "ok  mindspore 2.10.0" in lines
    assert any(line.startswith("ok  MindSpore computes on the CPU, ") for line in lines)
    assert any(
        line.startswith("--  Ascend: no CANN: ASCEND_HOME_PATH is /nowhere, ") for line in lines
    )
    assert lines[-2] == "recipes run on the CPU here"
    assert lines[-1].startswith("recipes for Ascend do not: ")


def test_what_is_missing_is_named_with_its_cure(monkeypatch):
    monkeypatch.setattr(doctor, "PACKAGES", ("mindspore", "no-such-package"))
    text, code = doctor.doctor()
    assert code == 2
    assert "--  no-such-package is missing: `make setup` installs it" in text
    assert "recipes do not run here" in text
