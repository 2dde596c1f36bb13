"""Labelled images, the examples of what is looked for: read as users have them, and stacked as an episode's support.

Shapes: (H, W) an image, M distinct images, N classes, K shots, S image side.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np
import torch
from torch import Tensor

from fsbench.base.errors import DataError, SettingsError, did_you_mean, near_path
from fsbench.base.files import is_file, is_folder, read_bytes, read_json, sha256_file
from fsbench.base.files.names import composed, existing_form, other_case
from fsbench.data.annotation_rules import LeftOut, visible_classes
from fsbench.data.batch import image_key
from fsbench.data.class_names import check_names
from fsbench.data.coco_json import read_instances
from fsbench.data.dataset import VOID
from fsbench.data.file_rules import remark
from fsbench.data.image_io import HALF, is_transparent, read_label_file, read_mask, read_photo, read_upright
from fsbench.data.label_maps import way_labels
from fsbench.data.orientation import apply_orientation, fit_labels, fits_both_ways
from fsbench.data.palettes import SeenColours
from fsbench.data.picture_file import MASK, picture_header
from fsbench.data.transforms import RESIZES
from fsbench.predict.embedded import embedded_file, embedded_picture, labels_on_photo
from fsbench.predict.images import find_images
from fsbench.predict.labelme import paint_labelme
from fsbench.predict.scans import SUFFIXES, check_no_scan

FORMS = "[name=]photo:mask.png, photo:labelme.json, labelme.json, coco.json or a folder of these"
PHOTOS, MASKS = "photos", "masks"
"""Folders of a folder of supports, in which a photo and its mask have one name."""
MOST_ASKED = 10
"""Photos with a class, and photos without it, that are asked for a check at most: the first ones."""
NO_CLASS = "something else"
"""Name of a marked region that is none of the classes, unless the user names it."""
MAX_CLASSES = 254
MOST_NUMBERS = 32
"""Most different numbers of a mask, unless its edges are smoothed; a photo has more shades."""

SupportSpec = tuple[str, Path | None, Path]
"""Class name or ""; image, None where the file names it; mask or JSON file."""


class _Drawn(NamedTuple):
    """A label map and its image.

    Attributes:
        image: the image, or its name in an annotation file.
        labels: (H, W) uint8.
        classes: names of the numbers that are classes.
        embedded: of a LabelMe file that is to find its image: the content of the image file in it, which may be empty.
    """

    image: Path | str
    labels: np.ndarray
    classes: dict[int, str]
    embedded: bytes | None = None


@dataclass(frozen=True)
class Support:
    """Labelled image: pixels, label map and the classes that it shows.

    Attributes:
        image_name: Name of the image; supports with the same name show the same image.
        pixels: (H, W, 3) uint8, upright.
        labels: (H, W) uint8: 0 not marked, 255 void, any other value a class number.
        classes: {number in `labels`: class name}; numbers in `labels` without an entry are ignored.
    """

    image_name: str
    pixels: np.ndarray
    labels: np.ndarray
    classes: dict[int, str]


@dataclass(frozen=True)
class SupportSet:
    """Supports of all classes as tensors, in the form of an episode without its query.

    There are N classes, up to K supports each, and R regions: marked regions of images without the classes (negatives),
    which follow the classes as further ways. Pixels that match a region better than any class become background.

    Attributes:
        classes: N names, in order of appearance.
        regions: R names of what the marked regions of negatives show.
        images: (M, 3, S, S) the M different images, resized.
        image_names: M names of the images.
        image_keys: M keys of their contents, as of an `EpisodeBatch`.
        rows: (1, N + R, K) int64, for each way and shot the index into `images`.
        labels: (1, N + R, K, S, S) uint8, for each way and shot its mask: 1 the way, 0 other, 255 void.
        shots: for each of the N classes its number of supports before repetition.
    """

    classes: tuple[str, ...]
    regions: tuple[str, ...]
    images: Tensor
    image_names: tuple[str, ...]
    image_keys: tuple[str, ...]
    rows: Tensor
    labels: Tensor
    shots: tuple[int, ...]

    @property
    def note(self) -> str:
        """A sentence for the user about classes whose supports were repeated; "" if no class's were."""
        most = max(self.shots)
        fewer = ", ".join(f"{name} ({n})" for name, n in zip(self.classes, self.shots, strict=True) if n < most)
        if not fewer:
            return ""
        return f"every class needs the same number of supports; those of {fewer} are repeated until there are {most}"


