"""Predict a whole folder of images: decode ahead, write behind, and go on where an earlier command stopped."""

import csv
import errno
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from operator import itemgetter
from pathlib import Path, PurePath, PurePosixPath
from typing import Any

import numpy as np
from pydantic import ValidationError
from tqdm import tqdm

from fsbench.base.errors import DataError, SettingsError
from fsbench.base.files import locked, make_folder, remove_halves, replacing
from fsbench.base.files.images import open_image
from fsbench.base.progress import hides_bar
from fsbench.base.terminal import print_note
from fsbench.data.file_digests import file_state
from fsbench.predict.images import LoadedImage, QueryImage, prefetch_map
from fsbench.predict.labelme_files import Kind, write_labelme
from fsbench.predict.predictor import Predictor
from fsbench.predict.result import ClassPresence, Entry, ImageResult, Instance, output_files
from fsbench.predict.supports import MAX_CLASSES
from fsbench.records.checked_jsonl import CheckedJsonl

JOURNAL = "journal.jsonl"
HASHED = ("support", "checkpoint", "code")
"""Keys of an identity whose values are hashes, which tell a reader nothing."""
DISK_ERRORS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT)
"""Errors that end the work instead of concerning one image."""


@dataclass
class FolderSummary:
    """Counts of predicted, skipped and failed images of a folder.

    Attributes:
        predicted: Number of images predicted by this command.
        resumed: Number of images that an earlier command had predicted.
        labelled: Number of images that keep the user's own labels; they are in no other number.
        present: {class name: number of images in which the class was predicted to be present}.
        marked: {class name: number of images in which pixels were predicted as the class}.
        broken: Error messages about images that could not be read and were left out.
        kept: LabelMe files that stayed as they are, because they are not as fsbench wrote them.
    """

    predicted: int = 0
    resumed: int = 0
    labelled: int = 0
    present: Counter[str] = field(default_factory=Counter)
    marked: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    kept: list[Path] = field(default_factory=list)


def predict_folder(
    predictor: Predictor,
    images: Sequence[QueryImage],
    out: Path,
    *,
    force: bool = False,
    threads: int = 2,
    steps: bool = False,
    labelme: bool = False,
    report: Callable[[str], None] = print,
) -> FolderSummary:
    """Segment all images that have no result in `out` yet, then write `annotations.json` (COCO) and `scores.csv`.

    Labelled images keep the user's own labels. Images that cannot be read are reported, left out and listed in the
    summary. Numbers of classes are those of the names in alphabetical order; later classes get the next numbers.

    Args:
        predictor: The method, with its supports added.
        images: Images to segment, as `find_images` returns them.
        out: Folder for the results; only one process at a time may work in it.
        force: Remove results of other settings in `out` instead of raising an error.
        threads: Number of threads that decode images, and of threads that write results.
        steps: Also draw the method's intermediate steps for each prediction.
        labelme: Also write the label maps as LabelMe files, `labelme/<image without suffix>.json`.
        report: Called with a line of text for every image.

    Raises:
        SettingsError: `out` has results of other settings, or another process works there.
    """
    make_folder(out)
    taken = f"another process writes to {out}; wait for it or choose another --out"
    with ExitStack() as stack:
        stack.enter_context(locked(out / ".lock", "choose another --out", taken))
        if (out / JOURNAL).is_file():  # else no file in it is ours
            remove_halves(out, deep=False)
            for path in output_files(out, ""):
                remove_halves(path.parent)
        journal = PredictionJournal(out, predictor.identity, predictor.classes, force)
        stack.callback(journal.lines.close)
        todo = [image for image in images if not journal.has(image, steps)]
        summary = FolderSummary()
        states = {image.name: list(file_state(image.path)) for image in todo}

        def results() -> Iterator[ImageResult | DataError]:
            for loaded in predictor.load_images(todo, threads):
                if isinstance(loaded, LoadedImage):
                    result = predictor.own_labels(loaded) or predictor.predict(loaded, steps)
                    yield result.renumbered(journal.numbers)
                else:
                    yield loaded

        def save(result: ImageResult | DataError) -> tuple[str, Entry | DataError]:
            """Write a result's files; returns the line about it, and its journal entry or what was wrong."""
            try:
                return str(result), result if isinstance(result, DataError) else result.save(out)
            except OSError as error:
                if error.errno in DISK_ERRORS or isinstance(result, DataError):
                    raise
                message = f"results of photo {result.image_name} cannot be written ({error.strerror}); rename it"
                return message, DataError(message)

        saved = prefetch_map(save, results(), threads)
        bar = stack.enter_context(
            tqdm(total=len(images), initial=len(images) - len(todo), desc="predict", unit="photo", disable=hides_bar())
        )
        for image, (line, entry) in zip(todo, saved, strict=True):
            if isinstance(entry, Entry):
                journal.add(entry.model_copy(update={"stamp": states[image.name]}))
                summary.predicted += not entry.labelled
            else:
                summary.broken.append(line)
                journal.remove(image.name)  # what was written of an earlier version of the image
                line = f"left out: {line}"
            with bar.external_write_mode():
                report(line)
                if isinstance(entry, Entry) and _is_seen_small(entry, predictor):
                    print_note(
                        f"{predictor.name} sees each photo at {predictor.image_size} pixels, also those that are more "
                        "than twice as large; --tiles looks at parts"
                    )
            bar.update()
        bar.close()
        entries = [journal.entries[image.name] for image in images if image.name in journal.entries]
        summary.labelled = sum(entry.labelled for entry in entries)
        summary.resumed = len(entries) - summary.labelled - summary.predicted
        for entry in (entry for entry in entries if not entry.labelled):
            summary.present.update(each.name for each in entry.classes if each.present)
            summary.marked.update(each.name for each in entry.classes if each.pixels)
        description = f"predictions of {predictor.name}; score: {predictor.score_meaning}"
        numbers = {name: journal.numbers[name] for name in predictor.classes}
        write_coco(out / "annotations.json", entries, numbers, description)
        write_scores(out / "scores.csv", entries)
        if labelme:
            photos = {image.name: image.path for image in images}
            summary.kept = save_labelme(out, entries, photos, numbers, threads)
        return summary


