"""Predict a whole folder of images: decode ahead, write behind, and go on where an earlier command stopped."""

import csv
import errno
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Any

from pydantic import ValidationError
from tqdm import tqdm

from fsbench.base.errors import DataError, SettingsError
from fsbench.base.files import locked, make_folder, remove_halves, replacing
from fsbench.base.progress import hides_bar
from fsbench.data.file_digests import file_state
from fsbench.predict.images import LoadedImage, QueryImage, prefetch_map
from fsbench.predict.predictor import Predictor
from fsbench.predict.result import ClassPresence, Entry, ImageResult, Instance, output_files
from fsbench.records.checked_jsonl import CheckedJsonl, checked_line, read_line

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
        present: {class name: number of images in which the class was predicted to be present}.
        marked: {class name: number of images in which pixels were labelled as the class}.
        broken: Error messages about images that could not be read and were left out.
    """

    predicted: int = 0
    resumed: int = 0
    present: Counter[str] = field(default_factory=Counter)
    marked: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)


def predict_folder(
    predictor: Predictor,
    images: Sequence[QueryImage],
    out: Path,
    *,
    force: bool = False,
    threads: int = 2,
    steps: bool = False,
    report: Callable[[str], None] = print,
) -> FolderSummary:
    """Segment all images that have no result in `out` yet, then write `annotations.json` (COCO) and `scores.csv`.

    Images that cannot be read are reported, left out and listed in the summary.

    Args:
        predictor: The method, with its supports added.
        images: Images to segment, as `find_images` returns them.
        out: Folder for the results; only one process at a time may work in it.
        force: Remove results of other settings in `out` instead of raising an error.
        threads: Number of threads that decode images, and of threads that write results.
        steps: Also draw the method's intermediate steps for each prediction.
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
        journal = PredictionJournal(out, predictor.identity, force)
        stack.callback(journal.lines.close)
        todo = [image for image in images if not journal.has(image, steps)]
        summary = FolderSummary(resumed=len(images) - len(todo))
        states = {image.name: list(file_state(image.path)) for image in todo}

        def results() -> Iterator[ImageResult | DataError]:
            for loaded in predictor.load_images(todo, threads):
                yield predictor.predict(loaded, steps) if isinstance(loaded, LoadedImage) else loaded

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
            tqdm(total=len(images), initial=summary.resumed, desc="predict", unit="photo", disable=hides_bar())
        )
        for image, (line, entry) in zip(todo, saved, strict=True):
            if isinstance(entry, Entry):
                journal.add(entry.model_copy(update={"stamp": states[image.name]}))
                summary.predicted += 1
            else:
                summary.broken.append(line)
                journal.remove(image.name)  # what was written of an earlier version of the image
                line = f"left out: {line}"
            with bar.external_write_mode():
                report(line)
            bar.update()
        bar.close()
        entries = [journal.entries[image.name] for image in images if image.name in journal.entries]
        for entry in entries:
            summary.present.update(each.name for each in entry.classes if each.present)
            summary.marked.update(each.name for each in entry.classes if each.pixels)
        description = f"predictions of {predictor.name}; score: {predictor.score_meaning}"
        write_coco(out / "annotations.json", entries, predictor.classes, description)
        write_scores(out / "scores.csv", entries)
        return summary


class PredictionJournal:
    """The file `out/journal.jsonl`: a line per segmented image, by which an interrupted command is continued.

    The first line holds the settings by which the images were segmented (the identity).

    Args:
        out: Folder of the predictions.
        identity: {name: value} of everything that predictions depend on, as plain values (`Predictor.identity`).
        force: Remove predictions of another identity instead of raising an error.

    Raises:
        SettingsError: the folder has predictions of another identity.
    """

    def __init__(self, out: Path, identity: Mapping[str, Any], force: bool = False):
        identity = json.loads(json.dumps(identity))  # tuples are lists in the journal
        self.out = out
        self.lines = CheckedJsonl(out / JOURNAL)
        self.entries: dict[str, Entry] = {}
        """By the image's name."""
        if self.lines.path.is_file():
            self.entries = {entry.photo: entry for _, value in self.lines.entries() if (entry := _entry(value))}
            written = read_line(self.lines.header())
            written = written.get("identity") if isinstance(written, dict) else None
            if force:
                for name in list(self.entries):
                    self.remove(name)
                self.lines.path.unlink()
            elif written != identity:
                raise SettingsError(
                    f"{out} has predictions that were made with other settings ({_difference(written, identity)}); "
                    "choose another --out, or --force to remove them"
                )
        if not self.lines.path.is_file():
            self.lines.create(checked_line({"identity": identity}))

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
        return all(path.is_file() for path in ((labels, overlay, sheet) if steps else (labels, overlay)))

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


def write_coco(path: Path, entries: Sequence[Entry], classes: Sequence[str], description: str) -> None:
    """Write predictions in COCO's instances format, one annotation per object, or per class and image.

    Classes are annotated where the method finds no single objects.

    Masks are run-length encoded. Beside COCO's keys, an object's annotation has the object's `score`. A class's
    annotation has its presence score as `score`, and `present` (true or false), but only if presence scores were found
    to separate images with and without the class. Category ids are the numbers in the label PNGs.

    Args:
        path: The file to write.
        entries: Results of the images.
        classes: Names of the classes; number n in label PNGs is `classes[n - 1]`.
        description: Text for the file's "info".
    """
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_id, entry in enumerate(entries, 1):
        images.append({"id": image_id, "file_name": entry.photo, "height": entry.height, "width": entry.width})
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
                    }
                )
    content = {
        "info": {"description": description},
        "licenses": [],
        "categories": [{"id": number, "name": name, "supercategory": ""} for number, name in enumerate(classes, 1)],
        "images": images,
        "annotations": annotations,
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")


def write_scores(path: Path, entries: Sequence[Entry]) -> None:
    """Write a CSV file with a line for every image and class: presence, score, pixels, and share of the image.

    Presence and score are empty unless presence scores were found to separate images with and without the class. Names
    that a spreadsheet would take for a formula get an apostrophe in front.
    """
    with replacing(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["photo", "class", "present", "score", "pixels", "share"])
        for entry in entries:
            for presence in entry.classes:
                said = ["present" if presence.present else "not present", f"{presence.score:.6f}"]
                share = presence.pixels / (entry.height * entry.width)
                names = [_no_formula(entry.photo), _no_formula(presence.name)]
                writer.writerow([*names, *(said if presence.tells else ["", ""]), presence.pixels, f"{share:.6f}"])


def _no_formula(name: str) -> str:
    return f"'{name}" if name.startswith(("=", "+", "-", "@", "\t", "\r")) else name
