"""Labelled photos as people have them: a photo and its mask, a LabelMe file, a COCO annotation file."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from datamodules.coco_json import read_instances
from datamodules.label_maps import check_sizes
from datamodules.labelme import labelme_photo, paint_labelme
from datamodules.mask_files import HALF, is_smoothed, read_mask
from datamodules.photos import read_photo, turned
from fsbench.annotations import VOID
from fsbench.errors import DataError, SettingsError
from fsbench.files import sha256_file
from fsbench.predict.support import Support

FORMS = "[name=]photo:mask.png, photo:labelme.json, labelme.json or coco.json"
Named = tuple[str, Path | None, Path]
"""Name of the class, if any; photo, if the file does not say; mask or JSON file."""


def read_supports(
    given: Sequence[str | Named], classes: str = "", root: Path | None = None
) -> tuple[list[Support], list[str]]:
    """The supports that the command line names, each like one of `FORMS`, and remarks for the user.

    Args:
        given: texts of these forms, or what they mean.
        classes: "1=cat,2=dog" names the numbers of label maps (others are no classes); "cat,dog" chooses among the
            classes that have names.
        root: folder of the photos of JSON files, instead of the file's own.

    Raises SettingsError for texts that name no files and for classes that there are not, DataError for unusable files.
    """
    numbered, wanted = _parsed(classes)
    supports, notes = [], []
    for one in given:
        for support, note in _read(_split(one) if isinstance(one, str) else one, numbered, wanted, root):
            supports.append(support)
            notes += [note] if note else []
    there = {name for support in supports for name in support.classes.values()}
    for name in [*wanted, *numbered.values()]:
        if name not in there:
            raise SettingsError(f"no support shows the class '{name}' of --classes; there are: {_listed(there)}")
    return supports, notes


def labelled(
    photo: Path, labels: np.ndarray, classes: dict[int, str], source: Path | None = None
) -> tuple[Support, str]:
    """The photo with its label map (H, W), drawn on the picture as a viewer shows it or as it is stored: whichever has
    its size. The remark says where both have. Raises DataError where none has, and for a class without a pixel."""
    pixels, orientation = read_photo(photo)
    note = ""
    if labels.shape != pixels.shape[:2] and turned(labels, orientation).shape == pixels.shape[:2]:
        labels = turned(labels, orientation)
    elif orientation != 1 and turned(labels, orientation).shape == labels.shape:
        note = f"{photo} is turned by its EXIF entry; its mask is taken as drawn on the turned picture"
    check_sizes(photo, pixels, labels, source)
    return Support(str(photo), pixels, labels, classes), note


def _parsed(classes: str) -> tuple[dict[int, str], list[str]]:
    words = [word.strip() for word in classes.split(",") if word.strip()]
    if not any("=" in word for word in words):
        return {}, words
    try:
        pairs = [(int(number), name.strip()) for number, name in (word.split("=") for word in words)]
    except ValueError:
        pairs = []
    names = [name for _, name in pairs]
    if not pairs or not all(0 < number < VOID and name for number, name in pairs) or len(set(names)) < len(names):
        raise SettingsError(f"--classes is '{classes}', expected numbers from 1 to 254 and names, e.g. 1=cat,2=dog")
    return dict(pairs), []


def _read(
    named: Named, numbered: dict[int, str], wanted: Sequence[str], root: Path | None
) -> Iterator[tuple[Support, str]]:
    name, photo, file = named
    if file.suffix.lower() == ".json":
        if name:
            raise SettingsError(
                f"--support {name}={photo}:{file} names a class, but the labels in {file} do; leave out '{name}='"
            )
        content = _json(file)
        if "shapes" in content:
            labels, names, passed = paint_labelme(content, file)
            if not names:
                raise DataError(
                    f"{file} has no shape with an area; expected at least one polygon, rectangle, circle or mask"
                )
            chosen = _chosen(names, wanted)
            if chosen:
                support, note = labelled(photo or labelme_photo(content, file, root), labels, chosen, file)
                yield support, "; ".join(filter(None, (passed, note)))
        else:
            yield from _coco(file, content, wanted, root or file.parent)
        return
    assert photo is not None
    labels = read_mask(file)
    note = ""
    if not numbered and is_smoothed(file, labels):
        if not name:
            raise DataError(
                f"mask {file} has {len(np.unique(labels))} grey levels, as smoothed edges have; name its one class "
                "(name=photo:mask), or its numbers with --classes"
            )
        labels = (labels >= HALF).astype(np.uint8)
        note = f"the edges of mask {file} are smoothed; what is at least half white ({HALF}) is taken"
    values = [value for value in np.unique(labels).tolist() if value not in (0, VOID)]
    if not values:
        void = " but void (255)" if (labels == VOID).any() else ""
        raise DataError(
            f"mask {file} marks nothing{void}; expected white, or class numbers from 1, where the object is"
        )
    if name and len(values) > 1:
        raise DataError(
            f"mask {file} has the numbers {_listed(values)}, but one class was named ({name}); name them with "
            f"--classes {values[0]}={name},{values[1]}=… and leave out '{name}='"
        )
    classes = {value: name or numbered.get(value, "" if numbered else f"class {value}") for value in values}
    classes = {value: name for value, name in classes.items() if name}
    if not classes:
        raise DataError(f"mask {file} has the numbers {_listed(values)}, none of which --classes names; name one")
    chosen = _chosen(classes, wanted)
    if chosen:
        support, turned_note = labelled(photo, labels, chosen, file)
        yield support, "; ".join(filter(None, (note, turned_note)))


def _chosen(classes: dict[int, str], wanted: Sequence[str]) -> dict[int, str]:
    return {value: name for value, name in classes.items() if not wanted or name in wanted}


def _split(text: str) -> Named:
    """Name, photo and mask. Paths may hold "=" and ":" themselves: what exists decides."""
    prefix, equals, rest = text.partition("=")
    readings = [("", text)] + ([(prefix.strip(), rest)] if equals and prefix.strip() else [])
    for name, paths in readings:
        if not name and paths.lower().endswith(".json") and Path(paths).is_file():
            return name, None, Path(paths)
        for at in (i for i, letter in enumerate(paths) if letter == ":"):
            photo, file = Path(paths[:at]).expanduser(), Path(paths[at + 1 :]).expanduser()
            if photo.is_file() and file.is_file():
                return name, photo, file
    name, paths = readings[-1]
    photo_text, colon, mask_text = paths.rpartition(":")
    absent = [path for path in ((photo_text, mask_text) if colon else (paths,)) if not Path(path).is_file()]
    if colon or paths.lower().endswith(".json"):
        raise SettingsError(f"--support {text}: there is no file {' and no file '.join(absent)}; correct the path")
    raise SettingsError(f"--support {text} names no mask; expected {FORMS}")


def _json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no JSON file ({error}); expected LabelMe's or COCO's") from error
    if not isinstance(content, dict) or not ("shapes" in content or "annotations" in content):
        raise DataError(f"{path} has neither shapes nor annotations; expected LabelMe's or COCO's JSON")
    return content


def _coco(path: Path, content: dict[str, Any], wanted: Sequence[str], root: Path) -> Iterator[tuple[Support, str]]:
    """Every photo of the file that has an object."""
    try:
        ordered = sorted(content["categories"], key=lambda category: category["id"])
        names = [str(category["name"]) for category in ordered]
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} has no categories with id and name; expected COCO's instances") from error
    if len(names) >= VOID:
        raise DataError(f"{path} has {len(names)} categories, expected at most {VOID - 1}; leave some out")
    instances = read_instances(path, sha256_file(path), names)
    for file_name in instances.file_names:
        labels = instances.paint(file_name)
        found = {int(number): names[number - 1] for number in np.unique(labels) if number}
        chosen = _chosen(found, wanted)
        if chosen:
            yield labelled(root / file_name, labels, chosen, path)


def _listed(items: Any) -> str:
    words = [str(item) for item in sorted(items)]
    return ", ".join(words[:8]) + (" …" if len(words) > 8 else "") or "none"
