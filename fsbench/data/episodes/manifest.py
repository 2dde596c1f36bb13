"""A manifest: the frozen list of episodes that an evaluation runs, with the hash that names it.

Text, one JSON object a line: first what was asked for, then the episodes in order, last the sha256 of the lines before
and, where the manifest is to travel, hashes of the images and label maps that it is about, with a sha256 of their
own. A list that somebody wrote by hand may lack the last line. A name that ends in .gz holds the same, compressed.

This file has the header as a type, the manifest with its hash, reading and writing, and the lines that show a manifest
or compare two. What is read may be a stranger's: its form is checked here, its supports where the protocol is known
(`fsbench.protocols.reading.read_test`), and whether it fits local data in `fsbench.data.episodes.fit`. Its header is
believed otherwise; `fsbench data manifest verify` draws the episodes again.
"""

import gzip
import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cache, cached_property, lru_cache
from itertools import chain
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from fsbench.base.errors import RecordError
from fsbench.base.files import parse_json, read_bytes, replacing
from fsbench.base.files.opening import gunzip
from fsbench.base.files.validation import first_problem
from fsbench.data.episodes.episode import ClassificationEpisode, Episode
from fsbench.data.episodes.task import Task
from fsbench.data.volumes import scan_of

CLASSIFICATION = "classification"
"""`kind` in the header of a classification manifest; headers of segmentation have no `kind`."""

Count = Annotated[int, Field(ge=0, lt=2**53)]
LONGEST_NAME = 1000
Name = Annotated[str, Field(max_length=LONGEST_NAME)]
_OUTSIDE = re.compile(r"^[/\\]|^[A-Za-z]:|(^|[/\\])\.\.[. ]*([/\\]|\Z)|\0")
"""In an image's name, what leads out of the data's folder on some system: a root, a drive, a folder above."""
_UNUSUAL = ("draw", "calibrates")
"""Attributes of an episode that a row has only where they are set."""


class StatedTask(BaseModel, Task, frozen=True):
    """A test's settings as a JSON file states them: all fields of `Task` are required, except those in `MAY_LACK`."""

    model_config = ConfigDict(strict=True)

    MAY_LACK: ClassVar[frozenset[str]] = frozenset({"classes", "nested_in"})

    @model_validator(mode="before")
    @classmethod
    def _check_stated(cls, entries: Any) -> Any:
        """Miss what a file does not state: the default of a field of `Task` is that of a question, not of a file."""
        stated = {one.name for one in fields(Task)} - cls.MAY_LACK
        missing = [
            name
            for name, one in cls.model_fields.items()
            if isinstance(entries, Mapping) and name not in entries and (name in stated or one.is_required())
        ]
        if missing:
            raise ValidationError.from_exception_data(
                cls.__name__, [{"type": "missing", "loc": (name,), "input": entries} for name in missing]
            )
        return entries

    @field_validator("fold", "way", "shot", "draws", "nested_in")
    @classmethod
    def _check_count(cls, number: int | None, info: ValidationInfo) -> int | None:
        least = 1 if info.field_name in ("shot", "draws") else 0
        if number is not None and not least <= number < 1 << 31:
            raise ValueError(f"{number} is out of range, expected {least} to {(1 << 31) - 1}")
        return number

    @field_validator("setting")
    @classmethod
    def _check_setting(cls, setting: str) -> str:
        if len(setting) > LONGEST_NAME:
            raise ValueError(f"the name has {len(setting)} characters, expected {LONGEST_NAME} at most")
        return setting


