"""A kit: the episodes of a test in a folder that any program can read, without their truth."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image
from pydantic import ConfigDict, Field, SerializerFunctionWrapHandler, ValidationError, model_serializer

from fsbench.base.errors import RecordError, SettingsError
from fsbench.base.files import read_json, sha256_file
from fsbench.base.files.folders import scratch_folder
from fsbench.base.files.opening import is_folder
from fsbench.base.files.validation import first_problem
from fsbench.base.files.written import fingerprint
from fsbench.data.episodes.manifest import Name, StatedTask
from fsbench.data.episodes.task import Task
from fsbench.data.image_io import image_intensities, image_orientation, image_pixels, is_transparent
from fsbench.data.picture_file import is_turned, picture_header
from fsbench.protocols.kit import answers
from fsbench.protocols.kit.asked import asked_size
from fsbench.protocols.kit.rules import rules
from fsbench.protocols.test import Test, VisibleEpisode, VisibleImages, VisibleSupport

FILE = "kit.json"
"""File by which a kit is known."""
EPISODES = "episodes.jsonl"
"""File with an episode a line."""
EXAMPLE = "example.py"
"""File that its reader edits."""
_TEMPLATES = Path(__file__).with_name("templates")


class Kit(StatedTask, frozen=True):
    """Content of `kit.json` in a kit (folder with a test for other programs): the test's settings, and file hashes.

    Attributes:
        format, version: "fsbench kit" and the version of the folder's layout.
        test: sha256 of the test's manifest.
        dataset, protocol: names of data set and protocol, as `load_test` takes them.
        protocol_version: version of the protocol.
        protocol_parts: content of the protocol's file, for a user's own protocol; None for one with a name in fsbench.
        lists: where the image lists come from, in words such as "official" or "derived".
        copied_images: whether the kit has copies of the images.
        own_list: whether the episodes are a list that a user made, and not those that the protocol draws.
        files: {path in the folder: sha256} of every other file except `example.py`, which is there to be edited.
    """

    model_config = ConfigDict(extra="forbid")

    format: Literal["fsbench kit"] = "fsbench kit"
    version: Literal[1] = 1
    test: Name
    dataset: Name
    protocol: Name
    protocol_version: int | Name
    protocol_parts: dict[str, Any] | None = None
    classes: Literal["novel"] = Field(default="novel", exclude=True)
    lists: Name
    copied_images: bool
    own_list: bool = False
    files: dict[Name, Name]

    @model_serializer(mode="wrap")
    def _stated(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave out the number of shots that are drawn where it is that of the test, and parts of a known protocol."""
        unusual = ("nested_in", "protocol_parts")
        return {name: value for name, value in handler(self).items() if value is not None or name not in unusual}

    @property
    def sha256(self) -> str:
        """Hash of the kit's contents, except its example program."""
        return fingerprint(self.model_dump())


def read_kit(folder: Path) -> Kit:
    """Read `kit.json` of a kit (folder with a test for other programs), without opening the kit's other files.

    Raises:
        RecordError: the folder is not a kit.
    """
    content: Any = None
    try:
        content = read_json(folder / FILE, "list")
        return Kit.model_validate(content)
    except ValidationError as error:
        reason = first_problem(error, content)
    except (OSError, ValueError) as error:
        reason = str(getattr(error, "strerror", None) or error)
    raise RecordError(f"{folder} is no kit ({reason}); expected a folder that fsbench kit wrote; make it again")


def check_kit(folder: Path, kit: Kit) -> None:
    """Compare the files of a kit (folder with a test for other programs) with the hashes that its `kit.json` states.

    Raises:
        RecordError: a file is absent or was changed.
    """
    for name, sha256 in kit.files.items():
        try:
            found = sha256_file(folder / name) if _is_inside(name) else None
        except OSError:
            found = None
        if found != sha256:
            raise RecordError(
                f"{folder / name} is absent or was changed since the kit was made; expected the file as fsbench kit "
                "wrote it; make the kit again in a new folder"
            )


def count_episodes(folder: Path) -> int:
    """Return the number of episodes in a kit (exported test), counting every draw of supports.

    Raises:
        RecordError: the kit's list of episodes cannot be read.
    """
    try:
        return len(answers.read_kit_folder(str(folder))[1])
    except answers.AnswersError as error:
        raise RecordError(str(error)) from None


