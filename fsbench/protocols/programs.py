"""Evaluation programs that were read: the rows of `benchmarks/published/atlas/conditions.csv`, typed and checked."""

import re
from collections import Counter
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, model_validator

from fsbench.base.errors import DataError
from fsbench.base.paths import BENCHMARKS
from fsbench.protocols.conditions import (
    NOT_FOUND,
    ComparedAt,
    DependsOn,
    EpisodeDraw,
    FBIoU,
    ImageGeometry,
    ImageLists,
    Metric,
    MinObject,
    Void,
)
from fsbench.protocols.program_rows import parse_row, read_rows, slug

FOLDER = BENCHMARKS / "published" / "atlas"

Task = Literal["FSS", "CD-FSS", "FS-CS", "GFSS", "in-context", "FSS all classes", "FSS medical"]
Family = Literal["hsnet", "pfenet", "patnet", "mlc", "panet", "oslsm", "fscs", "gfss", "own"]
Shots = Literal[
    "vote of shots", "mean of prototypes", "mean of features", "mean of features and priors", "mean of outputs",
    "learned weights of shots", "shots weighted by correlation", "shots weighted by self-agreement",
    "concatenated in attention", "pixels of all shots together", "parts of all shots", "prompts of all shots together",
    "classifier trained on all shots", "tuned on all shots", "memory", "collage", "one scan in parts", "1-shot only",
    "not found",
]  # fmt: skip
SupportAnnotation = Literal[
    "mask", "mask or weaker (option)", "mask or text (option)", "image label", "box", "not found"
]
Checkpoint = Literal[
    "best on test fold", "best on test set", "best on FSS-1000 val", "best on source data", "best on base classes",
    "best on the supports", "last", "one model for all folds", "none", "not found",
]  # fmt: skip

EVIDENCED = (
    "image_lists", "min_object", "episode_draw", "episodes_per_fold", "seeds", "network_size", "geometry",
    "compared_at", "void", "metric", "fb_iou", "kshot", "checkpoint", "depends_on", "support_annotation",
    "extra_supervision", "saw_test_classes",
)  # fmt: skip
"""Conditions each of which has a place in the sources, is "not found", is an absence (`ABSENCES`), or is named under
`no_line`."""
ABSENCES: Mapping[tuple[str, str], str] = {
    ("void", "none"): "dataset",
    ("min_object", "none"): "image_lists",
    ("min_object", "by the list"): "image_lists",
    ("min_object", "2048 by the list"): "image_lists",
    ("fb_iou", "not computed"): "metric",
    ("checkpoint", "none"): "program",
    ("depends_on", "no"): "episode_draw",
    ("support_annotation", "mask"): "program",
    ("extra_supervision", "none"): "program",
    ("saw_test_classes", "no"): "program",
}
"""(Condition, value) that says that something is not there, which no line can show -> what it was read from: another
condition's place, the data set, or the program as a whole."""
LINES_NOT_NOTED: Mapping[str, int] = {
    "image_lists": 9, "min_object": 13, "episode_draw": 15, "episodes_per_fold": 14, "seeds": 6, "network_size": 8,
    "geometry": 105, "compared_at": 9, "void": 4, "metric": 9, "fb_iou": 33, "kshot": 23, "checkpoint": 8,
    "depends_on": 25, "support_annotation": 10, "extra_supervision": 53, "saw_test_classes": 2,
}  # fmt: skip
"""Conditions that rows have under `no_line`, with their number: they were read before lines were noted. The list is
closed: who notes a line lowers its number, and none goes up."""

_FURTHER = {"order", "episodes_one_more", "training_images"}
"""Other things that evidence is given for: the order of a list, a loop's last episode, images of a training."""
_PLACE = re.compile(r"[^\s:;]+:\d+(-\d+)?(,\d+(-\d+)?)*([, ]+[^\s:;]+:\d+(-\d+)?(,\d+(-\d+)?)*)*")
_COMMIT = re.compile(r"[0-9a-f]{7,40}")
_GOLDEN = re.compile(r"\w+/\w+")
_REPOSITORY = re.compile(r"[\w.-]+/[\w.-]+")


def _commit(text: str) -> str:
    if not _COMMIT.fullmatch(text):
        raise ValueError(f"'{text}' is no commit; expected 7 to 40 hexadecimal digits")
    return text


def _repository(text: str) -> str:
    if not _REPOSITORY.fullmatch(text):
        raise ValueError(f"'{text}' is no repository; expected owner/name")
    return text


Text = Annotated[str, StringConstraints(min_length=1)]


