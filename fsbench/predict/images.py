"""The images to segment: found in folders, and decoded ahead of their prediction."""

import hashlib
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple, TypeVar

import cv2
import numpy as np
import torch

from fsbench.base.errors import DataError, SettingsError
from fsbench.base.files import is_file, is_folder
from fsbench.base.terminal import print_note
from fsbench.data.image_io import read_upright
from fsbench.data.labelled.photos import SUFFIXES, UNREAD_PICTURES, walk_folders
from fsbench.data.transforms import RESIZES
from fsbench.data.warping import resize_by_opencv
from fsbench.predict.scans import check_no_scan, check_no_scans

PREVIEW = 1600
"""Longest side of an overlay in pixels."""

T = TypeVar("T")
R = TypeVar("R")


class QueryImage(NamedTuple):
    """Image to segment; `name` is its path below the query folder, with forward slashes."""

    name: str
    path: Path


@dataclass(frozen=True)
class LoadedImage:
    """Decoded and resized image, ready for a method.

    Attributes:
        name: The image's path below the query folder, with forward slashes.
        pixels: (3, S, S) tensor, uint8 or float32 by the rule for resizing: the image at the method's input side S.
        size: Height and width before resizing.
        preview: (h, w, 3) uint8, the image for display, at most `PREVIEW` pixels wide and high.
        whole: (H, W, 3) uint8, the image before resizing, if it is predicted in tiles; None otherwise.
        digest: `pixels_digest` of the image before resizing; "" unless a labelled image has its size.
    """

    name: str
    pixels: torch.Tensor
    size: tuple[int, int]
    preview: np.ndarray
    whole: np.ndarray | None = None
    digest: str = ""


def find_images(queries: Sequence[Path], out: Path | None = None, refused: list[str] | None = None) -> list[QueryImage]:
    """Find the images in folders (searched recursively) and among single files, sorted by name.

    Hidden files and folders are skipped. A note counts the pictures in folders that fsbench does not read.

    Args:
        queries: Folders, or image files.
        out: The folder of the results, which is skipped.
        refused: List to which messages about unreadable folders are appended; None raises DataError for such a folder.

    Raises:
        SettingsError: a path does not exist or is a medical scan, `out` contains a folder of `queries`, or two images
            have the same name.
        DataError: no image is found, or a folder cannot be read.
    """
    paths: dict[str, Path] = {}
    others: Counter[str] = Counter()
    for query in queries:
        if not (is_file(query) or is_folder(query)):
            raise SettingsError(f"{query} does not exist; expected a folder of photos, or a photo")
        check_no_scan(query)
        folder = query.parent if is_file(query) else query
        if out is not None and folder.resolve().is_relative_to(out.resolve()):
            raise SettingsError(
                f"--out {out} is or holds the folder {folder} of --query, so that results would be taken for photos; "
                "choose another folder, e.g. a new one below it"
            )
        for name, path in [(query.name, query)] if is_file(query) else _images_below(query, out, refused, others):
            if name in paths:
                raise SettingsError(f"{paths[name]} and {path} would have the same name; give the folder above both")
            paths[name] = path
    if others:
        found = ", ".join(f"{number} {suffix}" for suffix, number in sorted(others.items()))
        print_note(f"left out of the photos: {found}, which are not read; fsbench data convert makes PNGs of them")
    if not paths:
        check_no_scans(queries, ())
        raise DataError(
            f"there is no photo in {', '.join(map(str, queries))}; expected files that end with {', '.join(SUFFIXES)}"
        )
    return [QueryImage(name, paths[name]) for name in sorted(paths)]


def _images_below(
    folder: Path, skip: Path | None, refused: list[str] | None, others: Counter[str]
) -> Iterator[tuple[str, Path]]:
    """Yield (name relative to `folder`, path) of every visible image outside `skip`; count pictures that are not read
    in `others`, by suffix."""
    skipped = None if skip is None else skip.resolve()
    for parent, folders, files in walk_folders(folder, refused):
        folders[:] = [name for name in folders if (parent / name).resolve() != skipped]
        for file in files:
            if file.lower().endswith(SUFFIXES):
                yield (parent / file).relative_to(folder).as_posix(), parent / file
            elif file.lower().endswith(UNREAD_PICTURES):
                others[next(suffix for suffix in UNREAD_PICTURES if file.lower().endswith(suffix))] += 1


def pixels_digest(pixels: np.ndarray) -> str:
    """Return the sha256 (hexadecimal) of an array's values in C order, whatever its strides; it may be read-only."""
    return hashlib.sha256(pixels.tobytes()).hexdigest()


def load_image(
    pixels: np.ndarray, side: int, resize: str, name: str = "photo", tile_side: int | None = None
) -> LoadedImage:
    """Resize decoded pixels (H, W, 3) uint8 to a square image for a method.

    Args:
        pixels: The decoded image.
        side: Side of the square in pixels.
        resize: Name of the rule for resizing, a key of `RESIZES`.
        name: Name that the loaded image gets.
        tile_side: Side of the tiles in which larger images are predicted, in pixels; None for no tiles.
    """
    height, width = pixels.shape[:2]
    preview, longest = pixels, max(height, width)
    if longest > PREVIEW:
        size = (max(1, height * PREVIEW // longest), max(1, width * PREVIEW // longest))
        preview = resize_by_opencv(pixels, *size, cv2.INTER_AREA)
    whole = pixels if tile_side is not None and longest > tile_side else None
    return LoadedImage(name, RESIZES[resize][0](pixels, side), (height, width), preview, whole)


def read_image_file(
    image: QueryImage, side: int, resize: str, tile_side: int | None, labelled: Collection[tuple[int, ...]]
) -> LoadedImage | DataError:
    """Decode an image file and resize it (see `load_image`); return a DataError if it cannot be read.

    `labelled` are the sizes (H, W) of labelled images: the loaded image has a digest if it has one of them.
    """
    try:
        image.name.encode()
        pixels = read_upright(image.path)[0]
        digest = pixels_digest(pixels) if pixels.shape[:2] in labelled else ""
        return replace(load_image(pixels, side, resize, image.name, tile_side), digest=digest)
    except DataError as error:
        return error
    except UnicodeEncodeError:
        return DataError(f"photo {image.name!a} has a name that is not UTF-8; rename it")
    except OSError as error:  # no permission, or removed in the meantime
        return DataError(f"photo {image.path} cannot be read ({error.strerror}); check the file")


def prefetch_map(work: Callable[[T], R], items: Iterable[T], threads: int) -> Iterator[R]:
    """Yield `work(item)` for every item in order, computed ahead in `threads` threads.

    At most `threads` + 1 results are kept ahead of the consumer, which bounds the memory that images take. An exception
    in `work` is raised in place of the result. When the consumer stops early, no more items are started.
    """
    pool = ThreadPoolExecutor(threads)
    waiting: deque[Future[R]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) > threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(cancel_futures=True)
