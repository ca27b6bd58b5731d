"""The JSON schema file of a TFRecord set, as the MindSpore example has it.

    {"datasetType": "TF", "numRows": 1000,
     "columns": {"input_ids": {"type": "int64", "rank": 1, "shape": [128]}, ...}}

`numRows` may be absent. Columns that a run does not read may be listed, and are not checked.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tinybert.data.example import Column
from tinybert.errors import InputError, quoted
from tinybert.strict_json import read_json

_TYPES = {"int": ("int64", "int32"), "float": ("float32",)}


class SchemaColumn(BaseModel):
    """Type and shape of one column."""

    model_config = ConfigDict(strict=True, frozen=True)

    type: str
    rank: int | None = None
    shape: tuple[int, ...] | None = Field(None, strict=False)


class TFRecordSchema(BaseModel):
    """A schema file."""

    model_config = ConfigDict(strict=True, frozen=True)

    datasetType: Literal["TF"] = "TF"  # noqa: N815
    numRows: Annotated[int, Field(ge=0)] | None = None  # noqa: N815
    columns: dict[str, SchemaColumn]


def load_schema(path: Path, columns: Sequence[Column]) -> TFRecordSchema:
    """Read a schema file, and check that it has the columns that a run reads.

    Raises:
        InputError: It cannot be read, or has other columns.
    """
    schema = _parse(path)
    for column in columns:
        if column.name not in schema.columns:
            there = quoted(schema.columns)
            raise _contradiction(path, f"column `{column.name}` is missing; found: {there}")
        _check(path, schema.columns[column.name], column)
    return schema


def check_rows(path: Path, schema: TFRecordSchema, rows: int) -> None:
    """Compare the number of rows with `numRows`, where the schema has it.

    Raises:
        InputError: They differ.
    """
    if schema.numRows is not None and schema.numRows != rows:
        raise InputError(
            f"the record files hold {rows} rows; the schema's numRows is {schema.numRows}",
            where=str(path),
            cure="restore the missing or cut record files, or correct numRows",
        )


def schema_bytes(columns: Sequence[Column], rows: int) -> bytes:
    """Return the schema file of records that hold `columns`, a column a line."""
    types = {"int": "int64", "float": "float32"}
    lines = [
        f'    "{column.name}": '
        f'{{"type": "{types[column.kind]}", "rank": 1, "shape": [{column.length}]}}'
        for column in columns
    ]
    inner = ",\n".join(lines)
    text = f'{{\n  "datasetType": "TF",\n  "numRows": {rows},\n  "columns": {{\n{inner}\n  }}\n}}\n'
    return text.encode()


def _parse(path: Path) -> TFRecordSchema:
    try:
        return TFRecordSchema.model_validate(read_json(path))
    except OSError as error:
        raise InputError(
            f"the schema file cannot be read: {error.strerror}", where=str(path)
        ) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        message = f"the schema file is wrong{f' at `{place}`' if place else ''}: {first['msg']}"
        raise InputError(message, where=str(path)) from error
    except ValueError as error:
        raise InputError(f"the schema file is wrong: {error}", where=str(path)) from error


def _check(path: Path, found: SchemaColumn, column: Column) -> None:
    allowed = _TYPES[column.kind]
    if found.type not in allowed:
        raise _contradiction(
            path, f'column `{column.name}` has type "{found.type}", not "{allowed[0]}"'
        )
    if found.rank not in (None, 1):
        raise _contradiction(path, f"column `{column.name}` has rank {found.rank}, not 1")
    if found.shape not in (None, (column.length,)):
        raise _contradiction(
            path,
            f"column `{column.name}` has shape {list(found.shape or ())}, not [{column.length}]",
        )


def _contradiction(path: Path, message: str) -> InputError:
    return InputError(
        f"the schema contradicts the recipe: {message}",
        where=str(path),
        cure="let schema_dir, seq_length and the label of the recipe fit the record files",
    )