class Header(StatedTask, frozen=True):
    """First line of a manifest: the settings of the test to which its episodes belong.

    Attributes:
        kind: "classification", or None for segmentation.
        protocol, version: name and version of the protocol by which the test is drawn and scored.
        protocol_parts: content of the protocol's file, for a user's own protocol; None for one with a name in fsbench.
        dataset: name of the data set.
        folds: number of the data set's folds.
        lists: where the image lists come from, in words that begin with "official" if they are.
        lists_sha256: hash of the image lists of this fold.
        all_lists_sha256: hash of the image lists of all folds.
        dropped_classes: numbers of classes that were left out for lack of images.
        all_classes: whether every episode asks for all of `class_ids`, whatever `way` is.
        requested: number of episodes that the user asked for.
        official_episodes: number of episodes that the protocol has.
        episodes: number of episodes in the manifest.
        class_ids: numbers of the classes that the mean IoU averages over.
        class_names: {class number as text: its name}.
        queries: in classification, number of query images of each class in an episode.
        min_class_size: in classification, number of images up to which the images of a smaller class are repeated.
        filled_classes: in classification, number of classes whose images are repeated.
        small_classes: in classification, number of classes with fewer images than the number up to which the authors'
            program repeats them.
        official_sha256: hash of the manifest of the official supports (draw 0) alone; None if there is one draw.
        calibration_ids: numbers of the base classes about which the episodes for calibrating a threshold are; []
            without such episodes.
        calibration_images: where the images of the calibrating episodes come from, in words.
        slices: whether images are slices of scans, so that a scan is one independent sample.
        selection: {entry: value} with the name of the rule by which episodes were selected, and the hash of the
            manifest that they were selected from; None for all episodes.
        own_list: whether the episodes are a user's own, not those that the protocol draws; part of a run's identity.
    """

    model_config = ConfigDict(extra="allow")

    MAY_LACK = frozenset({"episodes", "drop_small", "draws", "nested_in"})  # those of other kinds, and of older files

    kind: Literal["classification"] | None = None
    protocol: Name
    version: int | Name
    protocol_parts: dict[str, Any] | None = None
    dataset: Name
    folds: Count
    lists: Name
    lists_sha256: Name | None = None
    all_lists_sha256: Name | None
    dropped_classes: list[Count]
    all_classes: bool = False
    requested: Count
    official_episodes: Count
    episodes: Count | None = None
    class_ids: list[Count]
    class_names: dict[str, Name]
    queries: Count | None = None
    min_class_size: Count | None = None
    filled_classes: Count | None = None
    small_classes: Count | None = None
    official_sha256: Name | None = None
    calibration_ids: list[Count] = []
    calibration_images: Name | None = None
    slices: bool = False
    selection: dict[str, Any] | None = None
    own_list: bool = False

    @field_validator("class_ids", "calibration_ids")
    @classmethod
    def _check_numbers(cls, numbers: list[int], info: ValidationInfo) -> list[int]:
        if info.data.get("kind", "") is None and 0 in numbers:
            raise ValueError("there is a class 0, which is the background; expected numbers from 1")
        return numbers

    @field_validator("class_names")
    @classmethod
    def _check_names(cls, names: dict[str, str], info: ValidationInfo) -> dict[str, str]:
        strange = next((key for key in names if not (key.isascii() and key.isdecimal())), None)
        if strange is not None:
            raise ValueError(f"{strange[:60]!r} is no number of a class, expected one as text")
        unnamed = next((number for number in info.data.get("class_ids", ()) if str(number) not in names), None)
        if unnamed is not None:
            raise ValueError(f"the class {unnamed} has no name, expected one of each number in class_ids")
        return names

    @model_validator(mode="after")
    def _check_runs(self) -> Self:
        for name in ("novel_ids", "run_lengths"):
            numbers = self.protocol_entries.get(name, [1])
            if not isinstance(numbers, list) or not all(type(one) is int and 0 <= one < 2**53 for one in numbers):
                raise ValueError(f"{name} is {str(numbers)[:60]}, expected a list of whole numbers")
        return self

    def independent_name(self, image: str) -> str:
        """Return the independent sample that an image belongs to: the scan of a slice, else the image itself.

        Images with the same independent name count as one in confidence intervals and significance tests.
        """
        return scan_of(image) if self.slices else image

    def marked(self, own_list: bool) -> "Header":
        """Return the header, marked as that of a user's own list of episodes if `own_list`."""
        return self.model_copy(update={"own_list": True}) if own_list else self

    @property
    def is_official(self) -> bool:
        """Whether the episodes are the ones that the protocol draws, not a user's list or a selection."""
        return not self.own_list and self.selection is None

    @property
    def rules(self) -> str:
        """The protocol's name and version in words; for a user's list or a selection, "… counted by" the protocol."""
        rules = f"{self.protocol} v{self.version}"
        episodes = "list of one's own" if self.own_list else "chosen episodes"
        return f"protocol {rules}" if self.is_official else f"{episodes}, counted by {rules}"

    @property
    def protocol_entries(self) -> Mapping[str, Any]:
        """Further entries of the header, {name: JSON value}, that a protocol adds."""
        return self.model_extra or {}


