"""Read labeled images as users have them: an image with a mask, a LabelMe file, a COCO annotation file."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from fsbench.base.errors import DataError, SettingsError, did_you_mean
from fsbench.base.files import is_file, read_json, sha256_file
from fsbench.base.files.names import composed
from fsbench.data.annotation_rules import LeftOut, visible_classes
from fsbench.data.class_names import check_names
from fsbench.data.coco_json import read_instances
from fsbench.data.dataset import VOID
from fsbench.data.orientation import fit_labels, fits_both_ways, read_upright
from fsbench.data.palettes import SeenColours
from fsbench.predict.labelme import paint_labelme
from fsbench.predict.mask_files import HALF, is_smoothed, read_mask
from fsbench.predict.named_images import named_image
from fsbench.predict.support import Support

FORMS = "[name=]photo:mask.png, photo:labelme.json, labelme.json or coco.json"
SupportSpec = tuple[str, Path | None, Path]
"""Class name or ""; image, None where the file names it; mask or JSON file."""
LabeledSupport = tuple[Support, str]
"""A support and a note for the user, or ""."""


@dataclass(frozen=True)
class ClassChoice:
    """The classes that a user asked for.

    Attributes:
        by_number: Names for the numbers of label maps; if not empty, other numbers are no classes.
        names: The named classes to take; if empty, all of them.
    """

    by_number: dict[int, str] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)

    def select(self, classes: dict[int, str]) -> dict[int, str]:
        """Keep the chosen ones of a file's classes (number -> name)."""
        return {number: name for number, name in classes.items() if not self.names or name in self.names}


def read_supports(
    given: Sequence[str | SupportSpec], classes: str = "", root: Path | None = None
) -> tuple[list[Support], list[str]]:
    """Read the supports of the command line.

    Args:
        given: Texts, each one of `FORMS`, or their parsed form.
        classes: "1=cat,2=dog" names the numbers of label maps; "cat,dog" chooses among classes that have names.
        root: Folder of the images of JSON files, instead of the file's own.

    Returns:
        The supports, and notes for the user.

    Raises:
        SettingsError: a text names no files, or no support shows a class of `classes`.
        DataError: a file is unusable.
    """
    choice = parse_classes(classes)
    supports: list[Support] = []
    notes: list[str] = []
    colours: SeenColours = {}
    for one in given:
        spec = parse_support(one) if isinstance(one, str) else one
        for support, note in _read(spec, choice, root, colours, notes):
            supports.append(support)
            if note:
                notes.append(note)
    available = {name for support in supports for name in support.classes.values()}
    check_names(available, "the supports")
    for name in [*choice.names, *choice.by_number.values()]:
        if name not in available:
            near, shown = did_you_mean(name, available), _list_first(available)
            there = f"{near} There are: {shown}" if near else f"; there are: {shown}"
            raise SettingsError(f"no support shows the class '{name}' of --classes{there}")
    return supports, notes


def pair_labels(image: Path, labels: np.ndarray, classes: dict[int, str], source: Path | None = None) -> LabeledSupport:
    """Combine an image with its label map (H, W), which may be drawn on the upright or on the stored image.

    The form whose size fits is taken; where both fit, the upright one, and the note says so.

    Raises:
        DataError: the label map has neither size.
    """
    pixels, _ = read_upright(image)
    labels = fit_labels(labels, image, source)
    note = ""
    if fits_both_ways(image):
        note = f"{image} is turned by its EXIF entry; its mask is taken as drawn on the turned picture"
    return Support(str(image), pixels, labels, classes), note


def parse_classes(text: str) -> ClassChoice:
    """Parse the value of --classes: "1=cat,2=dog" or "cat,dog". Raises SettingsError for a mixture or bad numbers."""
    words = [word.strip() for word in composed(text).split(",") if word.strip()]
    if not any("=" in word for word in words):
        return ClassChoice(names=words)
    try:
        pairs = [(int(number), name.strip()) for number, name in (word.split("=") for word in words)]
    except ValueError:
        pairs = []
    valid = bool(pairs) and all(0 < number < VOID and name for number, name in pairs)
    if not valid or len({name for _, name in pairs}) < len(pairs):
        raise SettingsError(f"--classes is '{text}', expected numbers from 1 to 254 and names, e.g. 1=cat,2=dog")
    return ClassChoice(by_number=dict(pairs))


def parse_support(text: str) -> SupportSpec:
    """Split the value of --support into class name, image and mask or JSON file.

    Paths may contain "=" and ":" themselves; the reading whose files exist is taken.

    Raises:
        SettingsError: in no reading do all files exist.
    """
    prefix, equals, rest = text.partition("=")
    readings = [("", text)] + ([(prefix.strip(), rest)] if equals and prefix.strip() else [])
    for name, paths in readings:
        if not name and paths.lower().endswith(".json") and is_file(paths):
            return name, None, Path(paths)
        for at in (i for i, letter in enumerate(paths) if letter == ":"):
            image, file = Path(paths[:at]).expanduser(), Path(paths[at + 1 :]).expanduser()
            if is_file(image) and is_file(file):
                return name, image, file
    name, paths = readings[-1]
    image_text, colon, mask_text = paths.rpartition(":")
    absent = [path for path in ((image_text, mask_text) if colon else (paths,)) if not is_file(path)]
    if colon or paths.lower().endswith(".json"):
        raise SettingsError(f"--support {text}: there is no file {' and no file '.join(absent)}; correct the path")
    raise SettingsError(f"--support {text} names no mask; expected {FORMS}")