def stack_supports(
    supports: Sequence[Support], size: int, resize: str, negatives: Sequence[Support] = ()
) -> SupportSet:
    """Resize supports and stack them into tensors by class, followed by the marked regions of negatives.

    Classes and regions with fewer supports than others repeat theirs in turn, so that all have the same number.

    Args:
        supports: labelled images of the classes.
        size: side S of the resized square images.
        resize: name of the rule for resizing, a key of `RESIZES`.
        negatives: images without the classes, which may have marked regions that belong to no class.

    Raises:
        SettingsError: there are no supports, or more than `MAX_CLASSES` classes and regions.
        DataError: no pixel of a class is left in a resized mask; the message names the image.
    """
    if not supports:
        raise SettingsError("there is no support; expected at least one photo with its mask")
    resize_image, resize_mask = RESIZES[resize]
    rows: dict[str, int] = {}
    images: list[Tensor] = []
    shots: dict[str, list[tuple[int, np.ndarray]]] = {}
    regions: list[tuple[str, list[tuple[int, np.ndarray]]]] = []
    for place, support in enumerate((*supports, *negatives)):
        if support.classes and support.image_name not in rows:
            rows[support.image_name] = len(images)
            images.append(resize_image(support.pixels, size))
        for number, name in support.classes.items():
            mask = resize_mask(way_labels(support.labels, [number]), size, size)
            if not (mask == 1).any():
                raise DataError(
                    f"the mask of {name} on {support.image_name} has {np.count_nonzero(support.labels == number)} "
                    f"pixels, of which none is left at {size}x{size}; expected an object that can be seen at that "
                    "size; mark more"
                )
            shot = (rows[support.image_name], mask)
            if place < len(supports):
                shots.setdefault(name, []).append(shot)
            else:
                regions.append((name, [shot]))
    if len(shots) + len(regions) > MAX_CLASSES:
        both = f"{len(shots)} classes" + (f" and {len(regions)} regions of negatives" if regions else "")
        raise SettingsError(f"there are {both}, expected at most {MAX_CLASSES}; choose some of them")
    most = max(map(len, shots.values()))
    ways = [*shots.values(), *(shot for _, shot in regions)]
    repeated = [[given[shot % len(given)] for shot in range(most)] for given in ways]
    return SupportSet(
        classes=tuple(shots),
        regions=tuple(name for name, _ in regions),
        images=torch.stack(images),
        image_names=tuple(rows),
        image_keys=tuple(map(image_key, images)),
        rows=torch.tensor([[[row for row, _ in way] for way in repeated]]),
        labels=torch.from_numpy(np.array([[[mask for _, mask in way] for way in repeated]])),
        shots=tuple(map(len, shots.values())),
    )