def check_header(entries: Any, path: Path) -> Header:
    """Validate the parsed first line of the manifest file `path`, and return it as a header.

    Raises:
        RecordError: an entry is missing, or has another type or range.
    """
    try:
        return Header.model_validate(entries)
    except ValidationError as error:
        missing = [str(one["loc"][-1]) for one in error.errors(include_url=False) if one["type"] == "missing"]
        if missing and isinstance(entries, dict):
            raise RecordError(
                f"{path} has a header without {', '.join(missing)}; expected one of this version of fsbench"
            ) from None
        raise RecordError(f"{path} has a header that does not fit: {first_problem(error, entries)}") from error


@dataclass(frozen=True)
class Manifest:
    """A list of episodes, with the test to which they belong.

    Attributes:
        entries: the header as {name: plain JSON value}, in the order in which the entries are hashed.
        episodes: the episodes; in classification `ClassificationEpisode`s, which name images by their positions in the
            data set's list.
        images: {image name: hash of photo and label map}; empty unless the manifest is meant for other copies of the
            data. The hash of the manifest does not cover it.
        own_list: whether the episodes are a user's own, not those that the protocol draws; found by drawing the
            protocol's episodes again.
    """

    entries: dict[str, Any]
    episodes: tuple[Episode, ...]
    images: Mapping[str, str] = field(default_factory=dict)
    own_list: bool = False

    def __hash__(self) -> int:
        return hash(self.sha256)  # the fields hold mappings; equal manifests have equal text

    @cached_property
    def text(self) -> str:
        """The lines that the hash is computed of: header and episodes, one JSON object a line."""
        rows = [self.entries, *map(episode_entries, self.episodes)]
        return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)

    @cached_property
    def sha256(self) -> str:
        """sha256 (hexadecimal) of header and episodes, which identifies the manifest."""
        return _sha256(self.text)

    @cached_property
    def header(self) -> Header:
        """The validated header with the test's settings; not available for lists of whole images without a test."""
        return Header.model_validate(self.entries).marked(self.own_list)

    @property
    def tested_episodes(self) -> tuple[Episode, ...]:
        """Episodes of all draws of supports, without those that only calibrate a threshold."""
        return tuple(one for one in self.episodes if not one.calibrates)

    @property
    def official_episodes(self) -> tuple[Episode, ...]:
        """Episodes of draw 0 of the supports, the official one, without those that only calibrate a threshold."""
        return tuple(one for one in self.tested_episodes if one.draw == 0)

    @property
    def class_ids(self) -> list[int]:
        """Numbers of the classes that mIoU is averaged over, whether or not an episode shows them."""
        return list(self.entries["class_ids"])

    @property
    def image_names(self) -> list[str]:
        """Names of all query and support images, each once, sorted."""
        return sorted(
            {name for e in self.episodes for name in (e.query, *(name for way in e.supports for name in way))}
        )

    def write(self, path: Path) -> None:
        """Write the manifest to `path`, compressed if the name ends in .gz."""
        end: dict[str, Any] = {
            "sha256": self.sha256,
            "images": dict(self.images),
            "images_sha256": _images_sha256(self.images),
        }
        data = (self.text + json.dumps(end, separators=(",", ":")) + "\n").encode()
        with replacing(path) as temporary:  # without a time stamp: equal manifests are equal files
            temporary.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def episode_entries(episode: Episode) -> dict[str, Any]:
    """Return an episode as {name: JSON value}; optional entries that have their default value are left out.

    So manifests that were written before the optional entries existed keep their hash.
    """
    entries = {name: value for name, value in vars(episode).items() if name not in _UNUSUAL or value}
    return {"index": entries.pop("number"), **entries}


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _images_sha256(images: Mapping[str, str]) -> str:
    return _sha256(json.dumps(sorted(images.items())))


