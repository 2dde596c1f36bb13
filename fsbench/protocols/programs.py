"""The atlas's tables, typed and checked: published tests, and the evaluation programs that were read, which name them.

`benchmarks/published/atlas` has `tests.csv` and `programs.csv`; an installed package may add both under `atlas/`.
"""

import csv
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from fsbench.base.errors import DataError, known_names
from fsbench.base.files import read_text
from fsbench.base.files.validation import first_problem
from fsbench.base.paths import BENCHMARKS
from fsbench.protocols.conditions import CONDITIONS, DATASET, EPISODES, NOT_FOUND, OF_TEST

FOLDER = BENCHMARKS / "published" / "atlas"
TESTS, PROGRAMS = "tests.csv", "programs.csv"
Schema = TypeVar("Schema", bound=BaseModel)


def read_rows(
    file: Path, columns: Collection[str], optional: str | None = None
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield (line number, {column: text}) for each row of a csv file of published tests, programs or scores.

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


def parse_row(schema: type[Schema], cells: Mapping[str, Any], where: str) -> Schema:
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


_PLACE = re.compile(r"[^\s:;]+:\d+(-\d+)?(,\d+(-\d+)?)*([, ]+[^\s:;]+:\d+(-\d+)?(,\d+(-\d+)?)*)*")
_GOLDEN = re.compile(r"\w+/\w+")
_FURTHER = {"order", "episodes_one_more", "training_images"}
"""Other things that evidence is given for: the order of a list, a loop's last episode, images of a training."""
EVIDENCED = tuple(one for one in CONDITIONS.values() if one.unlined is not None)
"""Conditions each of which has a place in the sources, is "not found", is an absence, or is named under `no_line`."""


def check_word(key: str, word: str) -> None:
    """Raise ValueError for a word that the condition `key` does not have."""
    one = CONDITIONS[key]
    if one.values and not one.is_free and word != NOT_FOUND and one.value(word) is None:
        known = ", ".join(value.word.format("<N>") for value in one.values)
        raise ValueError(f"{key} is '{word}'; expected {known}, or {NOT_FOUND}")


class _Row(BaseModel):
    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    @model_validator(mode="after")
    def _words_are_known(self) -> Self:
        for key in CONDITIONS.keys() & type(self).model_fields.keys():
            check_word(key, getattr(self, key))
        return self


Text = Annotated[str, StringConstraints(min_length=1)]
Number = Annotated[int | None, BeforeValidator(lambda text: text or None)]


class PublishedTest(_Row):
    """A published test on one data set, which one or several evaluation programs run.

    Its conditions are columns by their keys (`fsbench.protocols.conditions.OF_TEST`); `key` is the id of one of its
    programs. `workers`, `gpus`, `batch` and `network_words` are those of the published command where episodes change
    with them, `passes` the most passes over the list; None for what is not stated.
    """

    key: Text
    task: Text
    dataset: Text
    image_lists: Text
    min_object: Text
    episode_draw: Text
    episodes_per_fold: Text
    seeds: Text
    depends_on: Text
    workers: Number
    gpus: Number
    batch: Number
    network_words: Number
    passes: Number
    geometry: Text
    compared_at: Text
    void: Text
    metric: Text
    fb_iou: Text

    @cached_property
    def conditions(self) -> Mapping[str, str]:
        """{key: word} of the test's conditions."""
        return {one.key: getattr(self, one.key) for one in OF_TEST}


class Program(_Row):
    """A published evaluation program on one data set: a row of the atlas, with its test."""

    method: Text
    program: Text
    paper: Text
    venue: Text
    year: Annotated[int, Field(ge=2015, le=2100)]
    repository: Annotated[str, StringConstraints(pattern=r"^[\w.-]+/[\w.-]+$")]
    commit: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{7,40}$")]
    licence: Text
    test: PublishedTest
    family: Literal["hsnet", "pfenet", "patnet", "mlc", "panet", "oslsm", "fscs", "gfss", "own"]
    sbd_in_training: Literal["yes", "no", "no training", "n.a.", "not found"]
    base_filtered_list: Literal["yes", "no", "n.a.", "not found"]
    runs: Text
    network_size: Text
    kshot: Text
    support_annotation: Text
    checkpoint: Text
    backbone: Text
    pretraining: Text
    extra_supervision: Text
    saw_test_classes: Text
    precision: Text
    quirks: str
    evidence: str
    certainty: Literal["run", "read", "partly read"]
    goldens: str
    not_proven: str
    no_line: str

    @property
    def dataset(self) -> str:
        """The atlas's name of the data set."""
        return self.test.dataset

    @cached_property
    def id(self) -> str:
        """Id of the row: method and data set in lower case, such as `hsnet/pascal-5i`."""
        return f"{slug(self.method)}/{slug(self.dataset)}"

    @cached_property
    def conditions(self) -> Mapping[str, str]:
        """{key: word} of all conditions: those of the test, and of the method in it."""
        return {key: self.test.conditions.get(key) or getattr(self, key) for key in CONDITIONS}

    @cached_property
    def unlined(self) -> tuple[str, ...]:
        """Names of conditions whose line in the program's source code was not noted."""
        return tuple(filter(None, map(str.strip, self.no_line.split(";"))))

    @cached_property
    def checks(self) -> tuple[str, ...]:
        """Names, as folder/kind, of stored values that show that fsbench's episodes and scores equal the program's."""
        return tuple(filter(None, map(str.strip, self.goldens.split(";"))))

    @cached_property
    def places(self) -> Mapping[str, tuple[str, ...]]:
        """{condition: paths and lines of the program's source code that decide it}."""
        found: dict[str, tuple[str, ...]] = {}
        for part in filter(None, map(str.strip, self.evidence.split(";"))):
            column, _, place = part.partition("=")
            name = EPISODES.key if column == "episodes" else column
            found[name] = (*found.get(name, ()), place)
        return found

    def absence(self, key: str) -> str | None:
        """Return what explains why the program lacks the condition `key`; None if nothing does.

        None is returned if source lines are noted for `key` itself, or not noted for the explaining condition.
        """
        value = CONDITIONS[key].value(self.conditions[key])
        source = value.absent_in if value else ""
        told = source in ("program", DATASET.key) or source in self.places
        return source if source and told and key not in self.places else None

    @cached_property
    def marks(self) -> tuple[str, ...]:
        """Remarks on how sure the row is: it was read only in part, or something in it was not confirmed by a run."""
        partly = ("partly read",) if self.certainty == "partly read" else ()
        return (*partly, *((f"not proven by a run: {self.not_proven}",) if self.not_proven else ()))

    @model_validator(mode="after")
    def _evidence_is_whole(self) -> Self:
        """Every condition has a place in the sources, is "not found", or is said to have been read without one.

        What was run names the goldens that hold its episodes and its meter, and nothing else names any.
        """
        if (self.certainty == "run") != bool(self.checks) or not all(map(_GOLDEN.fullmatch, self.checks)):
            raise ValueError(
                f"certainty is '{self.certainty}' and goldens '{self.goldens}'; expected folder/kind; folder/kind of a "
                "row that was run, and no goldens of others"
            )
        for column, places in self.places.items():
            if column not in CONDITIONS and column not in _FURTHER and column not in type(self).model_fields:
                raise ValueError(f"evidence is given for '{column}', which is no column")
            for place in places:
                if not _PLACE.fullmatch(place):
                    raise ValueError(f"the evidence of {column} is '{place}'; expected path:line, or path:line,line")
        without = set(self.unlined)
        for key in (one.key for one in EVIDENCED):
            told = key in self.places or key in without or self.absence(key) is not None
            if not told and self.conditions[key] != NOT_FOUND:
                raise ValueError(
                    f"{key} is '{self.conditions[key]}' without evidence; expected {key}=path:line, the value "
                    f"'{NOT_FOUND}', or {key} under no_line"
                )
            if key in self.places and key in without:
                raise ValueError(f"{key} has evidence and stands under no_line; expected one of them")
        if unknown := without.difference(one.key for one in EVIDENCED):
            raise ValueError(f"no_line names {', '.join(sorted(unknown))}; expected conditions that are read")
        return self


def read_tests(file: Path = FOLDER / TESTS) -> dict[str, PublishedTest]:
    """Read the published tests, by their keys.

    Raises:
        DataError: a cell does not fit its column, or two tests have one key or all conditions in common.
    """
    found: dict[str, PublishedTest] = {}
    cells_of: dict[tuple[str, ...], str] = {}
    for line, cells in read_rows(file, tuple(PublishedTest.model_fields)):
        test = parse_row(PublishedTest, cells, f"{file.name}, line {line}")
        same = cells_of.setdefault(tuple(text for key, text in cells.items() if key != "key"), test.key)
        if test.key in found or same != test.key:
            raise DataError(f"{file.name}, line {line}: {test.key} is the test {same}; expected each test once")
        found[test.key] = test
    return found


def read_programs(folder: Path = FOLDER) -> list[Program]:
    """Read the evaluation programs of a folder, with the tests that they run.

    Args:
        folder: folder of `programs.csv`, and of `tests.csv` for tests that fsbench's own file lacks.

    Raises:
        DataError: a cell does not fit its column, a test is unknown, a condition lacks a source line, two rows have the
            same id, or more conditions than before are listed as without a source line; the message has the line.
    """
    file, own = folder / PROGRAMS, folder / TESTS
    tests = read_tests() | (read_tests(own) if own.is_file() and own != FOLDER / TESTS else {})
    programs: dict[str, Program] = {}
    for line, cells in read_rows(file, tuple(Program.model_fields)):
        where = f"{file.name}, line {line}"
        if cells["test"] not in tests:
            raise DataError(f"{where}: test is '{cells['test']}'{known_names(cells['test'], tuple(tests))}")
        program = parse_row(Program, cells | {"test": tests[cells["test"]]}, where)
        if program.id in programs:
            raise DataError(
                f"{where}: {program.method} on {program.dataset} stands there twice; expected one row for a method and "
                "a data set, or names that say in what the two differ"
            )
        programs[program.id] = program
    unlined = Counter(column for program in programs.values() for column in program.unlined)
    for one in EVIDENCED:
        if unlined[one.key] > (one.unlined or 0):
            raise DataError(
                f"{file.name}: {unlined[one.key]} rows have {one.key} under no_line, expected {one.unlined} or fewer: "
                f"the list is closed; give {one.key}=path:line under evidence, or the value '{NOT_FOUND}'"
            )
    return list(programs.values())