def read_supports(
    given: Sequence[str | SupportSpec], classes: str = "", root: Path | None = None
) -> tuple[list[Support], list[str]]:
    """Read labelled images from image and mask files, annotation files and folders.

    Args:
        given: Texts such as NAME=IMAGE:MASK, an annotation file or a folder (`FORMS`), or their parsed form. A folder
            has JSON files of LabelMe or COCO, or `photos/` and `masks/`, in which a photo and its mask have the same
            name, or photos with such masks beside them.
        classes: "1=cat,2=dog" names the numbers of label maps; "cat,dog" chooses among classes that have names.
        root: Folder of the images that JSON files name, instead of the folder of the JSON file.

    Returns:
        The supports, and a list of notes for the user, one sentence each.

    Raises:
        SettingsError: a text names no existing files, or no support shows a class that `classes` names.
        DataError: a file cannot be read or is invalid.
    """
    by_number, chosen = parse_classes(classes)
    specs = [spec for one in given for spec in ([one] if isinstance(one, tuple) else parse_support(one))]
    supports, notes = _read_specs(specs, by_number, chosen, root)
    folders = [Path(one) for one in given if isinstance(one, str) and is_folder(one)]
    notes += [note for folder in folders if (note := _note_on_unpaired(folder, specs))]
    shown_classes = {name for support in supports for name in support.classes.values()}
    check_names(shown_classes, "the supports")
    for name in (*chosen, *by_number.values()):
        if name not in shown_classes:
            hint = did_you_mean(name, shown_classes)
            there = f"{hint} There are" if hint else "; there are"
            raise SettingsError(f"no support shows the class '{name}' of --classes{there}: {_first(shown_classes)}")
    return supports, notes


def read_negatives(given: Sequence[str], root: Path | None = None) -> tuple[list[Support], list[str]]:
    """Read images without any of the classes (negatives), and regions in images that belong to no class.

    Args:
        given: Texts, each a photo, a folder of photos (with masks and without), or a labelled image such as
            NAME=IMAGE:MASK (`FORMS`), whose marked regions are not the classes; NAME says what they show instead.
        root: Folder of the images that JSON files name, instead of the folder of the JSON file.

    Returns:
        The photos, with empty `classes` where nothing is marked, and a list of notes for the user, one sentence each.

    Raises:
        SettingsError: a text names no existing files.
        DataError: a file cannot be read or is invalid.
    """
    photos: list[Path] = []
    no_masks: list[Path] = []
    specs: list[SupportSpec] = []
    for text in given:
        path = Path(text).expanduser()
        check_no_scan(path)
        if is_folder(path) and not (is_folder(path / MASKS) or any(path.glob("*.json"))):
            found = [image.path for image in find_images([path])]
            pairs, others = _negatives_with_masks(found)
            specs += [("", photo, mask) for photo, mask in pairs]
            paired = {file for pair in pairs for file in pair}
            photos += [file for file in found if file not in paired]
            no_masks += others
        elif is_file(path) and path.suffix.lower() in SUFFIXES:
            photos.append(path)
        elif not {":", "="} & set(text) and not text.lower().endswith(".json") and not path.exists():
            raise SettingsError(
                f"negative {text}: there is no such file or folder{near_path(path)}; expected a photo, a folder of "
                f"photos, or {FORMS}"
            )
        else:
            specs += parse_support(text)
    specs = [(name or ("" if file.suffix.lower() == ".json" else NO_CLASS), image, file) for name, image, file in specs]
    regions, notes = _read_specs(specs, {}, (), root, keeps_unmarked=True)
    if no_masks:
        notes.append(
            f"negatives: taken as photos, though other photos have their names: {_first(no_masks)}; a mask is as large "
            "as its photo, with numbers in grey or in a palette; name any other one as photo:mask"
        )
    if len(photos) > MOST_ASKED:
        notes.append(f"negatives: the first {MOST_ASKED} of {len(photos)} photos without the classes are asked")
    return [*(_unmarked(photo) for photo in photos[:MOST_ASKED]), *regions], notes


def _unmarked(photo: Path) -> Support:
    pixels = read_upright(photo)[0]
    return Support(str(photo), pixels, np.zeros(pixels.shape[:2], np.uint8), {})


