"""The objects of a COCO annotation file as compact arrays, and label maps painted from them (fscs-protocol §2.2)."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from fsbench.base.errors import DataError
from fsbench.base.files import parse_json, sha256_file
from fsbench.base.progress import hides_bar
from fsbench.data.disk_cache import load_arrays, save_arrays
from fsbench.data.painting import fill_outline
from fsbench.data.rle import decode_rle

_FORMAT = "instances-3"
"""To be changed with the meaning of the arrays, so that older files are not used."""


@dataclass(frozen=True)
class CocoInstances:
    """Objects of all images in a COCO annotation file, as flat arrays; of crowds, only the classes.

    Attributes:
        path: the file.
        sha256: checksum of the file.
        file_names: M image file names, ascending.
        sizes: (M, 2) int32, height and width of each image.
        starts: (M + 1,) int64; image m has the objects starts[m] to starts[m + 1], by ascending annotation id.
        classes: (J,) uint8, class number of every object: the rank of its category id, from 1.
        polygon_starts: (J + 1,) int64; object j has the polygons polygon_starts[j] to polygon_starts[j + 1].
        vertex_starts: (Q + 1,) int64; polygon q has the vertices vertex_starts[q] to vertex_starts[q + 1].
        vertices: (V, 2) int16, x and y, truncated toward zero.
        crowds: (C, 2) int64, image m and class number of every crowd, ascending.
        rles: {object number: run-length mask}, for the objects whose mask is given in that form.
    """

    path: Path
    sha256: str
    file_names: tuple[str, ...]
    sizes: np.ndarray
    starts: np.ndarray
    classes: np.ndarray
    polygon_starts: np.ndarray
    vertex_starts: np.ndarray
    vertices: np.ndarray
    crowds: np.ndarray
    rles: dict[int, dict[str, Any]]

    @cached_property
    def rows(self) -> dict[str, int]:
        """{file name: number m of the image} for all images."""
        return {name: row for row, name in enumerate(self.file_names)}

    def annotated_classes(self, file_name: str) -> tuple[frozenset[int], frozenset[int]]:
        """Return two sets of class numbers of an image: of its objects, also covered ones, and of its crowds."""
        row = self.rows[file_name]
        first, last = np.searchsorted(self.crowds[:, 0], [row, row + 1])
        objects = self.classes[self.starts[row] : self.starts[row + 1]]
        return frozenset(objects.tolist()), frozenset(self.crowds[first:last, 1].tolist())

    def paint(self, file_name: str, first_polygon_only: bool = False) -> np.ndarray:
        """Return an image's label map (H, W) uint8: polygons filled with their boundary, later objects over earlier.

        Args:
            file_name: file name of the image.
            first_polygon_only: leave out all but the first polygon of an object; further polygons may be parts of the
                object behind another object.
        """
        row = self.rows[file_name]
        labels = np.zeros(self.sizes[row], dtype=np.uint8)
        for item in range(self.starts[row], self.starts[row + 1]):
            self._paint_object(labels, item, int(self.classes[item]), file_name, first_polygon_only)
        return labels

    def objects(self, file_name: str, number: int, first_polygon_only: bool = False) -> Iterator[np.ndarray]:
        """Yield a mask (H, W) bool for each object of a class in an image, polygons filled with their boundary.

        Args:
            file_name: file name of the image.
            number: number of the class.
            first_polygon_only: leave out all but the first polygon of an object.
        """
        row = self.rows[file_name]
        for item in range(self.starts[row], self.starts[row + 1]):
            if self.classes[item] == number:
                mask = np.zeros(self.sizes[row], dtype=np.uint8)
                self._paint_object(mask, item, 1, file_name, first_polygon_only)
                yield mask == 1

    def _paint_object(
        self, labels: np.ndarray, item: int, value: int, file_name: str, first_polygon_only: bool
    ) -> None:
        polygons = range(self.polygon_starts[item], self.polygon_starts[item + 1])
        for polygon in polygons[:1] if first_polygon_only else polygons:
            vertices = self.vertices[self.vertex_starts[polygon] : self.vertex_starts[polygon + 1]]
            fill_outline(labels, vertices, value)
        if item in self.rles:
            labels[self._decode(self.rles[item], file_name, labels.shape)] = value

    def _decode(self, rle: dict[str, Any], file_name: str, shape: tuple[int, ...]) -> np.ndarray:
        height, width = shape
        try:
            return decode_rle(rle, height, width)
        except (ValueError, TypeError) as error:
            raise DataError(
                f"annotation file {self.path} has an unusable run-length mask on {file_name} ({error}); expected one "
                f"of {height} rows and {width} columns; fetch the file again"
            ) from error


def cached_instances(path: Path, read: Callable[[Path, str], CocoInstances]) -> CocoInstances:
    """Return the objects of the annotation file `path` from the disk cache, or else from `read(path, sha256)`.

    Parsing COCO's training file takes 20 s and 1 GB of memory.
    """
    sha256 = sha256_file(path)
    saved = load_arrays(_FORMAT, sha256)
    if saved is not None:
        try:
            texts = {name: saved.pop(name).tobytes().decode() for name in ("file_names", "rles")}
            rles = {int(item): rle for item, rle in parse_json(texts["rles"]).items()}
            return CocoInstances(path, sha256, tuple(texts["file_names"].split("\n")), rles=rles, **saved)
        except (KeyError, TypeError, ValueError):
            pass  # written by another version: read the file again
    with tqdm(total=1, desc=f"Reading {path.name}", unit="file", disable=hides_bar()) as progress:
        instances = read(path, sha256)
        progress.update()
    values = {field.name: getattr(instances, field.name) for field in fields(instances)}
    arrays = {name: value for name, value in values.items() if isinstance(value, np.ndarray)}
    names, rles_text = "\n".join(instances.file_names), json.dumps(instances.rles)
    arrays |= {"file_names": _bytes(names), "rles": _bytes(rles_text)}
    save_arrays(_FORMAT, sha256, arrays)
    return instances


def _bytes(text: str) -> np.ndarray:
    return np.frombuffer(text.encode(), dtype=np.uint8)