def _is_seen_small(entry: Entry, predictor: Predictor) -> bool:
    is_large = max(entry.height, entry.width) > predictor.tile_side
    return is_large and not entry.labelled and not predictor.tiles


def save_labelme(
    out: Path, entries: Sequence[Entry], photos: Mapping[str, Path], numbers: Mapping[str, int], threads: int
) -> list[Path]:
    """Write the label PNGs of images in `out` as LabelMe files; return the files that stay, because they are others'.

    A file is named like its image without the suffix, as LabelMe looks for it; a second image of that name keeps its
    suffix.
    """
    names = {number: name for name, number in numbers.items()}
    places: dict[Path, Entry] = {}
    for entry in entries:
        place = out / "labelme" / PurePosixPath(entry.photo).with_suffix(".json")
        places[place if place not in places else out / "labelme" / f"{entry.photo}.json"] = entry

    def save(item: tuple[Path, Entry]) -> Path | None:
        place, entry = item
        kind: Kind = "labelled" if entry.labelled else "predicted"
        with open_image(output_files(out, entry.photo)[0]) as labels:
            is_written = write_labelme(place, np.asarray(labels), names, photos[entry.photo], kind)
        return None if is_written else place

    return [place for place in prefetch_map(save, places.items(), threads) if place]


class PredictionJournal:
    """The file `out/journal.jsonl`: a line per segmented image, by which an interrupted command is continued.

    The first line holds the settings by which the images were segmented (the identity), and the classes' numbers.

    Args:
        out: Folder of the predictions.
        identity: {name: value} of everything that predictions depend on, as plain values (`Predictor.identity`).
        classes: Names of the classes.
        force: Remove predictions of another identity instead of raising an error; classes keep their numbers.

    Raises:
        SettingsError: the folder has predictions of another identity, or more classes than fit.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any], classes: Iterable[str] = (), force: bool = False):
        identity = json.loads(json.dumps(identity))  # tuples are lists in the journal
        self.out = out
        self.lines = CheckedJsonl(out / JOURNAL)
        self.entries: dict[str, Entry] = {}
        """By the image's name."""
        self.numbers: dict[str, int] = {}
        """{class name: number in label PNGs and COCO's category id}, also of classes of earlier commands."""
        if self.lines.path.is_file():
            self.entries = {entry.photo: entry for value in self.lines.entries() if (entry := _entry(value))}
            written = self.lines.header()
            header = written if isinstance(written, dict) else {}
            written = header.get("identity")
            self.numbers = _class_numbers(header.get("numbers"))
            if force:
                for name in list(self.entries):
                    self.remove(name)
            elif written != identity:
                raise SettingsError(
                    f"{out} has predictions that were made with other settings ({_difference(written, identity)}); "
                    "choose another --out, or --force to remove them"
                )
        for name in sorted({*classes} - self.numbers.keys(), key=_with_numbers):
            self.numbers[name] = max(self.numbers.values(), default=0) + 1
        if len(self.numbers) > MAX_CLASSES:
            raise SettingsError(
                f"{out} has results of {len(self.numbers)} classes, with those of this command; expected at most "
                f"{MAX_CLASSES}; choose another --out"
            )
        if force or not self.lines.path.is_file():
            self.lines.create({"identity": identity, "numbers": self.numbers})

    def add(self, entry: Entry) -> None:
        """Append an image's entry to the journal; the entry is on the disk when this returns."""
        self.lines.append(entry.model_dump())
        self.entries[entry.photo] = entry

    def has(self, image: QueryImage, steps: bool) -> bool:
        """Return whether complete results exist for this image and its file has not changed since.

        Args:
            image: The image.
            steps: Whether the picture of the method's steps must exist, too.
        """
        entry = self.entries.get(image.name)
        if entry is None or entry.stamp != list(file_state(image.path)):
            return False
        labels, overlay, sheet = output_files(self.out, image.name)
        needed = (labels, overlay, sheet) if steps and not entry.labelled else (labels, overlay)
        return all(path.is_file() for path in needed)

    def remove(self, image_name: str) -> None:
        """Remove an image's result files and its entry in the journal."""
        self.entries.pop(image_name, None)
        for path in output_files(self.out, image_name):
            with suppress(OSError):  # a name that is too long has none
                path.unlink()