def _read_specs(
    specs: Iterable[SupportSpec],
    by_number: dict[int, str],
    chosen: Collection[str],
    root: Path | None,
    keeps_unmarked: bool = False,
) -> tuple[list[Support], list[str]]:
    """Read labelled images, of `chosen` classes alone if there are any; return notes, too.

    With `keeps_unmarked`, images of which an annotation file marks nothing are among them.
    """
    supports: list[Support] = []
    notes: list[str] = []
    colours: SeenColours = {}
    for name, image, file in specs:
        found: Iterable[_Drawn]
        if image is not None and file.suffix.lower() != ".json":
            found = [_Drawn(image, *_mask_classes(composed(name), image, file, by_number, colours, notes))]
        elif name:
            raise SettingsError(
                f"support {name}={file} names a class, but the labels in the file do; leave out '{name}='"
            )
        else:
            content = read_annotations(file)
            found = (
                [_labelme_classes(image, file, content, notes, keeps_unmarked)]
                if "shapes" in content
                else _coco_classes(file, content, chosen, notes, keeps_unmarked)
            )
        photos: dict[Path, str | Path] = {}
        for stated, labels, shown, embedded in found:
            taken = {number: label for number, label in shown.items() if not chosen or label in chosen}
            if not taken and not keeps_unmarked:
                continue  # its photo need not be here
            try:
                photo = stated if isinstance(stated, Path) else find_named_image(stated, file, root)
            except DataError:
                if not embedded:
                    raise
                supports.append(Support(str(file), *embedded_picture(embedded, labels, file)[:2], taken))
                notes.append(remark("labelme_picture_alone", file, photo=stated))
                continue
            if photos.setdefault(photo, stated) != stated:
                raise DataError(
                    f"{file} has the images {photos[photo]} and {stated}, for which there is {photo} alone; expected a "
                    "photo for each; put them at the stated paths or give --support-root"
                )
            pixels, header = read_photo(photo)
            pixels = apply_orientation(pixels, header.turn)
            if embedded and embedded != read_bytes(photo, "image"):
                picture, labels, is_lossy = embedded_picture(embedded, labels, file)
                is_lossy |= header.is_lossy
                labels = labels_on_photo(picture, labels, is_lossy, pixels, header.orientation, photo, file)
            else:
                labels = fit_labels(labels, photo, header, file)
                if fits_both_ways(photo, None if file.suffix.lower() == ".json" else file):
                    notes.append(remark("fits_both_ways", photo))
            if embedded == b"" and photo.stem != file.stem and (own := _photo_of_its_name(file, root)):
                notes.append(remark("labelme_other_name", file, photo=photo, own=own, file=file))
            if is_transparent(photo, header):
                notes.append(remark("transparent_photo", photo))
            supports.append(Support(str(photo), pixels, labels, taken))
    return supports, notes


def parse_support(text: str) -> list[SupportSpec]:
    """Split the text NAME=IMAGE:MASK into class name, image file and mask file; a folder gives several such triples.

    Paths may contain "=" and ":" themselves: the text is split so that the files exist.

    Raises:
        SettingsError: however the text is split, not all files exist.
        DataError: for a mask in a folder there is not exactly one photo of the same name.
    """
    if is_folder(text):
        return _specs_of_folder(Path(text))
    prefix, equals, rest = text.partition("=")
    readings = [("", text)] + ([(prefix.strip(), rest)] if equals and prefix.strip() else [])
    for name, paths in readings:
        if not name and paths.lower().endswith(".json") and is_file(paths):
            return [(name, None, Path(paths))]
        for at in (place for place, letter in enumerate(paths) if letter == ":"):
            image, file = Path(paths[:at]).expanduser(), Path(paths[at + 1 :]).expanduser()
            if is_file(image) and is_file(file):
                check_no_scan(image)
                return [(name, image, file)]
    paths = readings[-1][1]
    image_text, colon, mask_text = paths.rpartition(":")
    absent = [path for path in ((image_text, mask_text) if colon else (paths,)) if not is_file(path)]
    if colon or paths.lower().endswith(".json"):
        raise SettingsError(f"support {text}: there is no file {' and no file '.join(absent)}; correct the path")
    raise SettingsError(f"support {text} names no mask; expected {FORMS}")


def _specs_of_folder(folder: Path) -> list[SupportSpec]:
    files = sorted(file for file in folder.glob("*.json") if is_file(file))
    found: list[SupportSpec] = [("", None, file) for file in files]
    found = found or [("", photo, mask) for photo, mask in _photos_with_masks(folder)]
    if not found:
        raise SettingsError(
            f"the folder {folder} has no support; expected JSON files of LabelMe or COCO in it, or {PHOTOS}/ and "
            f"{MASKS}/, where a photo and its mask have one name, or photos with such masks beside them"
        )
    return found


