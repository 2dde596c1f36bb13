"""LVIS's own file of its validation part, as published: the objects of each photo, and of which categories the
annotators made sure (Gupta et al. 2019, §3)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fsbench.base.errors import DataError
from fsbench.base.files import read_json
from fsbench.data.source import missing

FILE = "lvis_v1_val.json"
_FORM = (
    "LVIS's own file: {'images': [{'id', 'coco_url', 'neg_category_ids', 'not_exhaustive_category_ids'}, …], "
    "'categories': [{'id', 'name'}, …], 'annotations': [{'id', 'image_id', 'category_id', 'segmentation'}, …]}"
)
_OF_OBJECTS = ("id", "image_id", "category_id", "segmentation")


class Verified(NamedTuple):
    """Categories of a photo: those that it surely lacks, and those of which not every object is annotated.

    Of a category that is neither among them nor annotated nothing is known.
    """

    absent: frozenset[int] = frozenset()
    not_exhaustive: frozenset[int] = frozenset()


class OwnFile(NamedTuple):
    """Content of the file.

    Attributes:
        verified: what is known of each photo, by its name `val2017/….jpg`.
        names: of the categories by their id, ascending; empty where objects were not asked for.
        categories: category id -> {photo: {'annotations': its objects of the category}}, in the order of `names`; a
            category without an object in this part has no photos.
    """

    verified: dict[str, Verified]
    names: dict[int, str]
    categories: dict[int, dict[str, dict[str, list[dict[str, Any]]]]]


def read_own_file(path: Path, objects: bool) -> OwnFile:
    """Read the file.

    Args:
        path: its place.
        objects: whether names and objects are wanted, which are a quarter of a million masks.

    Raises:
        DataError: there is no such file, or it is of another form.
    """
    try:
        content = read_json(path, "annotations", object_hook=_short_object if objects else _without_object)
        verified = {_photo(image): _verified(image) for image in content["images"]}
        if not objects:
            return OwnFile(verified, {}, {})
        photos = {image["id"]: _photo(image) for image in content["images"]}
        names = {int(one["id"]): str(one["name"]) for one in sorted(content["categories"], key=lambda one: one["id"])}
        categories: dict[int, dict[str, dict[str, list[dict[str, Any]]]]] = {key: {} for key in names}
        for one in content["annotations"]:
            images = categories[one["category_id"]]
            images.setdefault(photos[one["image_id"]], {"annotations": []})["annotations"].append(one)
        if not any(categories.values()):
            raise ValueError("it has no objects")
        return OwnFile(verified, names, categories)
    except FileNotFoundError:
        raise missing(
            f"{path} does not exist; expected {_FORM}, without which no absence is known",
            __package__,
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); expected {_FORM}; check the file") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise missing(f"{path} is of another version ({error}); expected {_FORM}", __package__) from error


def _photo(image: Mapping[str, Any]) -> str:
    """Return a photo's name `val2017/….jpg`; the number of an image does not tell its folder."""
    return "/".join(image["coco_url"].split("/")[-2:])


def _verified(image: Mapping[str, Any]) -> Verified:
    absent, not_exhaustive = (
        frozenset(map(int, image[name])) for name in ("neg_category_ids", "not_exhaustive_category_ids")
    )
    return Verified(absent - not_exhaustive, not_exhaustive)


def _short_object(entry: dict[str, Any]) -> dict[str, Any]:
    """Keep what is needed of an annotated object while the file is parsed."""
    return {name: entry[name] for name in _OF_OBJECTS} if "segmentation" in entry else entry


def _without_object(entry: dict[str, Any]) -> Any:
    """Drop an annotated object while the file is parsed."""
    return None if "segmentation" in entry else entry
