"""The trace of a run as a file of TensorBoard events: scalars by step.

A file is TFRecords of Event messages, declared here as far as they are written, the first with the
version. Values are float32 there; the trace, and its CSV, have every digit.

    Event { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5 }
    Summary { repeated Value value = 1 }
    Value { string tag = 1; float simple_value = 2 }

Source: tensorflow/core/{util/event,framework/summary}.proto.
"""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from tinybert.atomic import atomic_replace
from tinybert.data.tfrecord import write_records
from tinybert.export.trace_table import TraceTable, clock, quantities_of
from tinybert.files import writing
from tinybert.manifest.document import Run

VERSION = "brain.Event:2"
_DECLARATION = """
name: "tinybert/event.proto" syntax: "proto3"
message_type { name: "Event"
  field { name: "wall_time" number: 1 type: TYPE_DOUBLE }
  field { name: "step" number: 2 type: TYPE_INT64 }
  field { name: "file_version" number: 3 type: TYPE_STRING }
  field { name: "summary" number: 5 type: TYPE_MESSAGE type_name: "Summary" } }
message_type { name: "Summary"
  field { name: "value" number: 1 label: LABEL_REPEATED type: TYPE_MESSAGE type_name: "Value" } }
message_type { name: "Value"
  field { name: "tag" number: 1 type: TYPE_STRING }
  field { name: "simple_value" number: 2 type: TYPE_FLOAT oneof_index: 0 }
  oneof_decl { name: "value" } }
"""


def events_file(run: Run, directory: Path) -> Path:
    """Return the file of a run's events in a directory; TensorBoard knows it by its name."""
    return directory / f"events.out.tfevents.{int(clock(run)(0))}.{run.path.stem}"


def write_events(table: TraceTable, path: Path) -> int:
    """Write an event a step; returns how many. Steps count from 1, as on pages and in logs.

    Raises:
        InputError: The file cannot be written.
    """
    steps = 0

    def payloads() -> Iterator[bytes]:
        nonlocal steps
        at = clock(table.run)
        yield _event(wall_time=at(0), file_version=VERSION)
        for record in table.records():
            steps = record.global_step + 1
            values = [{"tag": n, "simple_value": v} for n, v in quantities_of(record).items()]
            yield _event(wall_time=at(steps), step=steps, summary={"value": values})

    with writing(path), atomic_replace(path) as temporary, temporary.open("wb") as file:
        write_records(file, payloads())
    return steps


def _event(**fields: Any) -> bytes:
    message: bytes = _message_class()(**fields).SerializeToString()
    return message


@cache
def _message_class() -> Any:
    """Return the class of Event, declared in a pool of its own."""
    pool = descriptor_pool.DescriptorPool()
    declaration = text_format.Parse(_DECLARATION, descriptor_pb2.FileDescriptorProto())
    file = pool.AddSerializedFile(declaration.SerializeToString())
    return message_factory.GetMessageClass(file.message_types_by_name["Event"])