def _read(
    spec: SupportSpec, choice: ClassChoice, root: Path | None, colours: SeenColours, notes: list[str]
) -> Iterator[LabeledSupport]:
    name, image, file = spec
    name = composed(name)
    if file.suffix.lower() != ".json":
        assert image is not None
        yield from _read_mask(name, image, file, choice, colours)
        return
    if name:
        raise SettingsError(
            f"--support {name}={image}:{file} names a class, but the labels in {file} do; leave out '{name}='"
        )
    content = _read_json(file)
    if "shapes" in content:
        yield from _read_labelme(image, file, content, choice, root)
    else:
        yield from _read_coco(file, content, choice, root, notes)


def _read_mask(
    name: str, image: Path, file: Path, choice: ClassChoice, colours: SeenColours
) -> Iterator[LabeledSupport]:
    """Yield the support of an image and its mask file, unless none of its classes is chosen."""
    # a named mask has a number of its own
    labels = read_mask(file, None if name else colours, choice.by_number, is_one_class=bool(name))
    note = ""
    if not choice.by_number and is_smoothed(file, labels):
        if not name:
            raise DataError(
                f"mask {file} has {len(np.unique(labels))} grey levels, as smoothed edges have; name its one class "
                "(name=photo:mask), or its numbers with --classes"
            )
        labels = (labels >= HALF).astype(np.uint8)
        note = f"the edges of mask {file} are smoothed; what is at least half white ({HALF}) is taken"
    chosen = choice.select(_classes_of_mask(name, file, labels, choice))
    if chosen:
        support, orientation_note = pair_labels(image, labels, chosen, file)
        yield support, "; ".join(filter(None, (note, orientation_note)))


def _classes_of_mask(name: str, file: Path, labels: np.ndarray, choice: ClassChoice) -> dict[int, str]:
    """Name the class numbers of a mask. Raises DataError where it marks nothing, or nothing that has a name."""
    numbers = [number for number in np.unique(labels).tolist() if number not in (0, VOID)]
    if not numbers:
        void = " but void (255)" if (labels == VOID).any() else ""
        raise DataError(
            f"mask {file} marks nothing{void}; expected white, or class numbers from 1, where the object is"
        )
    if name and len(numbers) > 1:
        raise DataError(
            f"mask {file} has the numbers {_list_first(numbers)}, but one class was named ({name}); name them with "
            f"--classes {numbers[0]}={name},{numbers[1]}=… and leave out '{name}='"
        )
    if name:
        return {numbers[0]: name}
    if not choice.by_number:
        return {number: f"class {number}" for number in numbers}
    classes = {number: choice.by_number[number] for number in numbers if number in choice.by_number}
    if not classes:
        raise DataError(f"mask {file} has the numbers {_list_first(numbers)}, none of which --classes names; name one")
    return classes


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = read_json(path, "annotations")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no JSON file ({error}); expected LabelMe's or COCO's") from error
    if not isinstance(content, dict) or not ("shapes" in content or "annotations" in content):
        raise DataError(f"{path} has neither shapes nor annotations; expected LabelMe's or COCO's JSON")
    return content


def _read_labelme(
    image: Path | None, file: Path, content: dict[str, Any], choice: ClassChoice, root: Path | None
) -> Iterator[LabeledSupport]:
    """Yield the support of a LabelMe file, unless none of its classes is chosen."""
    labels, names, shapes_note = paint_labelme(content, file)
    if not names:
        raise DataError(
            f"{file} has no shape with an area; expected at least one polygon, rectangle, circle or mask"
            + (f"; {shapes_note}" if shapes_note else "")
        )
    chosen = choice.select(names)
    if chosen:
        photo = image or named_image(str(content.get("imagePath") or ""), file, root)
        support, note = pair_labels(photo, labels, chosen, file)
        yield support, "; ".join(filter(None, (shapes_note, note)))


def _read_coco(
    path: Path, content: dict[str, Any], choice: ClassChoice, root: Path | None, notes: list[str]
) -> Iterator[LabeledSupport]:
    """Yield a support for every image of a COCO file that shows a chosen class; `notes` gets one about the file."""
    try:
        ordered = sorted(content["categories"], key=lambda category: category["id"])
        if any(category["name"] is None for category in ordered):
            raise TypeError("a category without a name")
        names = [str(category["name"]) for category in ordered]
    except (KeyError, TypeError) as error:
        raise DataError(f"{path} has no categories with id and name; expected COCO's instances") from error
    if len(names) >= VOID:
        raise DataError(f"{path} has {len(names)} categories, expected at most {VOID - 1}; leave some out")
    # CVAT writes every mask as a crowd region
    left_out = LeftOut()
    instances = read_instances(path, sha256_file(path), names, left_out)
    names = [composed(name) for name in names]
    check_names([names[number - 1] for number in np.unique(instances.classes)], f"the categories of {path}")
    photos: dict[Path, str] = {}
    for row, file_name in enumerate(instances.file_names):
        numbers = np.unique(instances.classes[instances.starts[row] : instances.starts[row + 1]]).tolist()
        if not numbers:
            continue
        drawn = {number: names[number - 1] for number in numbers}
        labels, shown, reserved = visible_classes(instances.paint(file_name), drawn, left_out)
        chosen = choice.select(shown)
        if chosen:
            photo = named_image(file_name, path, root)
            if photos.setdefault(photo, file_name) != file_name:
                raise DataError(
                    f"{path} has the images {photos[photo]} and {file_name}, for which there is {photo} alone; "
                    "expected a photo for each; put them at the stated paths or give --support-root"
                )
            support, own_note = pair_labels(photo, labels, chosen, path)
            yield support, "; ".join(filter(None, (reserved and f"{path}: {file_name}: {reserved}", own_note)))
    if left_out.words:
        notes.append(left_out.note(path))


def _list_first(items: Iterable[Any]) -> str:
    words = [str(item) for item in sorted(items)]
    return ", ".join(words[:8]) + (" …" if len(words) > 8 else "") or "none"