def _photos_with_masks(folder: Path) -> list[tuple[Path, Path]]:
    """Return the photos of a folder and their masks: those in `photos/` and `masks/`, else those that lie together."""
    together = not is_folder(folder / MASKS)
    near = folder if together else folder / PHOTOS
    photos = _pictures(near)
    named = _by_name(photos)
    found: list[tuple[Path, Path]] = []
    marked: set[Path] = set()
    for mask in _pngs(photos if together else _pictures(folder / MASKS)):
        own = [photo for photo in named.get(near / mask.stem, ()) if photo != mask]
        if together and (not own or mask in marked):
            continue  # a photo
        photo = _only_photo(mask, own, near)
        marked.add(photo)
        found.append((photo, mask))
    return found


def _note_on_unpaired(folder: Path, specs: Iterable[SupportSpec]) -> str:
    """Return a note on the pictures of a folder that belong to none of the supports read from it; "" if all do.

    Where masks have a folder of their own, or annotation files name the photos, there is no note.
    """
    if is_folder(folder / MASKS) or any(folder.glob("*.json")):
        return ""
    paired = {file for _, photo, mask in specs for file in (photo, mask)}
    alone = [picture for picture in _pictures(folder) if picture not in paired]
    return f"left out, as no mask or photo has the same name: {_first(alone)}" if alone else ""


def _negatives_with_masks(photos: Sequence[Path]) -> tuple[list[tuple[Path, Path]], list[Path]]:
    """Pair images with the masks of their names that lie beside them, in whatever folders.

    Returns:
        The (photo, mask) pairs, and the PNGs that have a photo's name but are not its mask.
    """
    named = _by_name(photos)
    found: list[tuple[Path, Path]] = []
    marked: set[Path] = set()
    others: list[Path] = []
    for mask in _pngs(photos):
        of_its_name = [photo for photo in named[mask.with_suffix("")] if photo != mask]
        if not of_its_name or mask in marked:
            continue  # a photo
        own = [photo for photo in of_its_name if _is_mask(mask, photo)]
        if not own:
            others.append(mask)
            continue
        photo = _only_photo(mask, own, mask.parent)
        marked.add(photo)
        found.append((photo, mask))
    return found, others


def _is_mask(file: Path, photo: Path) -> bool:
    """Return whether a PNG is a mask of a photo, and not a photo itself.

    A mask has the photo's size, and numbers in grey or in a palette. If there are many numbers, and most pixels have
    neither the smallest nor the largest one, it is a photo all the same.
    """
    try:
        own, header = picture_header(file, MASK), picture_header(photo)
        if own.mode in ("RGB", "RGBA") or own.shown_shape not in (header.shown_shape, header.stored_shape):
            return False
        numbers = read_label_file(file, MASK).visible
    except DataError:  # whoever reads them says what is wrong
        return True
    between = numbers[(numbers > 0) & (numbers < own.top)]
    return bool(len(np.unique(between)) <= MOST_NUMBERS or 2 * between.size < numbers.size)


def _pictures(folder: Path) -> list[Path]:
    """Return the visible pictures of a folder, sorted."""
    return [file for file in sorted(folder.glob("[!.]*")) if file.suffix.lower() in SUFFIXES]


def _pngs(files: Iterable[Path]) -> list[Path]:
    """Return the PNG files, those that end in capital letters last: x.png is the mask of x.PNG."""
    return sorted((file for file in files if file.suffix.lower() == ".png"), key=lambda file: file.suffix != ".png")


def _by_name(photos: Iterable[Path]) -> dict[Path, list[Path]]:
    """Return {path of a mask without its suffix: photos}: a mask has the photo's name, with its suffix or without."""
    found: dict[Path, list[Path]] = {}
    for photo in photos:
        for path in (photo, photo.with_suffix("")):
            found.setdefault(path, []).append(photo)
    return found


