"""Images that show the same: copies of one photo, whatever their names and files, and images of one group.

In a data set of the user's own an image and its copies are one photo. In a published one the authors' lists go by
names, and a name is an image.
"""

import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import fingerprint
from fsbench.base.files.images import open_image
from fsbench.data.dataset import AnyData, ClassificationData, SegmentationData
from fsbench.data.disk_cache import load_json, save_json
from fsbench.data.episodes.episode import ClassificationEpisode, Episode
from fsbench.data.file_digests import UNREADABLE, content_digests
from fsbench.data.file_rules import remark
from fsbench.data.image_io import image_pixels
from fsbench.data.list_substitutes import print_once

SubjectOf = Callable[[str], str]
"""Gives one name to all images that show the same."""


class Likeness(NamedTuple):
    """Tells which images show the same.

    Attributes:
        photo_of: gives copies of a photo, and crops of one file, the same name.
        subject_of: gives copies, and images of one group, the same name.
    """

    photo_of: SubjectOf
    subject_of: SubjectOf


KIND = "pixels-of-photos"
"""Kind of the cached checksums of decoded pixels, by the checksum of a file's content."""
_MOST = 3
"""Images that are named with their copies."""
_MOST_PIXELS = 10**10
"""Pixels that are decoded at most to find copies, which takes a minute or two; larger sets are compared by bytes."""


def likeness(data: AnyData, names: Iterable[str]) -> Likeness:
    """Return what tells which of `names` are copies of each other, and which are of one group.

    In a published data set every file is a photo of its own, and there are no groups.
    """
    names = list(names)
    first = {name: group[0] for group in copied_images(data, names) for name in group}

    def photo_of(name: str) -> str:
        return str(data.image_path(first.get(name, name)))

    if data.source.kind != "own" or all(data.group_of(name) == name for name in names):
        return Likeness(photo_of, photo_of)
    joined: dict[tuple[str, str], tuple[str, str]] = {}

    def last(key: tuple[str, str]) -> tuple[str, str]:
        while (following := joined.get(key, key)) != key:
            key = following
        return key

    for name in names:  # a photo that is in two groups makes them one
        joined[last(("photo", photo_of(name)))] = last(("group", data.group_of(name)))
    return Likeness(photo_of, lambda name: "/".join(last(("photo", photo_of(name)))))


def copied_images(data: AnyData, names: Iterable[str]) -> list[list[str]]:
    """Return groups of images among `names` whose decoded pixels are equal; [] for published data sets.

    Only images of equal size are read, and only those with other bytes than all others are decoded.
    """
    if data.source.kind != "own" or not data.images_are_files:
        return []
    files = {name: data.image_path(name) for name in names}
    sizes = {name: _size(path) for name, path in files.items()}
    often = Counter(sizes.values())
    alike = [name for name, size in sizes.items() if size and often[size] > 1]
    digests = dict(zip(alike, content_digests([files[name] for name in alike]), strict=True))
    readable = [name for name in alike if digests[name] != UNREADABLE]
    pixels = _pixel_digests(data, {digests[name]: name for name in reversed(readable)}, sizes)
    groups: dict[str, list[str]] = {}
    for name in readable:
        groups.setdefault(pixels.get(digests[name], digests[name]), []).append(name)
    return [group for group in groups.values() if len(group) > 1]


def _size(path: Path) -> tuple[int, ...]:
    """Return the sides of a picture, ascending, since it may lie turned in its file; () if it cannot be read."""
    with suppress(OSError, ValueError, DataError), open_image(path) as image:
        return tuple(sorted(image.size))
    return ()


def _pixel_digests(data: AnyData, image_of: Mapping[str, str], sizes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Return {checksum of a file's content: checksum of its decoded pixels}, of files with images of equal size.

    Checksums are kept in the disk cache. Files that cannot be decoded are left out, as are all those of very large
    sets.

    Args:
        data: the data set.
        image_of: {checksum of a file's content: an image of that content}.
        sizes: {image: its sides}.
    """
    from tqdm import tqdm  # spares commands that read nothing its import

    often = Counter(sizes[name] for name in image_of.values())
    images = {content: name for content, name in image_of.items() if often[sizes[name]] > 1}
    folders = {data.image_path(name).parent for name in images.values()}
    keys = {folder: fingerprint([str(folder.absolute()), data.turns_images]) for folder in folders}
    kept: dict[Path, dict[str, str]] = {folder: load_json(KIND, key) or {} for folder, key in keys.items()}
    found = {content: pixels for of_folder in kept.values() for content, pixels in of_folder.items()}
    new = [content for content in images if content not in found]
    if sum(np.prod(sizes[images[content]]) for content in new) > _MOST_PIXELS:
        print_once(f"{data.name} has more pixels than are compared; copies of images are found by the bytes of files")
        return {}

    def digest(content: str) -> str:
        with suppress(DataError):  # whoever uses the image says what is wrong
            pixels = image_pixels(data, images[content])
            return hashlib.sha256(f"{pixels.shape}".encode() + pixels.tobytes()).hexdigest()
        return ""

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        decoded = tqdm(pool.map(digest, new), "Comparing images", len(new), unit="image", delay=1, disable=None)
        found |= zip(new, decoded, strict=True)
    for folder in {data.image_path(images[content]).parent for content in new}:
        own = {content: found[content] for content in new if data.image_path(images[content]).parent == folder}
        save_json(KIND, keys[folder], kept[folder] | own)
    return {content: found[content] for content in images if found[content]}


def copy_remarks(data: AnyData, names: Iterable[str], shown: Callable[[str], str] = str) -> list[str]:
    """Return notes that say which of `names` are copies: one for equal labels and one for different labels.

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


def group_remarks(data: AnyData, episodes: Sequence[Episode | ClassificationEpisode]) -> list[str]:
    """Return a note on the episodes in which a support is of a query's group; [] if there are none."""
    if data.source.kind != "own":
        return []
    group_of = cache(data.group_of)

    def is_joined(episode: Episode | ClassificationEpisode) -> bool:
        ways = named_ways(episode, data)
        asked = {group_of(name): name for _, queries in ways for name in queries}
        return any(asked.get(group_of(name), name) != name for supports, _ in ways for name in supports)

    joined = sum(map(is_joined, episodes))
    number = f"in {joined} of {len(episodes)} episodes"
    return [f"{number} a support is of a query's group, as classes have too few images of others"] if joined else []


def trained_remarks(data: AnyData, tested: Iterable[str], trained: Iterable[str]) -> list[str]:
    """Return a note that names the `tested` images that are also in `trained`, by name or as a copy; [] if none is."""
    tested, trained = set(tested), set(trained)
    both = sorted(tested & trained)
    for group in copied_images(data, sorted(tested | trained)):
        learned = next((name for name in group if name in trained), None)
        both += [f"{name} = {learned}" for name in group if learned and name in tested - trained]
    return [remark("image_tested_and_trained", _number_of(both), images=_listed(both))] if both else []


Way = tuple[Sequence[str], Sequence[str]]
"""Names of the supports of a way of an episode, and of the queries that are asked with them."""


def named_ways(episode: Episode | ClassificationEpisode, data: AnyData) -> list[Way]:
    """Return the ways of an episode with the names of their images."""
    if isinstance(episode, Episode):
        return [(supports, (episode.query,)) for supports in episode.supports]
    assert isinstance(data, ClassificationData)
    images = [data.images[number] for number in episode.classes]
    places = zip(images, episode.support, episode.query, strict=True)
    return [([own[place] for place in shown], [own[place] for place in asked]) for own, shown, asked in places]


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
