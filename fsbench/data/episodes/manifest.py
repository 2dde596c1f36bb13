"""A manifest: the frozen list of episodes that an evaluation runs, with the hash that names it.

Text, one JSON object a line: first what was asked for, then the episodes in order, last the sha256 of the lines before
and, where the manifest is to travel, hashes of the images and label maps that it is about, with a sha256 of their
own. A name that ends in .gz holds the same, compressed.
"""

import gzip
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from fsbench.base.errors import RecordError
from fsbench.base.files import parse_json, read_bytes, replacing
from fsbench.base.files.opening import gunzip
from fsbench.base.files.validation import first_problem
from fsbench.data.episodes.episode import ClassificationEpisode, Episode
from fsbench.data.episodes.header import Header, check_header

CLASSIFICATION = "classification"
"""`kind` in the header of a classification manifest; headers of segmentation have no `kind`."""

_UNUSUAL = ("draw", "calibrates")
"""Attributes of an episode that a row has only where they are set."""

EPISODE_TYPES: dict[str | None, Any] = {None: Episode, CLASSIFICATION: ClassificationEpisode}
"""`kind` of a header -> the class of its episodes."""


@dataclass(frozen=True)
class Manifest:
    """Episodes and the test that they are of.

    Attributes:
        entries: the header as plain JSON values, in the order that the hash covers.
        episodes: in classification these are `ClassificationEpisode`s, which name images by their places in the data
            set's list.
        images: names -> hashes by `fsbench.data.episodes.fit.image_hash`; empty unless the manifest is to be used with
            other copies of the data. The hash of the manifest does not cover it.
    """

    entries: dict[str, Any]
    episodes: tuple[Episode, ...]
    images: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def text(self) -> str:
        rows = [self.entries, *map(episode_entries, self.episodes)]
        return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)

    @cached_property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()

    @cached_property
    def header(self) -> Header:
        """The test that the episodes are of; whole images, which are no test, have none."""
        return Header.model_validate(self.entries)

    @property
    def tested_episodes(self) -> tuple[Episode, ...]:
        """Episodes of all draws, without those that only calibrate."""
        return tuple(one for one in self.episodes if not one.calibrates)

    @property
    def official_episodes(self) -> tuple[Episode, ...]:
        """Episodes of draw 0, the official ones, without those that only calibrate."""
        return tuple(one for one in self.tested_episodes if one.draw == 0)

    @property
    def class_ids(self) -> list[int]:
        """Classes that the mIoU averages over, whether or not an episode shows them."""
        return list(self.entries["class_ids"])

    @cached_property
    def slot_columns(self) -> list[list[Any]]:
        """Columns of a table with a row for each slot of the episodes of segmentation.

        They are episode, slot (0 is any foreground, 1 to N are ways), class and query.
        """
        rows = [(e.index, n, number, e.query) for e in self.episodes for n, number in enumerate((0, *e.classes))]
        return [[row[place] for row in rows] for place in range(4)]

    @property
    def image_names(self) -> list[str]:
        """Distinct images of the episodes, sorted."""
        return sorted(
            {name for e in self.episodes for name in (e.query, *(name for way in e.supports for name in way))}
        )

    def write(self, path: Path) -> None:
        end = {"sha256": self.sha256, "images": dict(self.images), "images_sha256": _hash(self.images)}
        data = (self.text + json.dumps(end, separators=(",", ":")) + "\n").encode()
        with replacing(path) as temporary:  # without a time stamp: equal manifests are equal files
            temporary.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)


def episode_entries(episode: Episode) -> dict[str, Any]:
    """Return an episode's row, without what is as in most episodes, so that old files keep their hash."""
    return {name: value for name, value in vars(episode).items() if name not in _UNUSUAL or value}


def _hash(images: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(sorted(images.items())).encode()).hexdigest()


def read_manifest(path: Path, sha256: str | None = None) -> Manifest:
    """The manifest of a file; raises RecordError when it is damaged, was altered, or is not the one of `sha256`."""
    try:
        data = read_bytes(path, "manifest")
        text = (gunzip(data, "manifest") if path.suffix == ".gz" else data).decode("utf-8-sig")
        content = _parse(text)
    except FileNotFoundError:
        raise RecordError(f"there is no manifest {path}; expected one of fsbench data manifest build") from None
    except (OSError, EOFError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason: Any = error
        if isinstance(error, ValidationError):
            check_header(parse_json(text.splitlines()[0]), path)  # of the header's errors it says more
            reason = first_problem(error)
        raise RecordError(
            f"{path} is no manifest ({reason}); expected JSON lines written by this version of fsbench; make it again "
            "(a run's with FORCE=1)"
        ) from error
    manifest = content.manifest
    for expected in (content.stated, sha256 or content.stated):
        if expected != content.sha256 and manifest.sha256 != expected:
            raise RecordError(
                f"{path} has sha256 {manifest.sha256}, expected {expected}; it was changed since; get it again"
            )
    if content.images_altered:
        raise RecordError(f"{path} has other image hashes than it was written with; it was changed since; get it again")
    return manifest


class _Content(NamedTuple):
    """Content of a manifest's file: the manifest, the hash that it states, that of its lines as they stand, and whether
    its hashes of images are others than it was written with."""

    manifest: Manifest
    stated: Any
    sha256: str
    images_altered: bool


@lru_cache(maxsize=8)  # runs of one test have the same text
def _parse(text: str) -> _Content:
    """Return the content of a manifest's text; raises ValueError, KeyError, TypeError and AttributeError of others."""
    first, *rows, last = text.splitlines()
    entries, end = parse_json(first), parse_json(last)
    stated, images = end["sha256"], end["images"]
    if not all(isinstance(value, str) for value in images.values()):
        raise ValueError("a hash of an image is no text")
    images_altered = _hash(images) != end["images_sha256"]
    schema = _episode_schema(_parse_header(first).kind)
    episodes = tuple(schema.validate_json(f"[{','.join(rows)}]", strict=True))
    as_written = hashlib.sha256("".join(f"{row}\n" for row in (first, *rows)).encode()).hexdigest()
    manifest = Manifest(entries, episodes, images)
    if manifest.sha256 != as_written:  # in other words than ours, which may hold a key twice
        for row in rows:
            parse_json(row)
    return _Content(manifest, stated, as_written, images_altered)


@lru_cache(maxsize=64)
def _parse_header(line: str) -> Header:
    """Return the header that a line holds; raises ValueError of others."""
    return Header.model_validate(parse_json(line))


@cache
def _episode_schema(kind: str | None) -> Any:
    """Return what checks and makes the episodes of a manifest of `kind`."""
    episodes: Any = list[EPISODE_TYPES.get(kind, Episode)]  # type: ignore[misc]
    return TypeAdapter(episodes)


def read_header(path: Path, sha256: str) -> Header:
    """Return the header of a manifest's file without reading its episodes; raises RecordError as `read_manifest`."""
    try:
        lines, _, _ = read_bytes(path, "manifest").rstrip(b"\n").rpartition(b"\n")
        if hashlib.sha256(lines + b"\n").hexdigest() == sha256:
            return _parse_header(lines.partition(b"\n")[0].decode("utf-8-sig"))
    except (OSError, ValueError):
        pass
    return read_manifest(path, sha256).header  # which says what is wrong with it
