"""Write label maps as LabelMe files, which are corrected in LabelMe and read again as supports, pixel by pixel."""

import base64
import hashlib
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
from PIL import Image

from fsbench.base.files import is_file, parse_json, read_bytes, replacing
from fsbench.data.dataset import VOID
from fsbench.data.painting import fill_outline

VERSION = "5.5.0"
"""Version of LabelMe whose form is written; LabelMe has read masks since 5.2."""
Kind = Literal["predicted", "labelled"]
VOID_LABEL = "__ignore__"
MARK = "fsbench"
"""First key of a file that fsbench wrote: "predicted" or "labelled", and the sha256 of the rest. LabelMe keeps the key
when it saves the file, which then has other content."""


def write_labelme(path: Path, labels: np.ndarray, names: Mapping[int, str], photo: Path, kind: Kind) -> bool:
    """Write a label map to a LabelMe file; return False if a file is there that fsbench did not write as it is now.

    Such a file stays as it is. A label map without a class or void gets no file, and an old one of fsbench is removed.

    Args:
        path: The LabelMe file.
        labels: (H, W) uint8, 0 background, 255 void, any other value a class.
        names: {number: class name}.
        photo: The image, upright as large as `labels`.
        kind: Whether the labels were predicted, or are the user's own.
    """
    if path.exists() and not kind_as_written(path):
        return False
    shapes = [
        shape
        for number, name in (*names.items(), (VOID, VOID_LABEL))
        for shape in _shapes(labels == number, name)
    ]  # fmt: skip
    if not shapes:
        path.unlink(missing_ok=True)
        return True
    path.parent.mkdir(parents=True, exist_ok=True)
    place = os.path.relpath(photo.parent.resolve() / photo.name, path.parent.resolve())
    content = {
        "version": VERSION,
        "flags": {},
        "shapes": shapes,
        "imagePath": place.replace(os.sep, "/"),
        "imageData": None,
        "imageHeight": labels.shape[0],
        "imageWidth": labels.shape[1],
    }
    with replacing(path) as temporary:
        temporary.write_text(
            json.dumps({MARK: f"{kind} {_digest(content)}", **content}, ensure_ascii=False), encoding="utf-8"
        )
    return True


def kind_as_written(path: Path) -> str:
    """Return "predicted" or "labelled" for a LabelMe file that is as fsbench wrote it, and "" for any other file."""
    text = read_bytes(path, "annotations") if is_file(path) else b""
    if not text.startswith(f'{{"{MARK}":'.encode()):
        return ""
    try:
        content = parse_json(text)
        kind, digest = content.pop(MARK).split()
    except (ValueError, AttributeError, RecursionError):
        return ""
    return kind if digest == _digest(content) else ""


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _shapes(mask: np.ndarray, name: str) -> Iterator[dict[str, Any]]:
    """Yield LabelMe's shapes that together are a mask (H, W) bool.

    A part without holes is a polygon, which can be corrected corner by corner. What no polygon gives exactly (parts
    with holes, lines, single pixels) is one mask.
    """
    rest = mask.astype(np.uint8)
    for outline in cv2.findContours(rest, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)[0]:
        points, (x, y, width, height) = outline[:, 0], cv2.boundingRect(outline)
        part = np.zeros((height, width), np.uint8)
        fill_outline(part, points - (x, y), 1)
        place = np.s_[y : y + height, x : x + width]
        if cv2.contourArea(outline) > 1 and not (part > rest[place]).any():
            rest[place] -= part
            yield _shape(name, "polygon", points.tolist(), None)
    if rest.any():
        x, y, width, height = cv2.boundingRect(rest)
        file = io.BytesIO()
        Image.fromarray(rest[y : y + height, x : x + width] > 0).save(file, "PNG")
        mask_png = base64.b64encode(file.getvalue()).decode("ascii")
        yield _shape(name, "mask", [[x, y], [x + width - 1, y + height - 1]], mask_png)


def _shape(name: str, kind: str, points: list[list[int]], mask: str | None) -> dict[str, Any]:
    return {
        "label": name,
        "points": points,
        "group_id": None,
        "description": "",
        "shape_type": kind,
        "flags": {},
        "mask": mask,
    }