# Reading


def read_manifest(path: Path, sha256: str | None = None) -> Manifest:
    """Read a list of episodes from a manifest file.

    Args:
        path: the file; compressed if its name ends in .gz.
        sha256: the expected checksum of the manifest; None for any.

    Raises:
        RecordError: the file is absent, damaged or altered, or has another checksum.
    """
    try:
        data = read_bytes(path, "manifest")
        text = (gunzip(data, "manifest") if path.suffix == ".gz" else data).decode("utf-8-sig")
        content = _parse(text)
    except FileNotFoundError:
        raise RecordError(f"there is no manifest {path}; expected one of fsbench data manifest build") from None
    except _BadLine as error:
        raise RecordError(
            f"line {error.number} of {path} {error}; expected an episode, such as {EXAMPLES[error.kind]}; correct the "
            "line, or make the manifest again (fsbench data manifest build)"
        ) from error
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason: Any = error
        if isinstance(error, ValidationError):
            check_header(parse_json(text.splitlines()[0]), path)  # of the header's errors it says more
            reason = first_problem(error)
        raise RecordError(
            f"{path} is no manifest ({reason}); expected JSON lines written by this version of fsbench; make it again "
            "(a run's with --force)"
        ) from error
    manifest = content.manifest
    for expected in (content.stated, sha256 or content.stated):
        if expected != content.sha256 and manifest.sha256 != expected:
            raise RecordError(
                f"{path} has sha256 {manifest.sha256}, expected {expected}; it was changed since; get it again"
            )
    if content.images_altered:
        raise RecordError(f"{path} has other image hashes than it was written with; it was changed since; get it again")
    there, stated = len(manifest.official_episodes), manifest.header.episodes
    if stated not in (None, there):  # a list that was cut has no hash at its end
        raise RecordError(f"{path} has {there} of its {stated} episodes; get it again, or correct the number in line 1")
    return manifest


class _Content(NamedTuple):
    """Content of a manifest's file.

    Attributes:
        manifest: the header and the episodes.
        stated: the hash that the last line states, which may be any JSON value.
        sha256: hash of the lines as they stand.
        images_altered: the hashes of images are others than the manifest was written with.
    """

    manifest: Manifest
    stated: Any
    sha256: str
    images_altered: bool


@lru_cache(maxsize=8)  # runs of one test have the same text
def _parse(text: str) -> _Content:
    """Return the content of a manifest's text; raises ValueError, KeyError, TypeError and AttributeError of others.

    Of a line that is no episode it raises _BadLine.
    """
    if not text.strip():
        raise ValueError("it is empty")
    first, *rows = text.rstrip().splitlines()
    entries, end = parse_json(first), _end(rows)
    if not isinstance(entries, dict):
        raise ValueError(f"its first line is {first[:40]!a}")
    kind = Header.model_validate(entries).kind
    images = end["images"]
    if not all(isinstance(value, str) for value in images.values()):
        raise ValueError("a hash of an image is no text")
    images_altered = _images_sha256(images) != end["images_sha256"]
    manifest = Manifest(entries, _episodes(rows, kind), images)
    as_written = _sha256("".join(f"{row}\n" for row in (first, *rows)))
    if manifest.sha256 != as_written:  # in other words than ours: a line may hold a key twice, or two episodes
        _check_lines(rows, kind)
    _check_episodes(manifest.episodes, kind)
    return _Content(manifest, end.get("sha256", manifest.sha256), as_written, images_altered)


def _end(rows: list[str]) -> dict[str, Any]:
    """Take the last line, which is none of an episode, from the rows of a file; without one nothing is stated."""
    end = parse_json(rows[-1]) if rows and '"sha256"' in rows[-1] else {}
    if not isinstance(end, dict) or "sha256" not in end:
        return {"images": {}, "images_sha256": _images_sha256({})}
    del rows[-1]
    return end


class _BadLine(ValueError):
    """A line of a manifest of `kind` that is no episode; its number counts from 1."""

    def __init__(self, number: int, found: str, kind: str | None):
        super().__init__(found)
        self.number, self.kind = number, kind