def _entry(value: Any) -> Entry | None:
    """Return the entry that a line states; None unless it is one of an image below the searched folder, so that its
    files are below `out`."""
    try:
        entry = Entry.model_validate(value)
    except ValidationError:
        return None
    name = PurePath(entry.photo)
    return None if not name.parts or name.is_absolute() or ".." in name.parts or "\0" in entry.photo else entry


def _with_numbers(name: str) -> list[str | int]:
    """Return a key that sorts "class 9" before "class 10"."""
    return [int(part) if place % 2 else part for place, part in enumerate(re.split(r"([0-9]+)", name))]


def _class_numbers(value: Any) -> dict[str, int]:
    """Return the numbers of classes that a journal states, {name: number}; {} unless they are numbers of classes."""
    known = value if isinstance(value, dict) else {}
    numbers = {number for number in known.values() if type(number) is int and 0 < number <= MAX_CLASSES}
    return known if len(numbers) == len(known) else {}


def _difference(written: Any, identity: Mapping[str, Any]) -> str:
    """Describe in what an identity differs from the written one, in the words of an error message."""
    if not isinstance(written, dict):
        return "its journal does not say which"
    for key in (*identity, *written):
        before, value = written.get(key), identity.get(key)
        if before != value:
            if key == "no_check":
                return "made with --no-check, now without it" if before else "made without --no-check, now with it"
            if key == "method":
                before, value = before.get("name") if isinstance(before, dict) else None, identity["method"]["name"]
            return f"another {key}" if key in HASHED or before == value else f"{key} was {before}, now {value}"
    return "of another version of fsbench"


def write_coco(path: Path, entries: Sequence[Entry], numbers: Mapping[str, int], description: str) -> None:
    """Write predictions in COCO's instances format, one annotation per object, or per class and image.

    Classes are annotated where the method finds no single objects.

    Masks are run-length encoded. Beside COCO's keys, an object's annotation has the object's `score`. A class's
    annotation has its presence score as `score`, and `present` (true or false), but only if presence scores were found
    to separate images with and without the class. Category ids are the numbers in the label PNGs. Images with the
    user's own labels, and their annotations, are marked `labelled`.

    Args:
        path: The file to write.
        entries: Results of the images.
        numbers: {class name: number in label PNGs}.
        description: Text for the file's "info".
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, entry in enumerate(entries, 1):
        own = {"labelled": True} if entry.labelled else {}
        size = {"height": entry.height, "width": entry.width}
        images.append({"id": image_id, "file_name": entry.photo, **size, **own})
        for presence in entry.classes:
            objects: list[Instance | ClassPresence] = [one for one in entry.instances if one.number == presence.number]
            for shown in objects or [presence]:
                if shown.runs is None:
                    continue
                said: dict[str, Any] = {"present": presence.present} if presence.tells else {}
                if objects or presence.tells:
                    said["score"] = shown.score
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image_id,
                        "category_id": presence.number,
                        "segmentation": {"size": [entry.height, entry.width], "counts": shown.runs.counts},
                        "area": shown.pixels,
                        "bbox": shown.runs.bbox,
                        "iscrowd": 0,
                        **said,
                        **own,
                    }
                )
    content = {
        "info": {"description": description},
        "licenses": [],
        "categories": [
            {"id": number, "name": name, "supercategory": ""}
            for name, number in sorted(numbers.items(), key=itemgetter(1))
        ],
        "images": images,
        "annotations": annotations,
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def write_scores(path: Path, entries: Sequence[Entry]) -> None:
    """Write a CSV file with a line for every image and class: presence, score, pixels, share of the image, labelled.

    Presence and score are empty unless presence scores were found to separate images with and without the class.
    `labelled` is "true" where these are the user's own labels, which have no score; else it is empty. Names that a
    spreadsheet would take for a formula get an apostrophe in front.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["photo", "class", "present", "score", "pixels", "share", "labelled"])
        for entry in entries:
            for presence in entry.classes:
                said = ["present" if presence.present else "not present", f"{presence.score:.6f}"]
                if entry.labelled:
                    said = ["present" if presence.present else "", ""]
                elif not presence.tells:
                    said = ["", ""]
                share = presence.pixels / (entry.height * entry.width)
                names = [_no_formula(entry.photo), _no_formula(presence.name)]
                own = "true" if entry.labelled else ""
                writer.writerow([*names, *said, presence.pixels, f"{share:.6f}", own])


def _no_formula(name: str) -> str:
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name
