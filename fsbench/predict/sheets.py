"""The predictions of a folder as one COCO file and one table, written from the journal line by line."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fsbench.files import replacing

Entries = Callable[[], Iterable[dict[str, Any]]]
"""A journal's entries, read anew with each call."""


def write_coco(path: Path, entries: Entries, classes: Sequence[str], description: str) -> None:
    """COCO's format: an annotation for every class that has pixels in a photo, its mask run-length encoded, with the
    class's `score` and whether it is said to be `present`. Category ids are the numbers in the label PNGs."""
    categories = [{"id": number, "name": name, "supercategory": ""} for number, name in enumerate(classes, 1)]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(f'{{"info": {json.dumps({"description": description})},\n"licenses": [],\n')
        file.write(f'"categories": {json.dumps(categories, ensure_ascii=False)},\n')
        file.write(f'"images": [\n{_joined(_image(number, e) for number, e in enumerate(entries(), 1))}')
        file.write('],\n"annotations": [\n')
        first = True
        for annotation in _annotations(entries()):
            file.write(("" if first else ",\n") + json.dumps(annotation))
            first = False
        file.write("\n]}\n")


def _joined(items: Iterator[dict[str, Any]]) -> str:
    return ",\n".join(json.dumps(item, ensure_ascii=False) for item in items) + "\n"


def _image(number: int, entry: dict[str, Any]) -> dict[str, Any]:
    return {"id": number, "file_name": entry["photo"], "height": entry["height"], "width": entry["width"]}


def _annotations(entries: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    number = 0
    for image, entry in enumerate(entries, 1):
        for found in entry["classes"]:
            if found["pixels"]:
                number += 1
                yield {
                    "id": number,
                    "image_id": image,
                    "category_id": found["number"],
                    "segmentation": {"size": [entry["height"], entry["width"]], "counts": found["counts"]},
                    "area": found["pixels"],
                    "bbox": found["bbox"],
                    "iscrowd": 0,
                    "score": found["score"],
                    "present": found["present"],
                }


def write_scores(path: Path, entries: Entries) -> None:
    """A line for every photo and class: whether it is there, its score, and its pixels. Names that a spreadsheet would
    take as a formula get an apostrophe in front."""
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["photo", "class", "present", "score", "pixels", "share"])
        for entry in entries():
            for found in entry["classes"]:
                share = found["pixels"] / (entry["height"] * entry["width"])
                said = "present" if found["present"] else "not present"
                writer.writerow(
                    [
                        *map(_plain, (entry["photo"], found["name"])),
                        said,
                        f"{found['score']:.6f}",
                        found["pixels"],
                        f"{share:.6f}",
                    ]
                )


def _plain(name: str) -> str:
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name
