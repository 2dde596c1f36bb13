"""A manifest against the local data: whether the images are there, and are those that it was made with."""

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from fsbench.base.errors import DataError
from fsbench.base.files import is_file, sha256_file
from fsbench.data.dataset import AnyData, ClassificationData, SegmentationData
from fsbench.data.episodes.manifest import Manifest
from fsbench.data.episodes.settings import SIZE_BINS


def image_hash(data: SegmentationData, name: str) -> str:
    """Return 32 hex digits: 16 of the sha256 of the photo's bytes, 16 of that of its label map."""
    labels = data.label_map(name)
    content = f"{labels.shape}".encode() + np.ascontiguousarray(labels).tobytes()
    return sha256_file(data.image_path(name))[:16] + hashlib.sha256(content).hexdigest()[:16]


def hash_images(
    manifest: Manifest, data: SegmentationData, progress: Callable[[list[str]], Any] = iter
) -> dict[str, str]:
    """Return {image name: hash of the local photo and label map} for all images of a manifest.

    Args:
        manifest: a list of episodes.
        data: the local data set.
        progress: wraps the list of names to show progress, as `tqdm` does.
    """
    return {name: image_hash(data, name) for name in progress(manifest.image_names)}


def mismatches(manifest: Manifest, data: AnyData, progress: Callable[[list[str]], Any] = iter) -> list[str]:
    """Return why a list of episodes does not fit the local data, one sentence each; [] if it fits.

    If the manifest has image hashes, every photo and label map must be the same. Otherwise every image must exist and
    show the class that it is listed for.
    """
    header = manifest.header
    if header.dataset != data.name:
        return [f"it is for the data set {header.dataset}, not for {data.name}"]
    names = {str(number): name for number, name in enumerate(data.class_names, 1)}
    wrong = next((number for number, name in header.class_names.items() if names.get(number) != name), None)
    if wrong is not None:
        return [f"its class {wrong} is {header.class_names[wrong]}, here it is {names.get(wrong, 'unknown')}"]
    if isinstance(data, ClassificationData):
        return _places_without_image(manifest, data)
    if foreign := _foreign_class(manifest, data):
        return [foreign]
    images = manifest.image_names
    absent = [name for name in images if not is_file(data.image_path(name))]
    if absent:
        return [f"{len(absent)} of its {len(images)} images are not there, for example {data.image_path(absent[0])}"]
    if not manifest.images:
        return _without_class(manifest, data, progress) or _of_other_size(manifest, data)
    found = hash_images(manifest, data, progress)
    photos = [name for name in images if manifest.images.get(name, "")[:16] != found[name][:16]]
    labels = [name for name in images if manifest.images.get(name, "")[16:] != found[name][16:]]
    return _differing(photos, "photos") + _differing(labels, "label maps") or _of_other_size(manifest, data)


def _differing(names: list[str], what: str) -> list[str]:
    if not names:
        return []
    return [f"{len(names)} {what} differ from those it was made with: {', '.join(names[:5])}{', …' * (len(names) > 5)}"]


def _foreign_class(manifest: Manifest, data: SegmentationData) -> str:
    """Say which episode is about a class that the data set does not have; "" if none is."""
    known = {number for number, name in enumerate(data.class_names, 1) if name}
    for episode in manifest.episodes:
        shown = {episode.query_class} - {0}  # 0 where a query may show nothing
        if strange := shown.union(episode.classes) - known:
            return f"episode {episode.number} is about the class {min(strange)}, which {data.name} does not have"
    return ""


def _places_without_image(manifest: Manifest, data: ClassificationData) -> list[str]:
    """Say which episode of classification names an image by a place that its class does not have."""
    if manifest.header.all_lists_sha256 != data.sha256:
        return ["its episodes name images by their places in another list of classes and images"]
    sizes = dict(enumerate(map(len, data.images)))
    episodes: Sequence[Any] = manifest.episodes
    for episode in episodes:
        for number, *places in zip(episode.classes, episode.support, episode.query, strict=True):
            strange = [place for part in places for place in part if not 0 <= place < sizes.get(number, 0)]
            if strange:
                found = f"place {strange[0]} of class {number}, which has {sizes.get(number, 0)} images"
                return [f"episode {episode.number} names {found}, counted from 0"]
    return []


def _without_class(manifest: Manifest, data: SegmentationData, progress: Callable[[list[str]], Any]) -> list[str]:
    needed: dict[str, dict[int, int]] = {}  # image -> class that it must show -> the first episode that asks for it
    for episode in manifest.episodes:
        needed.setdefault(episode.query, {}).setdefault(episode.query_class, episode.number)
        if manifest.header.all_classes:  # slots of a class with few images may have others' (gfss.md §5)
            continue
        for number, way in zip(episode.classes, episode.supports, strict=True):
            for name in way:
                needed.setdefault(name, {}).setdefault(number, episode.number)
    wrong: dict[str, int] = {}
    for name in progress(list(needed)):
        lacking = needed[name].keys() - data.class_pixels(name)[0].keys()
        wrong |= {name: min(lacking)} if lacking else {}
    if not wrong:
        return []
    name, number = next(iter(wrong.items()))
    which = f"{name}, which lacks {data.name_of(number) if number else 'background'} (episode {needed[name][number]})"
    return [f"{len(wrong)} images do not show the class they stand for, for example {which}"]


def _of_other_size(manifest: Manifest, data: SegmentationData) -> list[str]:
    """Say which query shows its class at another size than those of the manifest's setting."""
    lower, upper = SIZE_BINS.get(manifest.header.setting, (0, 2))
    for episode in manifest.episodes if upper <= 1 else ():
        pixels, total = data.class_pixels(episode.query)
        share = pixels.get(episode.query_class, 0) / total
        if not lower <= share < upper:
            shown = f"{episode.query} shows {data.name_of(episode.query_class)} on {share:.1%} of its pixels"
            return [f"{shown} (episode {episode.number}), and its setting is {manifest.header.setting}"]
    return []


def check_fits(manifest: Manifest, data: AnyData, source: str) -> None:
    """Check that a list of episodes fits the local data.

    Args:
        manifest: the list of episodes.
        data: the local data set.
        source: words for where the manifest was read, for the error message.

    Raises:
        DataError: an image is absent, differs from the manifest's hash, or lacks the class that it is listed for.
    """
    found = mismatches(manifest, data)
    if found:
        raise DataError(
            f"the manifest {source} does not fit the data: {'; '.join(found)}; use the data it was made with"
        )
    if isinstance(data, SegmentationData):
        data.check_classes(None, manifest.image_names)