def _only_photo(mask: Path, photos: Sequence[Path], folder: Path) -> Path:
    """Return the one photo of a mask; raise DataError if there is none or several."""
    if len(photos) != 1:
        number = f"{len(photos)} photos" if photos else "no photo"
        raise DataError(f"the mask {mask} has {number} of its name in {folder}; expected one")
    return photos[0]


def parse_classes(text: str) -> tuple[dict[int, str], list[str]]:
    """Parse the value of the option --classes, such as "1=cat,2=dog" or "cat,dog".

    Returns:
        {number in label maps: name} of "1=cat,2=dog", and the list of names of "cat,dog". One of the two is empty.

    Raises:
        SettingsError: both forms are mixed, or a number is invalid.
    """
    words = [word.strip() for word in composed(text).split(",") if word.strip()]
    if not any("=" in word for word in words):
        return {}, words
    try:
        pairs = [(int(number), name.strip()) for number, name in (word.split("=") for word in words)]
    except ValueError:
        pairs = []
    named = {number: name for number, name in pairs if 0 < number < VOID and name}
    if len(set(named.values())) < len(words):
        raise SettingsError(
            f"--classes is '{text}', expected numbers from 1 to 254 and names, each once, e.g. 1=cat,2=dog"
        )
    return named, []


def _mask_classes(
    name: str, image: Path, file: Path, by_number: dict[int, str], colours: SeenColours, notes: list[str]
) -> tuple[np.ndarray, dict[int, str]]:
    """Read the mask of an image, and name its numbers; `name` is that of its one class, or "".

    Raises DataError where it marks nothing, or nothing that has a name.
    """
    # a named mask has a number of its own
    labels, smoothed = read_mask(file, None if name else colours, is_one_class=bool(name), photo=image)
    if smoothed and len(set(np.unique(labels).tolist()) - {0, VOID, *by_number}) > len(by_number):
        if not name:
            raise DataError(
                f"mask {file} has {len(np.unique(labels))} grey levels, as smoothed edges have; name its one class "
                "(name=photo:mask), or its numbers with --classes"
            )
        labels = (labels >= HALF).astype(np.uint8)
        notes.append(f"the edges of mask {file} are smoothed; what is at least half white ({HALF}) is taken")
    numbers = [number for number in np.unique(labels).tolist() if number not in (0, VOID)]
    if not numbers:
        void = " but void (255)" if (labels == VOID).any() else ""
        raise DataError(
            f"mask {file} marks nothing{void}; expected white, or class numbers from 1, where the object is"
        )
    if name == NO_CLASS:
        return labels, dict.fromkeys(numbers, name)
    if name and len(numbers) > 1:
        raise DataError(
            f"mask {file} has the numbers {_first(numbers)}, but one class was named ({name}); name them with "
            f"--classes {numbers[0]}={name},{numbers[1]}=… and leave out '{name}='"
        )
    if name:
        return labels, {numbers[0]: name}
    if not by_number:
        return labels, {number: f"class {number}" for number in numbers}
    classes = {number: by_number[number] for number in numbers if number in by_number}
    if not classes:
        raise DataError(f"mask {file} has the numbers {_first(numbers)}, none of which --classes names; name one")
    return labels, classes


def _labelme_classes(
    image: Path | None, file: Path, content: dict[str, Any], notes: list[str], keeps_unmarked: bool
) -> _Drawn:
    """Return the image of a LabelMe file, as a path or as the file states it, its label map, and its classes."""
    labels, names, found = paint_labelme(content, file)
    if not names and not (keeps_unmarked and not content["shapes"]):
        expected = "expected at least one polygon, rectangle, circle or mask"
        raise DataError("; ".join([f"{file} has no shape with an area", expected, *found]))
    notes += found
    if image is not None:
        return _Drawn(image, labels, names)
    return _Drawn(str(content.get("imagePath") or ""), labels, names, embedded_file(content, file))


