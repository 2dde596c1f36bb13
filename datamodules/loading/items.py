"""Items of a loader: an episode's names turned into tensors, decoded, resized and renamed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fsbench.base.tensor_cache import FeatureCache
from fsbench.data.annotations import WEAK, SupportAnnotation
from fsbench.data.batch import EpisodeBatch, Hint, Hints, ImageEpisode, Truth
from fsbench.data.connected import BoxOf, bounding_boxes, largest_part_box
from fsbench.data.dataset import VOID, ClassificationData, SegmentationData
from fsbench.data.decoding import DecodedImageCache
from fsbench.data.episodes.episode import ClassificationEpisode, Episode
from fsbench.data.image_io import image_pixels
from fsbench.data.label_maps import LABEL_RESIZES, padded_shape, way_labels
from fsbench.data.orientation import check_sizes
from fsbench.data.support_annotation import AnnotationStreams, draw_label, keep_share
from fsbench.data.transforms import MEASURED, RESIZES, centre_square, own_pixels, resize_padded
from fsbench.data.truth import EpisodeTruth
from fsbench.protocols.draws.draw import Draw
from fsbench.protocols.view import InputResize, View, input_rule


@dataclass(frozen=True)
class LoadingConfig:
    """Settings by which an episode's files become tensors.

    Attributes:
        size: side S of images in pixels.
        view: how images and the ground truth are resized.
        cache_bytes: bytes of memory in which a loader process keeps decoded files for later episodes.
        annotation: kind of the supports' labels, a key of `ANNOTATIONS` such as "mask" or "box"; with "all_ways" a
            support's labels also show the episode's other classes.
        annotation_seed: seed of weak annotations and `kept_support`, together with the episode's number.
        input_resize: rule by which a method wants images and support labels resized, or "protocol" for the protocol's;
            the ground truth always follows the protocol.
        hints: names of the inputs that the method needs besides images and masks, such as class names.
        kept_support: share of each support's object that is labelled (`keep_share`); boxes always surround the whole
            object.
    """

    size: int
    view: View = field(default_factory=View)
    cache_bytes: int = 0
    annotation: SupportAnnotation = "mask"
    annotation_seed: int = 0
    input_resize: InputResize = "protocol"
    hints: frozenset[Hint] = frozenset()
    kept_support: float = 1.0

    @property
    def resize(self) -> str:
        """Name of the rule in `RESIZES` by which images and support labels are resized."""
        return input_rule(self.view.resize, self.input_resize)

    def files(self, data: SegmentationData) -> DecodedImageCache:
        """Return an empty cache of decoded images and label maps of a data set."""
        measured = self.resize in MEASURED
        return DecodedImageCache(data, RESIZES[self.resize][0], self.size, self.cache_bytes, measured)


def load_episode(
    data: SegmentationData,
    episode: Episode,
    config: LoadingConfig,
    files: DecodedImageCache | None = None,
    box_of: BoxOf | None = None,
) -> EpisodeBatch:
    """Load one segmentation episode as a batch of size 1.

    Args:
        data: the data set.
        episode: names of its images and numbers of its classes.
        config: settings of loading.
        files: cache of decoded files; None for a new, empty one.
        box_of: function from a support's name, class number and mask to its box, for methods that need boxes; None for
            the box around the largest connected part of the mask.

    Raises:
        DataError: a file cannot be decoded, or a mask has another size than its image; the message names it.
    """
    files, resize_labels = files or config.files(data), RESIZES[config.resize][1]
    names = list(dict.fromkeys([episode.query, *(name for way in episode.supports for name in way)]))
    rows = {name: row for row, name in enumerate(names)}
    images, labels = [], {}
    for name in names:
        image, labels[name] = files.decoded(name)
        images.append(image)
    side = config.size
    given = support_labels(data, episode, config, labels.__getitem__)
    shown, lacking = None, not all(episode.supports)
    nothing = torch.zeros(1, len(given), 0, side, side, dtype=torch.uint8)
    if config.annotation == "all_ways" and not any(episode.supports):
        shown = nothing
    elif config.annotation == "all_ways":
        all_ways = [
            [
                resize_labels(way_labels(labels[name], data.label_values(name, episode.classes)), side, side)
                for name in way
            ]
            for way in episode.supports
        ]
        shown = torch.where(stack_supports(given) == VOID, VOID, stack_supports(all_ways))
    return _batch_of_one(
        images,
        names,
        stack_supports([[rows[name] for name in way] for way in episode.supports]).long(),
        stack_supports(given) if any(episode.supports) else nothing,
        config.view.episode_truth(data, episode, side, labels[episode.query]),
        valid=stack_supports([[True] * len(way) for way in episode.supports]).bool(),
        support_ways=shown,
        ways=torch.tensor([len(episode.classes)]) if lacking else None,
        unsupported_are_base=not lacking,
        hints=[_load_hints(data, episode, config, labels, box_of)] if config.hints else None,
        counted_pixels=own_pixels(labels[episode.query].shape, side, config.resize),
    )


def stack_supports(by_way: Sequence[Sequence[Any]]) -> Tensor:
    """Return numbers or arrays of the supports of N ways as a tensor (1, N, K, ...); ways with fewer end with zeros."""
    rows = [np.array(of_way) for of_way in by_way]
    most = max(rows, key=len)
    found = np.zeros((1, len(rows), *most.shape), most.dtype)
    for way, own in enumerate(rows):
        if len(own):
            found[0, way, : len(own)] = own
    return torch.from_numpy(found)


def load_item(
    draw: Draw, data: SegmentationData, episode: Episode, config: LoadingConfig, files: DecodedImageCache
) -> EpisodeBatch:
    """Load a test episode with its ground truth, as one item of a loader.

    An episode without any support becomes an image whose label map has all classes.

    Args:
        draw: the draw of the episode, which may give the boxes of supports or ask for base classes without supports.
        data: the data set, as the draw's `data` returns it.
        episode: names of its images and numbers of its classes.
        config: settings of loading, such as the side of images.
        files: cache of decoded files.

    Raises:
        DataError: a file cannot be decoded, or image and label map differ in size.
    """
    if any(episode.supports) or draw.supports_serve_all:
        if draw.asks_base_classes:
            return _load_base_and_novel(data, episode, config, files)
        return load_episode(data, episode, config, files, draw.box_of(data))
    pixels, labels = read_labelled(data, episode.query)
    truth = config.view.episode_truth(data, episode, config.size, labels)
    return whole_image(episode.query, resize_padded(pixels, config.size), truth)


def _load_base_and_novel(
    data: SegmentationData, episode: Episode, config: LoadingConfig, files: DecodedImageCache
) -> EpisodeBatch:
    """Load a query with all supports; those of base classes are absent, and supports show novel classes alone."""
    side, ways = config.size, len(episode.classes)
    shots = max(len(names) for names in episode.supports)
    names = list(dict.fromkeys([episode.query, *(name for way in episode.supports for name in way)]))
    images, labels, small = [], {}, {}
    for name in names:
        image, labels[name] = files.decoded(name)
        images.append(image)
        numbered = way_labels(labels[name], data.label_values(name, episode.classes))
        small[name] = torch.from_numpy(LABEL_RESIZES[config.view.resize](numbered, side, side))
    support = torch.zeros(1, ways, shots, dtype=torch.int64)
    valid = torch.zeros(1, ways, shots, dtype=torch.bool)
    shown = torch.zeros(1, ways, shots, side, side, dtype=torch.uint8)
    own = torch.zeros_like(shown)
    base = [way for way, listed in enumerate(episode.supports, start=1) if not listed]
    for way, listed in enumerate(episode.supports):
        for number, name in enumerate(listed):
            support[0, way, number], valid[0, way, number] = names.index(name), True
            seen = small[name]
            shown[0, way, number] = torch.where(torch.isin(seen, torch.tensor(base, dtype=seen.dtype)), 0, seen)
            own[0, way, number] = torch.where(seen == VOID, VOID, seen == way + 1)
    truth = config.view.episode_truth(data, episode, side, labels[episode.query])
    counted = small[episode.query] != VOID
    if not config.view.tells_void:
        height, width = labels[episode.query].shape
        rows, columns = padded_shape(height, width, side)
        counted = torch.zeros_like(counted)
        counted[:rows, :columns] = True
    more = {"support_ways": shown, "ways": torch.tensor([ways]), "counted_pixels": counted[None]}
    return _batch_of_one(images, names, support, own, truth, valid=valid, **more)


def whole_image(name: str, image: Tensor, truth: EpisodeTruth) -> EpisodeBatch:
    """Return an image (3, S, S) and its ground truth as an episode without supports."""
    ways = len(truth.classes)
    no_support = torch.zeros(1, ways, 0, dtype=torch.int64)
    no_labels = torch.zeros(*no_support.shape, *truth.label_map.shape, dtype=torch.uint8)
    return _batch_of_one([image], [name], no_support, no_labels, truth, ways=torch.tensor([ways]))


def _batch_of_one(
    images: list[Tensor],
    names: list[str],
    support: Tensor,
    support_labels: Tensor,
    truth: EpisodeTruth,
    valid: Tensor | None = None,
    **more: Any,
) -> EpisodeBatch:
    """Return an episode as a batch; its query is the first image, and `more` are further fields of the batch."""
    label_map = np.require(truth.label_map, requirements="W")  # torch takes no array that cannot be written
    presence, classes = torch.from_numpy(truth.presence)[None], torch.from_numpy(truth.classes)[None]
    return EpisodeBatch(
        images=torch.stack(images),
        image_names=names,
        query=torch.zeros(1, dtype=torch.int64),
        support=support,
        support_labels=support_labels,
        valid=torch.ones(support.shape, dtype=torch.bool) if valid is None else valid,
        query_sizes=torch.tensor([truth.size]),
        episodes=torch.tensor([truth.episode]),
        truth=Truth([torch.from_numpy(label_map)], presence, classes),
        **more,
    )


def support_labels(
    data: SegmentationData, episode: Episode, config: LoadingConfig, label_map: Callable[[str], np.ndarray]
) -> list[list[np.ndarray]]:
    """Return the labels, by way and shot, with which a method gets the supports of a test episode.

    Args:
        data: the data set.
        episode: names of its images and numbers of its classes.
        config: settings of loading.
        label_map: function from an image name to the image's label map (H, W).

    Returns:
        For each way a list of K labels (S, S) uint8: 1 where the way's class is labelled (by mask, box, points, …), 255
        void, else 0.
    """
    draws = config.annotation in WEAK
    told = []
    for way, (number, names) in enumerate(zip(episode.classes, episode.supports, strict=True)):
        # anew for each way, so that a support is drawn alike whatever the other ways and the later shots are
        streams = AnnotationStreams.of_episode(config.annotation_seed, episode.number) if draws else None
        labels = [_support_label(data, name, number, label_map(name), config, streams) for name in names]
        if config.kept_support < 1:
            seeds = [(episode.number, way, shot, config.annotation_seed) for shot in range(len(labels))]
            labels = [keep_share(label, config.kept_support, seed) for label, seed in zip(labels, seeds, strict=True)]
        told.append(labels)
    return told


def _support_label(
    data: SegmentationData,
    name: str,
    number: int,
    labels: np.ndarray,
    config: LoadingConfig,
    streams: AnnotationStreams | None,
) -> np.ndarray:
    """Return the label (S, S) uint8 of class `number` in support `name`, whose label map is `labels` (H, W).

    Weak annotations are drawn from the mask as methods see it, after it was resized (vrp-sam.md §3); `bbox` before.
    """
    resize_labels, side, kind = RESIZES[config.resize][1], config.size, config.annotation
    own = way_labels(labels, data.label_values(name, [number]))
    if kind == "bbox":
        own = bounding_boxes(own)
    seen = np.asarray(resize_labels(own, side, side))
    if streams is None or kind == "bbox":
        return seen
    if kind == "box" or kind == "point" or kind == "scribble":
        drawn = draw_label(seen, kind, streams)
    elif kind == "instance-box":
        objects = data.object_masks(name, number)
        drawn = draw_label(
            seen, "box", streams, [resize_labels(one.astype(np.uint8), side, side) == 1 for one in objects]
        )
    else:
        return seen
    padding = np.asarray(resize_labels(np.zeros_like(own), side, side))  # void beside the image, where there is any
    return np.maximum(padding, drawn)


def _load_hints(
    data: SegmentationData,
    episode: Episode,
    config: LoadingConfig,
    labels: Mapping[str, np.ndarray],
    box_of: BoxOf | None,
) -> Hints:
    """Load what the method asks for beside images and masks; `labels` are the label maps by name.

    A photo or box has no place where images are padded, in a frame or to a square: answers lie over the padded images,
    which are all that is seen.
    """
    query, supports, boxes, names = None, None, None, None
    seen = config.hints if config.resize not in ("frame", "padded") else config.hints & {"class names"}
    if "photos" in seen:
        query = _photo(data, episode.query)
        supports = [[_photo(data, name) for name in way] for way in episode.supports]
    if "boxes" in seen:
        shots = max(map(len, episode.supports))
        boxes = torch.full((len(episode.classes), shots, 4), torch.nan, dtype=torch.float64)
        for way, (number, of_way) in enumerate(zip(episode.classes, episode.supports, strict=True)):
            for shot, name in enumerate(of_way):
                mask = labels[name] == data.label_values(name, [number])[0]
                box = largest_part_box(mask) if box_of is None else box_of(name, number, mask)
                if box is not None:
                    boxes[way, shot] = torch.tensor(box, dtype=torch.float64)
    if "class names" in seen:
        names = tuple(data.name_of(number) for number in episode.classes)
    return Hints(query, supports, boxes, names)


def _photo(data: SegmentationData, name: str) -> Tensor:
    """Return an image (3, H, W) uint8 at its own size."""
    return torch.from_numpy(image_pixels(data, name)).permute(2, 0, 1).contiguous()


def labelled_image(data: SegmentationData, name: str, classes: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Read image `name` and its label map, in which the n-th of `classes` gets the value n.

    Returns:
        Pixels (H, W, 3) uint8 and the label map (H, W) uint8: 0 background, 1..n, 255 void.

    Raises:
        DataError: a file cannot be decoded, or image and label map differ in size.
    """
    pixels, labels = read_labelled(data, name)
    return pixels, way_labels(labels, data.label_values(name, classes))