EXAMPLES: Mapping[str | None, str] = {
    None: '{"index":0,"query":"a","query_class":3,"classes":[3],"supports":[["b"]]}',
    CLASSIFICATION: '{"index":0,"classes":[2,5],"support":[[0],[4]],"query":[[1,2],[0,3]]}',
}
"""By kind an episode as a line has it: for each of `classes` a list of support images; in classification also a list of
queries, and all images by their places in the class from 0."""


def _episodes(rows: Sequence[str], kind: str | None) -> tuple[Any, ...]:
    """Return the episodes of some lines behind the first; raises _BadLine for the first that is none."""
    try:
        return tuple(_schemas(kind)[1].validate_json(f"[{','.join(rows)}]", strict=True))
    except ValidationError:
        _check_lines(rows, kind)
        raise


def _check_lines(rows: Sequence[str], kind: str | None) -> None:
    """Raise _BadLine for the first of the lines behind the first that is no episode by itself."""
    for number, row in enumerate(rows, 2):
        if not row.strip():
            raise _BadLine(number, "is empty", kind)
        try:
            entries = parse_json(row)
            _schemas(kind)[0].validate_json(row, strict=True)
        except ValidationError as error:
            raise _BadLine(number, f"is no episode ({first_problem(error, entries)})", kind) from error
        except json.JSONDecodeError as error:
            raise _BadLine(number, f"is no JSON ({error.msg} at character {error.pos + 1})", kind) from error
        except ValueError as error:
            raise _BadLine(number, f"is no JSON ({error})", kind) from error


def _check_episodes(episodes: Sequence[Episode | ClassificationEpisode], kind: str | None) -> None:
    """Raise _BadLine for the first of the episodes that contradicts itself or has the number of another."""
    seen: dict[int, int] = {}
    for number, episode in enumerate(episodes, 2):
        if (first := seen.setdefault(episode.number, number)) != number:
            found = f"has the index {episode.number}, as line {first} has; an index names one episode"
            raise _BadLine(number, found, kind)
        if fault := _fault(episode):
            raise _BadLine(number, fault, kind)


def _fault(episode: Episode | ClassificationEpisode) -> str:
    """Say in what an episode contradicts itself; "" if it does not."""
    if not 0 <= episode.number < 1 << 31:
        return f"has the index {episode.number}, and indices go from 0 to {(1 << 31) - 1}"
    supports = episode.supports if isinstance(episode, Episode) else episode.support
    if len(supports) != len(episode.classes):
        return f"has {len(episode.classes)} classes, and supports of {len(supports)}"
    if len(set(episode.classes)) < len(episode.classes):
        return "has a class twice"
    if (least := min(episode.classes, default=0)) < 0:
        return f"has the class {least}, expected 0 or more"
    names = (episode.query, *chain.from_iterable(episode.supports)) if isinstance(episode, Episode) else ()
    if strange := next(filter(_OUTSIDE.search, names), None):
        return f"has the image {strange[:60]!a}, which leads out of the data's folder"
    return ""


@cache
def _schemas(kind: str | None) -> tuple[TypeAdapter[Any], TypeAdapter[Any]]:
    """Return the schemas that check and make an episode of a manifest of `kind`, and a list of them."""
    if kind == CLASSIFICATION:
        return TypeAdapter(ClassificationEpisode), TypeAdapter(list[ClassificationEpisode])
    return TypeAdapter(Episode), TypeAdapter(list[Episode])


# Lines for people


def summary(manifest: Manifest, drawn: bool = False) -> str:
    """Describe a manifest in one line: episodes, data set, fold, ways, shots, protocol and checksum.

    Args:
        manifest: header and episodes.
        drawn: True if the protocol has just drawn the manifest; False for a file, which may name any protocol.
    """
    header = manifest.header
    task = f"{header.way}-way {header.shot}-shot, {header.setting.replace('_', ' ')}"
    names = "names the " if header.is_official and not drawn else ""
    draws = f", {header.draws} draws of the supports" if header.draws > 1 else ""
    tested = len(manifest.tested_episodes)
    further = len(manifest.episodes) - tested
    calibrating = f" and {further} that only calibrate" if further else ""
    return (
        f"{tested} episodes{calibrating}, {header.dataset} fold {header.fold}, {task}, "
        f"{names}{header.rules}{draws}, sha256 {manifest.sha256}"
    )