class Program(BaseModel):
    """A published evaluation program on one data set: a row of the atlas, with the conditions of its test."""

    model_config: ClassVar[ConfigDict] = ConfigDict(extra="forbid", frozen=True)

    method: Text
    program: Text
    paper: Text
    venue: Text
    year: Annotated[int, Field(ge=2015, le=2100)]
    repository: Annotated[str, AfterValidator(_repository)]
    commit: Annotated[str, AfterValidator(_commit)]
    licence: Text
    task: Task
    dataset: Text
    family: Family
    image_lists: ImageLists
    sbd_in_training: Literal["yes", "no", "no training", "n.a.", "not found"]
    base_filtered_list: Literal["yes", "no", "n.a.", "not found"]
    min_object: MinObject
    episode_draw: EpisodeDraw
    episodes_per_fold: Text
    seeds: Text
    depends_on: DependsOn
    workers: Annotated[str, StringConstraints(pattern=r"\d+|n\.a\.|not found")]
    runs: Text
    network_size: Text
    geometry: ImageGeometry
    compared_at: ComparedAt
    void: Void
    metric: Metric
    fb_iou: FBIoU
    kshot: Shots
    support_annotation: SupportAnnotation
    checkpoint: Checkpoint
    backbone: Text
    pretraining: Text
    extra_supervision: Text
    saw_test_classes: Literal["no", "perhaps", "yes", "not found"]
    precision: Text
    quirks: str
    evidence: str
    certainty: Literal["run", "read", "partly read"]
    goldens: str
    not_proven: str
    no_line: str

    @cached_property
    def id(self) -> str:
        """Id of the row: method and data set in lower case, such as `hsnet/pascal-5i`."""
        return f"{slug(self.method)}/{slug(self.dataset)}"

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
            name = "episodes_per_fold" if column == "episodes" else column
            found[name] = (*found.get(name, ()), place)
        return found

    def absence(self, column: str) -> str | None:
        """Return the condition that explains why the program lacks the condition `column`; None if none does.

        None is returned if source lines are noted for `column` itself, or not noted for the explaining condition.
        """
        source = ABSENCES.get((column, getattr(self, column)))
        whole = source in ("dataset", "program")
        return source if column not in self.places and (whole or source in self.places) else None

    @cached_property
    def marks(self) -> tuple[str, ...]:
        """Remarks on how sure the row is: it was read only in part, or something in it was not confirmed by a run."""
        partly = ("partly read",) if self.certainty == "partly read" else ()
        return (*partly, *((f"not proven by a run: {self.not_proven}",) if self.not_proven else ()))

    @model_validator(mode="after")
    def _evidence_is_whole(self) -> "Program":
        """Every condition has a place in the sources, is "not found", or is said to have been read without one.

        What was run names the goldens that hold its episodes and its meter, and nothing else names any.
        """
        if (self.certainty == "run") != bool(self.checks) or not all(map(_GOLDEN.fullmatch, self.checks)):
            raise ValueError(
                f"certainty is '{self.certainty}' and goldens '{self.goldens}'; expected folder/kind; folder/kind of a "
                "row that was run, and no goldens of others"
            )
        for column, places in self.places.items():
            if column not in Program.model_fields and column not in _FURTHER:
                raise ValueError(f"evidence is given for '{column}', which is no column")
            for place in places:
                if not _PLACE.fullmatch(place):
                    raise ValueError(f"the evidence of {column} is '{place}'; expected path:line, or path:line,line")
        without = set(self.unlined)
        for column in EVIDENCED:
            told = column in self.places or column in without or self.absence(column) is not None
            if not told and getattr(self, column) != NOT_FOUND:
                raise ValueError(
                    f"{column} is '{getattr(self, column)}' without evidence; expected {column}=path:line, "
                    f"the value '{NOT_FOUND}', or {column} under no_line"
                )
            if column in self.places and column in without:
                raise ValueError(f"{column} has evidence and stands under no_line; expected one of them")
        if unknown := without.difference(EVIDENCED):
            raise ValueError(f"no_line names {', '.join(sorted(unknown))}; expected {', '.join(EVIDENCED)}")
        return self


def read_programs(file: Path = FOLDER / "conditions.csv") -> list[Program]:
    """Read the atlas, the csv table of published evaluation programs and the conditions of their tests.

    Raises:
        DataError: a cell does not fit its column, a condition lacks a source line, two rows have the same id, or more
            conditions than before are listed as without a source line; the message has the line.
    """
    programs: dict[str, Program] = {}
    for line, cells in read_rows(file, tuple(Program.model_fields)):
        program = parse_row(Program, cells, f"{file.name}, line {line}")
        if program.id in programs:
            raise DataError(
                f"{file.name}, line {line}: {program.method} on {program.dataset} stands there twice; expected one row "
                "for a method and a data set, or names that say in what the two differ"
            )
        programs[program.id] = program
    unlined = Counter(column for program in programs.values() for column in program.unlined)
    for column, number in unlined.items():
        if number > LINES_NOT_NOTED.get(column, 0):
            raise DataError(
                f"{file.name}: {number} rows have {column} under no_line, expected {LINES_NOT_NOTED.get(column, 0)} or "
                f"fewer: the list is closed; give {column}=path:line under evidence, or the value '{NOT_FOUND}'"
            )
    return list(programs.values())
