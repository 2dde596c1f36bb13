"""Copies: images of a data set whose files are equal byte for byte, whatever their names.

In a data set of the user's own an image and its copies are one photo. In a published one the authors' lists go by
names, and a name is an image.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from fsbench.data.dataset import AnyData, ClassificationData, SegmentationData
from fsbench.data.file_digests import UNREADABLE, content_digests, file_state
from fsbench.data.file_rules import remark

_MOST = 3
"""Images that are named with their copies."""


def photo_files(data: AnyData, names: Iterable[str]) -> Callable[[str], Path]:
    """Return a function from an image name to its photo's file; byte-equal copies among `names` give the same file.

    In a published data set every image has its own file.
    """
    first = {name: data.image_path(group[0]) for group in copied_images(data, names) for name in group}
    return lambda name: first.get(name) or data.image_path(name)


def copied_images(data: AnyData, names: Iterable[str]) -> list[list[str]]:
    """Return groups of images among `names` whose files are equal byte for byte; [] for published data sets.

    Only files of equal size are read.
    """
    if data.source.kind != "own":
        return []
    files = {name: data.image_path(name) for name in names}
    sizes = {name: file_state(path)[0] for name, path in files.items()}
    often = Counter(sizes.values())
    alike = [name for name in files if often[sizes[name]] > 1]
    groups: dict[str, list[str]] = {}
    for name, digest in zip(alike, content_digests([files[name] for name in alike]), strict=True):
        groups.setdefault(digest, []).append(name)
    return [group for digest, group in groups.items() if digest != UNREADABLE and len(group) > 1]


def copy_remarks(data: AnyData, names: Iterable[str], shown: Callable[[str], str] = str) -> list[str]:
    """Return notes that say which of `names` are byte-equal copies: one for equal labels and one for different labels.

    Args:
        data: the data set.
        names: names of the images to compare.
        shown: function from an image name to the text that is printed for it.

    Raises:
        DataError: a label map of a copied image cannot be read.
    """
    alike: list[list[str]] = []
    unlike: list[list[str]] = []
    is_alike = _equal_label_maps(data) if isinstance(data, SegmentationData) else _one_class(data)
    for group in copied_images(data, names):
        (alike if is_alike(group) else unlike).append(group)
    words = (
        ("with equal label maps", "with different label maps")
        if isinstance(data, SegmentationData)
        else ("in one class", "in several classes")
    )
    return [
        remark(
            "image_copied", _number_of(groups), how=how, copies=_listed([" = ".join(map(shown, one)) for one in groups])
        )
        for groups, how in zip((alike, unlike), words, strict=True)
        if groups
    ]


def trained_remarks(data: AnyData, tested: Iterable[str], trained: Iterable[str]) -> list[str]:
    """Return a note that names the `tested` images that are also in `trained`, by name or as a copy; [] if none is."""
    tested, trained = set(tested), set(trained)
    both = sorted(tested & trained)
    for group in copied_images(data, sorted(tested | trained)):
        learned = next((name for name in group if name in trained), None)
        both += [f"{name} = {learned}" for name in group if learned and name in tested - trained]
    return [remark("image_tested_and_trained", _number_of(both), images=_listed(both))] if both else []


def _number_of(images: Sequence[object]) -> str:
    """Return the number of images, as the subject of a sentence with its verb."""
    return f"{len(images)} image{' is' if len(images) == 1 else 's are'}"


def _listed(images: Sequence[str]) -> str:
    return ", ".join(images[:_MOST]) + ", …" * (len(images) > _MOST)


def _equal_label_maps(data: SegmentationData) -> Callable[[Sequence[str]], bool]:
    def equal(group: Sequence[str]) -> bool:
        first = data.label_map(group[0])
        return all(np.array_equal(first, data.label_map(name)) for name in group[1:])

    return equal


def _one_class(data: ClassificationData) -> Callable[[Sequence[str]], bool]:
    class_of: Mapping[str, int] = {name: number for number, images in enumerate(data.images) for name in images}
    return lambda group: len({class_of[name] for name in group}) == 1