def description(manifest: Manifest, listed: int = 0) -> Iterator[str]:
    """Yield the lines that describe a manifest: summary, lists, images, ways and shots, classes, some episodes.

    Args:
        manifest: a list of segmentation or classification episodes.
        listed: number of first episodes that get a line each.
    """
    header = manifest.header
    yield summary(manifest)
    yield f"image lists: {header.lists} (sha256 {header.lists_sha256 or header.all_lists_sha256})"
    yield from _classification_lines(manifest) if header.kind else _mask_lines(manifest)
    for episode in manifest.episodes[:listed]:
        yield _episode_line(episode, header)


def _classification_lines(manifest: Manifest) -> Iterator[str]:
    """Yield the classes with the number of episodes that ask for each."""
    asked = Counter(number + 1 for episode in manifest.tested_episodes for number in episode.classes)
    for number in manifest.class_ids:
        yield f"  {number:3} {manifest.header.class_names[str(number)]:20} in {asked[number]} episodes"


def _mask_lines(manifest: Manifest) -> Iterator[str]:
    """Yield images, ways and shots, and the classes with the number of episodes whose query shows each."""
    header, episodes = manifest.header, manifest.episodes
    queries = {episode.query for episode in episodes}
    hashed = "with hashes" if manifest.images else "without hashes"
    yield f"{len(queries)} query images, {len(manifest.image_names)} images in all, {hashed} of photos and label maps"
    augmented = sum(episode.augmented for episode in episodes)
    ways = _counted(len(episode.classes) for episode in episodes)
    shots = _counted(len(way) for episode in episodes for way in episode.supports)
    yield f"{augmented} episodes augmented; ways {ways}; shots {shots}"
    queries_of = Counter(episode.query_class for episode in manifest.tested_episodes)
    for number in manifest.class_ids:
        yield f"  {number:3} {header.class_names[str(number)]:20} query of {queries_of[number]} episodes"


def differences(first: Manifest, second: Manifest) -> list[str]:
    """Return lines that compare two manifests; [] if they are equal.

    The lines show the differing entries of the headers, the number of differing episodes, and the first three of these
    episodes.
    """
    if first.sha256 == second.sha256:
        return []
    lines = [
        f"{key}: {first.entries.get(key)} | {second.entries.get(key)}"
        for key in sorted(first.entries.keys() | second.entries.keys())
        if first.entries.get(key) != second.entries.get(key)
    ]
    pairs = list(zip(first.episodes, second.episodes, strict=False))
    different = [pair for pair in pairs if pair[0] != pair[1]]
    lengths = f"{len(first.episodes)} | {len(second.episodes)}"
    lines.append(f"{len(different)} of {len(pairs)} episodes differ; lengths {lengths}")
    for ours, theirs in different[:3]:
        lines += [f"  {_episode_line(ours, first.header)}", f"  {_episode_line(theirs, second.header)}"]
    return lines


def _episode_line(episode: Episode | ClassificationEpisode, header: Header) -> str:
    """Describe an episode in one line, its classes by their names."""

    def named(number: int) -> str:
        return header.class_names.get(str(number), str(number))

    if isinstance(episode, ClassificationEpisode):  # positions of classes from 0, and of images in them
        images = zip(episode.classes, episode.support, episode.query, strict=True)
        return f"{episode.number}  " + "  ".join(
            f"{named(number + 1)}: {','.join(map(str, supports))} queries {','.join(map(str, queries))}"
            for number, supports, queries in images
        )
    pairs = zip(episode.classes, episode.supports, strict=True)
    ways = "  ".join(f"{named(number)}: {','.join(names)}" for number, names in pairs)
    return f"{episode.number}  query {episode.query} ({named(episode.query_class)})  {ways}"


def _counted(numbers: Iterable[int]) -> str:
    """Return in words how often there is each number."""
    return ", ".join(f"{number} ({times} times)" for number, times in sorted(Counter(numbers).items()))
