"""Truth and images of a study's episodes, from its data set."""

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from fsbench.base.errors import FsbenchError, describe, user_message
from fsbench.data.dataset import VOID
from fsbench.data.label_maps import resize_labels, way_labels
from fsbench.data.rle import encode_ways
from fsbench.pages.report.explorer.files import FOLDER
from fsbench.records.record import Record
from fsbench.results.pictures.tiles import fit_image
from fsbench.runner.config.shared_parts import SharedParts

if TYPE_CHECKING:
    from fsbench.data.dataset import SegmentationData
    from fsbench.data.episodes.episode import Episode

QUALITY = 82
"""Quality of JPEG files."""


def open_data(runs: Iterable[Record], place: str, missing: list[str], shared: SharedParts) -> "SegmentationData | None":
    """Open the data set of `runs`, or take it from `shared`; if there is none, return None and say so in `missing`."""
    reason = "there is no config.yaml beside the records"
    for record in runs:
        if not (record.path / "config.yaml").is_file():
            continue
        try:
            from fsbench.runner.engine.stored_data import (
                open_dataset,
            )  # with the parts of data sets, which pages without images spare

            return open_dataset(record, shared=shared)
        except FsbenchError as error:
            reason = user_message(error).splitlines()[0]
        except Exception as error:  # a class that cannot be imported, a damaged index
            reason = describe(error)
    missing.append(f"No truth and no images of {place}: {reason}.")
    return None


def open_support_labels(
    record: Record, place: str, missing: list[str], shared: SharedParts
) -> "Callable[[Episode], list[list[np.ndarray]]] | None":
    """Return a function from an episode to its support labels, as the run's method got them.

    The function returns (h, w) label maps as [way][shot]. None is returned if the data are missing; a sentence that
    says so is then added to `missing`.
    """
    try:
        from fsbench.runner.engine.stored_data import SupportLabels

        return SupportLabels(record, shared)
    except FsbenchError as error:
        missing.append(f"No labels of the supports of {place}: {user_message(error).splitlines()[0]}.")
    except Exception as error:
        missing.append(f"No labels of the supports of {place}: {describe(error)}.")
    return None


class Truth:
    """True masks of episodes as COCO run lengths, in the form that the explorer (page of single episodes) reads.

    Args:
        data: Data set from which the masks are read.
        side: Length of the longer side of a support's mask, in pixels.
    """

    def __init__(self, data: "SegmentationData", side: int):
        self.data = data
        self.side = side
        self._supports: dict[tuple[str, int], list[Any]] = {}

    def query(self, episode: "Episode", size: tuple[int, int] | None) -> list[Any]:
        """Return [height, width, run lengths of each way, run lengths of void] of the query's true masks.

        Args:
            episode: The episode.
            size: Height and width at which predictions were counted; None: the image's own.
        """
        slots = way_labels(self.data.label_map(episode.query), self.data.label_values(episode.query, episode.classes))
        if size is not None:
            slots = resize_labels(slots, *size)
        ways = len(episode.classes)
        slots = np.where(slots == 255, ways + 1, slots)
        *masks, void = encode_ways(slots, ways + 1)
        return [*slots.shape, masks, void]

    def supports(self, episode: "Episode") -> list[list[list[Any]]]:
        """Return [height, width, run lengths of the mask, run lengths of void] for each support, as [way][shot]."""
        pairs = zip(episode.classes, episode.supports, strict=True)
        return [[self._support(name, number) for name in names] for number, names in pairs]

    def _support(self, name: str, number: int) -> list[Any]:
        if (name, number) not in self._supports:  # images are supports in several episodes
            slots = way_labels(self.data.label_map(name), self.data.label_values(name, [number]))
            self._supports[name, number] = support_runs(np.where(slots == 1, np.uint8(1), np.uint8(0)), self.side)
        return self._supports[name, number]


def support_runs(labels: np.ndarray, side: int) -> list[Any]:
    """Return [height, width, run lengths of label 1, run lengths of void] of a label map after resizing.

    Args:
        labels: (h, w), 1 labelled and 255 void.
        side: largest length of the longer side after resizing, in pixels.
    """
    height, width = labels.shape
    scale = min(1.0, side / max(height, width))
    fitted = resize_labels(labels, max(1, round(height * scale)), max(1, round(width * scale)))
    return [*fitted.shape, *encode_ways(np.where(fitted == VOID, 2, fitted), 2)]


class ImageFiles:
    """Writes images as small JPEG files, as long as their total size is below a limit.

    Args:
        folder: Folder of the study's pages, to which the files are written.
        side: Length of the longer side of the images, in pixels.
    """

    def __init__(self, folder: Path, side: int):
        self.folder = folder / FOLDER
        self.side = side
        self.left = 0
        self.written: set[int] = set()
        self.is_full = False

    def allow(self, size: int) -> None:
        """Raise the limit on the total size by `size` bytes."""
        self.left += size
        self.is_full = False

    def write(self, data: "SegmentationData", names: Mapping[int, str]) -> None:
        """Write the images `names`, {number: image name}, as NUMBER.jpg, unless they exist already."""
        from fsbench.data.image_io import image_pixels  # cv2, which a report without images spares

        self.folder.mkdir(exist_ok=True)
        for number, name in names.items():
            if number in self.written or self.is_full:
                continue
            pixels = image_pixels(data, name)
            if max(pixels.shape) > self.side:
                pixels = fit_image(pixels, (self.side, self.side))
            path = self.folder / f"{number}.jpg"
            Image.fromarray(pixels).save(path, quality=QUALITY)
            size = path.stat().st_size
            if size > self.left:
                path.unlink()
                self.is_full = True
            else:
                self.left -= size
                self.written.add(number)