def _coco_classes(
    file: Path, content: dict[str, Any], chosen: Collection[str], notes: list[str], keeps_unmarked: bool
) -> Iterator[_Drawn]:
    """Yield the images of a COCO file that show something, as it states them, their label maps, and their classes.

    Notes are added on images that show one of the `chosen` classes; on all where none is chosen. With `keeps_unmarked`,
    images that show nothing are among them.
    """
    try:
        ordered = sorted(content["categories"], key=lambda category: category["id"])
        if any(category["name"] is None for category in ordered):
            raise TypeError("a category without a name")
        names = [str(category["name"]) for category in ordered]
    except (KeyError, TypeError) as error:
        raise DataError(f"{file} has no categories with id and name; expected COCO's instances") from error
    if len(names) > MAX_CLASSES:
        raise DataError(f"{file} has {len(names)} categories, expected at most {MAX_CLASSES}; leave some out")
    left_out = LeftOut()
    instances = read_instances(file, sha256_file(file), names, left_out)
    names = [composed(name) for name in names]
    check_names([names[number - 1] for number in np.unique(instances.classes)], f"the categories of {file}")
    for row, stated in enumerate(instances.file_names):
        numbers = np.unique(instances.classes[instances.starts[row] : instances.starts[row + 1]]).tolist()
        if numbers or keeps_unmarked:
            drawn = {number: names[number - 1] for number in numbers}
            labels, shown, reserved = visible_classes(instances.paint(stated), drawn, left_out)
            if reserved and (not chosen or not set(chosen).isdisjoint(shown.values())):
                notes.append(f"{file}: {stated}: {reserved}")
            yield _Drawn(stated, labels, shown)
    notes += left_out.notes(file)


def read_annotations(path: Path) -> dict[str, Any]:
    """Return the parsed content of a JSON file of LabelMe or COCO. Raises DataError for any other file."""
    try:
        content = read_json(path, "annotations")
    except (OSError, ValueError) as error:
        raise DataError(f"{path} is no JSON file ({error}); expected LabelMe's or COCO's") from error
    if not isinstance(content, dict) or not ("shapes" in content or "annotations" in content):
        raise DataError(f"{path} has neither shapes nor annotations; expected LabelMe's or COCO's JSON")
    return content


def find_named_image(stated: str, file: Path, root: Path | None) -> Path:
    """Find the image named in an annotation file: at its path, or by its name in a folder.

    Backslashes count as separators, "%20" may stand for a space, and accents may be in another Unicode form.

    Args:
        stated: Path of the image as the annotation file states it.
        file: The annotation file.
        root: Folder of the images, instead of the annotation file's folder and `photos/` in it.

    Raises:
        DataError: the image is not found.
    """
    folders = _photo_folders(file, root)
    plain = PurePosixPath(stated.replace("\\", "/"))
    spaced = PurePosixPath(unquote(str(plain)))
    for folder in folders:
        for path in (PurePosixPath(stated), plain, spaced, plain.name, spaced.name):
            found = existing_form(folder / path)
            if found is not None and is_file(found):
                return found
    raise DataError(
        f"{file} is about the photo {plain}, which is not in {folders[0]}{other_case(folders[0] / plain)}; put it "
        "there or give --support-root"
    )


def _photo_of_its_name(file: Path, root: Path | None) -> Path | None:
    """Return a photo that has the name of an annotation file but for the suffix, where its photos are looked for."""
    paths = (path for folder in _photo_folders(file, root) for path in sorted(folder.glob("*")))
    return next((path for path in paths if path.stem == file.stem and path.suffix.lower() in SUFFIXES), None)


def _photo_folders(file: Path, root: Path | None) -> list[Path]:
    return [root] if root else [file.parent, file.parent / PHOTOS]


def _first(items: Iterable[Any]) -> str:
    """Return the first eight of the sorted items as words."""
    words = [str(item) for item in sorted(items)]
    return ", ".join(words[:8]) + (" …" if len(words) > 8 else "") or "none"
