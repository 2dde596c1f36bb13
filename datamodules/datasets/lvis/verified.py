"""LVIS's own file of its validation part: of which categories the annotators made sure (Gupta et al. 2019, §3)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from fsbench.data.source import missing
from fsbench.errors import DataError
from fsbench.files import read_json

FILE = "lvis_v1_val.json"
_FORM = "LVIS's own file: {'images': [{'coco_url', 'neg_category_ids', 'not_exhaustive_category_ids'}, …]}"


class Verified(NamedTuple):
    """Categories of a photo: those that it surely lacks, and those of which not every object is annotated.

    Of a category that is neither among them nor annotated nothing is known.
    """

    absent: frozenset[int] = frozenset()
    not_exhaustive: frozenset[int] = frozenset()


def read_verified(path: Path) -> dict[str, Verified]:
    """Read what is known of each photo, by its name `val2017/….jpg`.

    Raises:
        DataError: there is no such file, or it is of another form.
    """
    try:
        content = read_json(path, "annotations", object_hook=_without_object)
        return {"/".join(image["coco_url"].split("/")[-2:]): _verified(image) for image in content["images"]}
    except FileNotFoundError:
        raise missing(
            f"{path} does not exist; expected {_FORM}, without which no absence is known",
            __package__,
        ) from None
    except OSError as error:
        raise DataError(f"{path} cannot be read ({error.strerror}); expected {_FORM}; check the file") from error
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise missing(f"{path} is of another version ({error}); expected {_FORM}", __package__) from error


def _verified(image: Mapping[str, Any]) -> Verified:
    absent, not_exhaustive = (
        frozenset(map(int, image[name])) for name in ("neg_category_ids", "not_exhaustive_category_ids")
    )
    return Verified(absent - not_exhaustive, not_exhaustive)


def _without_object(entry: dict[str, Any]) -> Any:
    """Drop an annotated object while the file is parsed: a quarter of a million masks are not needed."""
    return None if "segmentation" in entry else entry
