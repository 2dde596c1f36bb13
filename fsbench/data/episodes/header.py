"""The header of a manifest, which may come from anybody, as a type."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from fsbench.base.errors import RecordError
from fsbench.base.files.validation import first_problem

Count = Annotated[int, Field(ge=0, lt=2**53)]
Name = Annotated[str, Field(max_length=1000)]
Classes = Literal["novel", "base", "held_out", "all"]
"""Classes of the episodes, see `fsbench.data.episodes.task.EpisodeTask`; "all" in classification."""


class Header(BaseModel):
    """First line of a manifest: the test that its episodes are of.

    Attributes:
        kind: "classification", or None of masks.
        protocol, version: the published test.
        dataset, fold, folds: data set, fold of the novel classes, and number of folds.
        way, shot, setting: N, K, and one of `fsbench.data.episodes.settings.SETTINGS`.
        classes: classes of the episodes.
        empty: queries may show none of their episode's classes.
        seed: of the episodes; None where every episode is seeded with its own index.
        lists: origin of the lists of images in words, "official" first where they are.
        lists_sha256, all_lists_sha256: hashes of the fold's lists and of those of every fold.
        dropped_classes: classes that were left out for want of images.
        drop_small: such classes may be left out.
        all_classes: every episode is about all of `class_ids`, whatever `way` is.
        requested, official_episodes, episodes: numbers of episodes that were asked for, that the protocol has, and
            that there are.
        class_ids: classes that the mean IoU averages over.
        class_names: number of a class, as text -> its name.
        queries: in classification, the queries of each class.
        min_class_size: in classification, entries up to which the images of a smaller class are repeated.
        filled_classes, small_classes: in classification, number of classes that are repeated, and of those that have
            fewer images than the authors' program repeats up to.
        draws: draws of the supports for every query; the episodes of draw 0 come first.
        official_sha256: hash of the manifest of draw 0 alone, where there are several.
        nested_in: number of shots that were drawn, of which an episode has the first `shot`; None where `shot` were.
        calibration_ids: base classes of the episodes that calibrate (`Episode.calibrates`); empty without any.
        calibration_images: images that these are drawn from in words.
        selection: name of a choice of episodes and hash of the manifest that they were chosen from.
    """

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)

    kind: Literal["classification"] | None = None
    protocol: Name
    version: int | Name
    dataset: Name
    fold: Count
    folds: Count
    way: Count
    shot: Count
    setting: Name
    classes: Classes
    empty: bool
    seed: int | None
    lists: Name
    lists_sha256: Name | None = None
    all_lists_sha256: Name | None
    dropped_classes: list[Count]
    drop_small: bool = False
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
    draws: Annotated[int, Field(ge=1, lt=2**31)] = 1
    official_sha256: Name | None = None
    nested_in: Count | None = None
    calibration_ids: list[Count] = []
    calibration_images: Name | None = None
    selection: dict[str, Any] | None = None

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

    @property
    def protocol_entries(self) -> Mapping[str, Any]:
        """Entries that a protocol has besides these, by their names and unchecked."""
        return self.model_extra or {}


def check_header(entries: Any, path: Path) -> Header:
    """Return the header that the first line of the manifest `path` holds.

    Raises:
        RecordError: an entry is not there, or has another type or range.
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
