"""Labelled images from a CSV or Parquet file: one row a photo."""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from fsbench.base.errors import DataError, SettingsError
from fsbench.base.files import is_file, read_bytes
from fsbench.base.files.arrays import read_parquet
from fsbench.base.files.names import composed, existing_form
from fsbench.data.labelled.classes import ClassNames, first, parse_classes
from fsbench.data.labelled.files import Found, read_outlines
from fsbench.data.labelled.image import LabelledImage, Labels, MaskFile
from fsbench.data.labelled.photos import PARTS
from fsbench.data.palettes import Colour, SeenColours

if TYPE_CHECKING:
    import polars as pl

COLUMNS = ("name", "photo", "labels", "part", "group", "classes")
"""Columns that are read; "photo" alone must be there. Paths are relative to the file."""


def read_rows(file: Path, names: ClassNames) -> Found:
    """Read the labelled images of a table.

    "labels" is the path of a mask or of LabelMe's JSON, or empty; "part" is training (train) or test (val); "classes"
    has names separated by ";": those that the photo shows, or with "-" or "not " before them, does not show. The name
    of a mask's only class is that of the mask; "1=cat;2=dog" names the numbers of a label map.
    """
    frame = _read(file)
    if "photo" not in frame.columns:
        raise DataError(f'{file} has the columns {first(frame.columns)}; expected "photo", and any of {first(COLUMNS)}')
    found = Found()
    if unknown := [column for column in frame.columns if column not in COLUMNS]:
        found.notes.append(f"{file}: the columns {first(unknown)} are not read; those that are: {', '.join(COLUMNS)}")
    seen: SeenColours = {}
    for line, row in enumerate(frame.iter_rows(named=True), start=2):
        cells = {column: composed(str(row.get(column) or "")).strip() for column in COLUMNS}
        where = f"{file}, line {line}:"
        if not cells["photo"]:
            raise DataError(f"{where} there is no photo; expected its path")
        photo = _path(cells["photo"], file, where)
        if (word := PARTS.get(cells["part"].lower())) is None and cells["part"]:
            raise DataError(f"{where} the part is {cells['part']!r}; expected training, test or nothing")
        shown, numbers, colours = _classes(cells["classes"], where)
        labels: Labels | None = None
        if cells["labels"].lower().endswith(".json"):
            labels = read_outlines(_path(cells["labels"], file, where), photo)
        elif cells["labels"]:
            true = [name for name, is_shown in shown.items() if is_shown]
            if len(true) > 1:
                raise DataError(f"{where} one mask has the classes {first(true)}; expected 1={true[0]};2={true[1]}")
            only = true[0] if true and not (numbers or colours or names.numbers or names.colours) else None
            mask = _path(cells["labels"], file, where)
            called = only or numbers or names.numbers or None
            labels = MaskFile(mask, called, colours or names.colours, seen, is_complete=bool(numbers))
        name = cells["name"] or Path(cells["photo"]).with_suffix("").as_posix()
        found.images.append(LabelledImage(name, photo, labels, word, cells["group"] or None, shown))
    return found


def names_photos(file: Path) -> bool:
    """Return whether a file is a table with a column "photo"."""
    try:
        return "photo" in _read(file).columns
    except DataError:
        return False


def _read(file: Path) -> "pl.DataFrame":
    import polars as pl  # spared until it is needed

    def any_type(types: Mapping[str, str]) -> None:
        if nested := [name for name, kind in types.items() if kind.startswith(("List", "Struct", "Array", "Binary"))]:
            raise ValueError(f"the columns {first(nested)} are no texts")

    try:
        if file.suffix.lower() == ".parquet":
            frame = read_parquet(file, "counts", any_type, lambda _: None)
            return frame.select(pl.all().cast(pl.String))
        content = read_bytes(file, "list")
        head = content.partition(b"\n")[0]
        separator = "\t" if file.suffix.lower() == ".tsv" else max(",;", key=lambda sign: head.count(sign.encode()))
        return pl.read_csv(io.BytesIO(content), separator=separator, infer_schema=False)
    except (OSError, ValueError, pl.exceptions.PolarsError) as error:
        reason = " ".join(str(error).split())[:200]
        raise DataError(f"{file} cannot be read as a table ({reason}); expected CSV or Parquet") from error


def _path(text: str, file: Path, where: str) -> Path:
    path = file.parent / Path(text.replace("\\", "/")).expanduser()
    found = existing_form(path)
    if found is None or not is_file(found):
        raise DataError(f"{where} there is no file {path}; expected a path relative to {file.parent}; correct it")
    return found


def _classes(text: str, where: str) -> tuple[dict[str, bool], Mapping[int, str], Mapping[Colour, str]]:
    """Return {class: whether it is shown}, {number: class} and {colour: class}."""
    shown: dict[str, bool] = {}
    words = [*filter(None, map(str.strip, text.split(";")))]
    try:
        keyed = parse_classes(",".join(word for word in words if "=" in word))
    except SettingsError:
        raise DataError(
            f"{where} the classes are {text!r}; expected numbers from 1 to 254 (1=cat;2=dog), colours (red=cat), or "
            "names"
        ) from None
    for word in words:
        if "=" in word:
            continue
        absent = word.startswith(("-", "not "))
        name = word.removeprefix("-").removeprefix("not ").strip() if absent else word
        if not name or shown.setdefault(name, not absent) is absent:
            raise DataError(f"{where} the classes are {text!r}; expected names separated by ';', each once")
    return shown, keyed.numbers, keyed.colours