def paths_tell_classes(test: Test, root: Path | None = None) -> bool:
    """Return whether folders or files of query images are named like classes, so that the paths give away the classes.

    In classification every folder counts as a class's, whatever its name. A number at the end of a file's name is
    ignored.
    """
    if test.protocol.task == "classification":
        return True
    classes = {_letters(name) for name in test.data.class_names} - {""}
    start = _common_root(test, root)
    for episode in test.manifest.episodes:
        path = Path(test.data.image_path(episode.query)).absolute().relative_to(start)
        if classes & set(map(_letters, (*path.parent.parts, path.stem))):
            return True
    return False


def _letters(name: str) -> str:
    return re.sub(r"[\W_]+", "", name.casefold()).rstrip("0123456789")


def _is_inside(name: str) -> bool:
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def write_kit(
    test: Test,
    out: Path,
    root: Path | None = None,
    *,
    dataset: str | None = None,
    copy_images: bool = False,
    progress: Callable[[Test], Any] = iter,
) -> tuple[Kit, Path]:
    """Write a test as a kit (files for other programs to predict it) to the folder `out`, completely or not at all.

    If `out` already is the kit of this test, it stays unchanged.

    Args:
        test: the test.
        out: a folder that is new or empty.
        root: folder that the images' paths are relative to; None, or a folder that does not hold all images, takes the
            images' common folder.
        dataset: name by which `load_test` opened the data set; the name in the manifest unless given.
        copy_images: copy the query and support images to the kit. Images of classification, whose paths name their
            classes, and those that are not files, such as slices of scans, are always copied.
        progress: wraps the test's episodes to show progress, as `tqdm` does.

    Returns:
        The content of `kit.json`, and the folder that the images' paths are relative to.

    Raises:
        SettingsError: `out` exists and is not this kit, or cannot be written.
        DataError: an image or a label map cannot be read.
    """
    root = _common_root(test, root)
    copy_images = copy_images or test.protocol.task == "classification" or not test.data.images_are_files
    if out.is_symlink() or out.exists():
        if not is_folder(out):
            raise SettingsError(f"--out {out} is no folder; expected a new one")
        if any(out.iterdir()):
            return _same_kit(test, out, copy_images), out if copy_images else root
    try:
        with scratch_folder(out, "choose another with --out") as new:
            kit = _Writer(test, new, root, dataset or test.manifest.header.dataset, copy_images).write(progress)
            new.rename(out)
    except OSError as error:
        raise SettingsError(
            f"cannot write to {out} ({error.strerror}); expected a new folder; choose another"
        ) from error
    return kit, out if copy_images else root


def _same_kit(test: Test, out: Path, copy_images: bool) -> Kit:
    """Return the kit that is in `out`. Raises SettingsError unless it is the whole one of `test`."""
    try:
        kit = read_kit(out)
        check_kit(out, kit)
    except RecordError as error:
        raise SettingsError(f"--out {out} is not empty: {error}") from None
    if (kit.test, kit.copied_images) != (test.manifest.sha256, copy_images):
        found = kit.test[:16] if kit.test != test.manifest.sha256 else "this test with other choices of --copy-images"
        raise SettingsError(f"--out {out} has the kit of {found}, expected a new folder; choose another")
    return kit


def _common_root(test: Test, root: Path | None) -> Path:
    """Return the folder `root` if all images are below it, else the lowest folder that they are below."""
    classified = test.protocol.task == "classification"
    names: Iterable[str] = chain.from_iterable(test.data.images) if classified else test.manifest.image_names
    folders = {Path(test.data.image_path(name)).absolute().parent for name in names}
    if root is not None and all(folder.is_relative_to(root.absolute()) for folder in folders):
        return root.absolute()
    return Path(os.path.commonpath(folders))


