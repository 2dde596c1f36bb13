"""Write the predictions of a folder as one COCO file and one CSV table, streamed from the journal."""

import csv
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fsbench.base.files import replacing

ReadEntries = Callable[[], Iterable[dict[str, Any]]]
"""Reads the journal's entries, from the start with each call."""


def write_coco(path: Path, read_entries: ReadEntries, classes: Sequence[str], description: str) -> None:
    """Write COCO's instances format: one annotation for every object, or, where the method finds no single objects, for
    every class that has pixels in an image.

    Masks are run-length encoded. Beside COCO's keys an annotation has the `score` of the object; or the class's, and
    whether it is `present`, if such scores were seen to tell images with the class from others.
    Category ids are the numbers in the label PNGs.
    """
    categories = [{"id": number, "name": name, "supercategory": ""} for number, name in enumerate(classes, 1)]
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.write(f'{{"info": {json.dumps({"description": description})},\n"licenses": [],\n')
        file.write(f'"categories": {json.dumps(categories, ensure_ascii=False)},\n')
        images = (_image(number, entry) for number, entry in enumerate(read_entries(), 1))
        file.write(f'"images": [\n{_join(images)}')
        file.write('],\n"annotations": [\n')
        first = True
        for annotation in _annotations(read_entries()):
            file.write(("" if first else ",\n") + json.dumps(annotation))
            first = False
        file.write("\n]}\n")


def _join(items: Iterator[dict[str, Any]]) -> str:
    return ",\n".join(json.dumps(item, ensure_ascii=False) for item in items) + "\n"


def _image(number: int, entry: dict[str, Any]) -> dict[str, Any]:
    return {"id": number, "file_name": entry["photo"], "height": entry["height"], "width": entry["width"]}


def _annotations(entries: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    number = 0
    for image_id, entry in enumerate(entries, 1):
        for presence in entry["classes"]:
            if not presence["pixels"]:
                continue
            objects = [one for one in entry.get("instances") or () if one["number"] == presence["number"]]
            for shown in objects or [presence]:
                number += 1
                said = {"present": presence["present"]} if presence["tells"] else {}
                if objects or presence["tells"]:
                    said["score"] = shown["score"]
                yield {
                    "id": number,
                    "image_id": image_id,
                    "category_id": presence["number"],
                    "segmentation": {"size": [entry["height"], entry["width"]], "counts": shown["counts"]},
                    "area": shown["pixels"],
                    "bbox": shown["bbox"],
                    "iscrowd": 0,
                    **said,
                }


def write_scores(path: Path, read_entries: ReadEntries) -> None:
    """Write a CSV line for every image and class: presence, score, pixels, and their share of the image.

    Presence and score are empty where such scores were not seen to tell images with the class from others.
    Names that a spreadsheet would take for a formula get an apostrophe in front.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["photo", "class", "present", "score", "pixels", "share"])
        for entry in read_entries():
            for presence in entry["classes"]:
                share = presence["pixels"] / (entry["height"] * entry["width"])
                said = ["present" if presence["present"] else "not present", f"{presence['score']:.6f}"]
                names = [_no_formula(entry["photo"]), _no_formula(presence["name"])]
                told = said if presence["tells"] else ["", ""]
                writer.writerow([*names, *told, presence["pixels"], f"{share:.6f}"])


def _no_formula(name: str) -> str:
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name
