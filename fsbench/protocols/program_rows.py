"""Read the csv files of the atlas, line by line, and check the cells of a line against a schema."""

import csv
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from fsbench.base.errors import DataError
from fsbench.base.files import read_text
from fsbench.base.files.validation import first_problem

Schema = TypeVar("Schema", bound=BaseModel)


def read_rows(
    file: Path, columns: Collection[str], optional: str | None = None
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, {column: text}) for each row of a csv file of the atlas of evaluation programs.

    Args:
        file: a csv file with a header line.
        columns: the columns that it must have, in any order, and no others.
        optional: one of `columns` that the file may lack; None if it must have all.

    Raises:
        DataError: the file cannot be read, has other columns, or a line has more or fewer cells.
    """
    try:
        text = read_text(file, "list")
    except (OSError, ValueError) as error:
        raise DataError(f"cannot read {file} ({error}); expected a csv file of the atlas") from error
    reader = csv.DictReader(text.splitlines(keepends=True))
    found = reader.fieldnames or ()
    columns = [name for name in columns if name != optional or name in found]
    if set(found) != set(columns) or len(found) != len(columns):
        wrong = sorted(set(found).symmetric_difference(columns)) or sorted(found)
        raise DataError(f"{file} differs in the columns {', '.join(wrong)}; expected {', '.join(columns)}, each once")
    for cells in reader:
        if None in cells or None in cells.values():
            raise DataError(f"{file.name}, line {reader.line_num}: expected {len(columns)} cells, as the head has")
        yield reader.line_num, cells


def parse_row(schema: type[Schema], cells: Mapping[str, str], where: str) -> Schema:
    """Return a csv row as an instance of the pydantic model `schema`.

    Raises:
        DataError: a cell does not fit the model; the message has the line (`where`), column, value and what was
            expected.
    """
    try:
        return schema.model_validate(cells)
    except ValidationError as error:
        raise DataError(f"{where}: {first_problem(error, dict(cells))}") from error


def slug(text: str) -> str:
    """Return a text as part of an id: lower-case letters and digits with hyphens, "plus" for a plus sign."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower().replace("+", " plus ")).strip("-")