@dataclass
class _Writer:
    """The folder of a kit while it is written."""

    test: Test
    folder: Path
    root: Path
    dataset: str
    copy_images: bool
    _images: dict[Any, dict[str, Any]] = field(default_factory=dict)
    _masks: dict[tuple[str, int], str] = field(default_factory=dict)
    _has_boxes: bool = False
    _image_entries: set[str] = field(default_factory=set)
    _base_classes: list[str] = field(default_factory=list)

    def write(self, progress: Callable[[Test], Any]) -> Kit:
        """Write all files; `kit.json`, which is written last, names the others."""
        header = self.test.manifest.header
        with (self.folder / EPISODES).open("w") as file:
            for episode in progress(self.test):
                file.write(json.dumps(self._entries(episode), separators=(",", ":")) + "\n")
        told = not self.copy_images and paths_tell_classes(self.test, self.root)
        text = rules(self.test, self._has_boxes, self._base_classes, self.copy_images, told, self._image_entries)
        (self.folder / "RULES.md").write_text(text, encoding="utf-8")
        shutil.copyfile(answers.__file__, self.folder / "answers.py")
        names = sorted(path.relative_to(self.folder).as_posix() for path in self.folder.rglob("*") if path.is_file())
        template = (_TEMPLATES / f"{self.test.protocol.task}.py.txt").read_text()
        data = "KIT" if self.copy_images else f"{str(self.root)!r}  # the folder that paths of images start from"
        (self.folder / EXAMPLE).write_text(template.replace("@DATA@", data), encoding="utf-8")
        whole = header.requested == header.official_episodes
        task = {one.name: getattr(header, one.name) for one in Task.arguments()}
        task["episodes"] = None if whole else header.requested
        kit = Kit(
            test=self.test.manifest.sha256,
            dataset=self.dataset,
            protocol=header.protocol,
            protocol_version=header.version,
            protocol_parts=header.protocol_parts,
            lists=header.lists,
            copied_images=self.copy_images,
            own_list=not header.is_official,
            files={name: sha256_file(self.folder / name) for name in names},
            **task,
        )
        (self.folder / FILE).write_text(json.dumps(kit.model_dump(), indent=1) + "\n")
        return kit

    def _entries(self, episode: VisibleEpisode | VisibleImages) -> dict[str, Any]:
        """Return the line of an episode: what whoever answers it may know."""
        if isinstance(episode, VisibleImages):
            supports, queries = self.test.image_names(episode.number)
            return {
                "number": episode.number,
                "supports": [[self._photo(name) for name in way] for way in supports],
                "queries": [self._photo(name) for name in queries],
            }
        if not self._base_classes:
            numbers = [number for number, way in zip(episode.classes, episode.supports, strict=True) if not way]
            self._base_classes = [self.test.data.name_of(number) for number in numbers]
        return {
            "number": episode.number,
            "query": self._image(episode.query_name, episode.query_file, self.test.data.crop(episode.query_name)),
            "size": asked_size(self.test, episode.query_name),
            "supports": [[self._support(support) for support in way] for way in episode.supports],
        }

    def _photo(self, name: str) -> dict[str, Any]:
        return self._image(name, Path(self.test.data.image_path(name)))

    def _support(self, support: VisibleSupport) -> dict[str, Any]:
        key = support.name, support.number
        if key not in self._masks:
            self._masks[key] = f"masks/{len(self._masks):06d}.png"
            (self.folder / "masks").mkdir(exist_ok=True)
            Image.fromarray(np.ascontiguousarray(support.mask)).save(self.folder / self._masks[key])
        entry = self._image(support.name, support.file, self.test.data.crop(support.name)) | {"mask": self._masks[key]}
        if support.box is not None:
            self._has_boxes = True
            entry["box"] = [float(value) for value in support.box]
        return entry

    def _image(self, name: str, file: Path, crop: tuple[slice, slice] | None = None) -> dict[str, Any]:
        if name in self._images:
            return dict(self._images[name])
        entry: dict[str, Any] = {"image": file.absolute().relative_to(self.root).as_posix()}
        orientation = image_orientation(self.test.data, name)
        transparent = self.test.data.images_are_files and is_transparent(file, picture_header(file))
        as_stored = not (crop or is_turned(orientation) or transparent) and self.test.data.images_are_files
        if self.copy_images:
            (self.folder / "images").mkdir(exist_ok=True)
            entry = {"image": f"images/{len(self._images):06d}{file.suffix if as_stored else '.png'}"}
            if as_stored:
                shutil.copyfile(file, self.folder / entry["image"])
            else:
                Image.fromarray(image_pixels(self.test.data, name)).save(self.folder / entry["image"])
            if not self.test.data.images_are_files and self.test.data.has_intensities:
                entry["intensities"] = str(Path(entry["image"]).with_suffix(".npy").as_posix())
                np.save(self.folder / entry["intensities"], image_intensities(self.test.data, name))
        else:
            entry |= {"transparent": True} if transparent else {}
            if crop is not None:
                entry["crop"] = [int(end) for end in _ends(crop)]
            elif is_turned(orientation):
                entry["orientation"] = orientation
            self._image_entries |= entry.keys()
        self._images[name] = entry
        return dict(entry)


def _ends(crop: tuple[slice, slice]) -> Iterator[int]:
    for part in crop:
        yield part.start or 0
        yield part.stop