def read_labelled(data: SegmentationData, name: str) -> tuple[np.ndarray, np.ndarray]:
    """Read image `name` as pixels (H, W, 3) uint8, and its label map (H, W) of class numbers.

    Raises:
        DataError: a file cannot be decoded, or image and label map differ in size.
    """
    labels, pixels = data.label_map(name), image_pixels(data, name)
    check_sizes(data.image_path(name), pixels, labels, data.label_file(name))
    return pixels, labels


@dataclass(frozen=True)
class ImageLoading:
    """Settings by which classification episodes are loaded.

    Attributes:
        names: names of all images, in an order that gives away no classes.
        class_places: for every class, the positions in `names` of its images.
        size: side S of images in pixels.
        seed: the seed that an episode gives to methods for their random numbers.
        with_images: whether the images are loaded, and not only their positions in `names`.
    """

    names: tuple[str, ...]
    class_places: tuple[tuple[int, ...], ...]
    size: int
    seed: int
    with_images: bool = True

    def places(self, episode: ClassificationEpisode) -> tuple[Tensor, Tensor]:
        """Return the positions in `names` of an episode's supports (N, K) and queries (N, q)."""
        places = [self.class_places[number] for number in episode.classes]
        support = [[way[image] for image in images] for way, images in zip(places, episode.support, strict=True)]
        query = [[way[image] for image in images] for way, images in zip(places, episode.query, strict=True)]
        return torch.tensor(support), torch.tensor(query)


def load_image_episode(
    data: ClassificationData, episode: ClassificationEpisode, config: ImageLoading, files: FeatureCache
) -> ImageEpisode:
    """Load one classification episode; `files` caches decoded images of earlier episodes.

    Raises:
        DataError: a file cannot be read; the message names it.
    """
    support, query = config.places(episode)
    numbers = tuple(number + 1 for number in episode.classes)
    if not config.with_images:
        return ImageEpisode(episode.number, config.seed, numbers, support, query)
    names = [config.names[place] for place in [*support.flatten().tolist(), *query.flatten().tolist()]]
    images = [files.get("image", name, partial(centre_image, data, name, config.size)) for name in names]
    return ImageEpisode(episode.number, config.seed, numbers, support, query, torch.stack(images))


def centre_image(data: ClassificationData, name: str, size: int) -> Tensor:
    """Return the middle square of image `name` as (3, S, S) uint8, after resizing (fort.md §3).

    Raises:
        DataError: the file cannot be read; the message names it.
    """
    return centre_square(image_pixels(data, name), size)
