import hashlib
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tinybert.errors import ManifestError
from tinybert.manifest.trace import TracedStep, TraceWriter, read_trace, trace_digest


def traced(step: int, **changes: Any) -> TracedStep:
    plain = TracedStep(
        global_step=step,
        optimizer_step=step,
        loss=3.0 + step,
        parts={"attention_loss": 1.0, "hidden_loss": 2.0 + step},
        loss_scale=256.0,
        overflow=False,
        learning_rate=5e-5,
        gradient_norm=0.1,
        batch_digest=f"{step:064x}",
    )
    return replace(plain, **changes)


def write(path: Path, count: int) -> str:
    writer = TraceWriter(path)
    for step in range(count):
        writer.append(traced(step))
    writer.close()
    return writer.digest


def test_a_line_by_hand(tmp_path: Path) -> None:
    digest = write(tmp_path / "t", 1)
    body = (
        '{"global_step":0,"optimizer_step":0,"loss":"0x1.8000000000000p+1","loss_value":3.0,'
        '"parts":{"attention_loss":"0x1.0000000000000p+0","hidden_loss":"0x1.0000000000000p+1"},'
        '"loss_scale":"0x1.0000000000000p+8","overflow":false,'
        '"learning_rate":"0x1.a36e2eb1c432dp-15","gradient_norm":"0x1.999999999999ap-4",'
        f'"batch_digest":"{"0" * 64}"'
    )
    assert digest == hashlib.sha256(f"{body}}}\n".encode()).hexdigest()
    assert (tmp_path / "t").read_text() == f'{body},"chain":"{digest}"}}\n'


def test_the_digest_is_that_of_the_lines_without_their_chain(tmp_path: Path) -> None:
    digest = write(tmp_path / "t", 5)
    bodies = ""
    for line in (tmp_path / "t").read_text().splitlines():
        body = {key: value for key, value in json.loads(line).items() if key != "chain"}
        bodies += json.dumps(body, separators=(",", ":")) + "\n"
        assert json.loads(line)["chain"] == hashlib.sha256(bodies.encode()).hexdigest()
    assert digest == hashlib.sha256(bodies.encode()).hexdigest() == trace_digest(tmp_path / "t")


def test_numbers_come_back_exactly(tmp_path: Path) -> None:
    writer = TraceWriter(tmp_path / "t")
    writer.append(traced(0, loss=np.float32(0.1), learning_rate=math.pi, gradient_norm=-0.0))
    writer.append(traced(1, loss=math.inf, parts={"hidden_loss": math.nan}, overflow=True))
    writer.close()
    first, second = read_trace(tmp_path / "t")
    assert first.loss == float(np.float32(0.1))
    assert (first.learning_rate, first.gradient_norm.hex()) == (math.pi, "-0x0.0p+0")
    assert second.loss == math.inf
    assert math.isnan(second.parts["hidden_loss"])
    assert (writer.records, writer.overflows, writer.nonfinite) == (2, 1, 1)
    assert '"loss_value":"float:Infinity"' in (tmp_path / "t").read_text()


@pytest.mark.parametrize("kept", range(6))
def test_a_resumed_trace_is_the_straight_one(tmp_path: Path, kept: int) -> None:
    straight = write(tmp_path / "straight", 6)
    write(tmp_path / "t", 5)
    with (tmp_path / "t").open("a") as file:
        file.write('{"global_step":5,"opt')  # killed while writing
    writer = TraceWriter(tmp_path / "t", records=kept)
    for step in range(kept, 6):
        writer.append(traced(step))
    writer.close()
    assert writer.digest == straight
    assert (tmp_path / "t").read_bytes() == (tmp_path / "straight").read_bytes()
    assert writer.records == 6


def test_a_resume_beyond_the_trace_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path / "t", 3)
    before = (tmp_path / "t").read_bytes()
    with pytest.raises(ManifestError) as caught:
        TraceWriter(tmp_path / "t", records=4)
    message = "trace has 3 whole records, not the 4 of the checkpoint"
    assert str(caught.value) == f"{message}\n  --> {tmp_path / 't'}"
    assert (tmp_path / "t").read_bytes() == before


def test_a_changed_record_is_found(tmp_path: Path) -> None:
    write(tmp_path / "t", 3)
    text = (tmp_path / "t").read_text().replace('"loss":"0x1.0000000000000p+2', '"loss":"0x1.1p+2')
    (tmp_path / "t").write_text(text)
    with pytest.raises(ManifestError) as caught:
        TraceWriter(tmp_path / "t", records=3)
    assert str(caught.value) == f"trace was changed\n  --> {tmp_path / 't'}:2"
    with pytest.raises(ManifestError) as caught:
        trace_digest(tmp_path / "t")
    assert str(caught.value) == f"trace was changed\n  --> {tmp_path / 't'}:2"


def test_a_torn_last_line_is_no_record(tmp_path: Path) -> None:
    write(tmp_path / "t", 3)
    whole = (tmp_path / "t").read_bytes()
    ends = [position + 1 for position, byte in enumerate(whole) if byte == ord("\n")]
    for length in {*range(0, len(whole), 11), *ends, *(end - 1 for end in ends)}:
        (tmp_path / "t").write_bytes(whole[:length])
        records = [record.global_step for record in read_trace(tmp_path / "t")]
        assert records == list(range(sum(end <= length for end in ends)))


def test_missing_and_foreign_files_are_errors(tmp_path: Path) -> None:
    with pytest.raises(ManifestError) as caught:
        list(read_trace(tmp_path / "t"))
    assert str(caught.value) == f"trace is missing\n  --> {tmp_path / 't'}"
    (tmp_path / "t").write_text("hello\n")
    with pytest.raises(ManifestError) as caught:
        list(read_trace(tmp_path / "t"))
    assert str(caught.value) == f"not a trace record: b'hello\\n'\n  --> {tmp_path / 't'}"
