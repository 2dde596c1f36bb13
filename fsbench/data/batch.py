"""Episodes as tensors: what the data module hands to a method.

Shapes: B episodes, N ways, K shots, M distinct images, S image side, (h, w) a query's label map.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from functools import cache
from typing import Any, Literal, NoReturn

import cv2
import numpy as np
import torch
from torch import Tensor

from fsbench.base.errors import TruthError
from fsbench.base.tensor_cache import digest
from fsbench.data.truth import EpisodeTruth

IMAGENET_MEAN = (0.485, 0.456, 0.406)


IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass
class Truth:
    """Ground truth of a batch of episodes, which only the evaluation and the loss may see.

    Attributes:
        label_maps: B maps (h, w) uint8: 0 background, 1..N ways, 255 void. At original size in evaluation, (S, S) in
            training.
        presence: (B, N) bool, whether the way (class) occurs anywhere in the query at its original size.
        classes: (B, N) int64 class numbers, 0 where a way is padding.
        base_maps: B maps (S, S) uint8 of training queries: 0 background, 1..n the fold's base classes in ascending
            order, 255 void; empty unless the method asks for them.
    """

    label_maps: list[Tensor]
    presence: Tensor
    classes: Tensor
    base_maps: list[Tensor] = field(default_factory=list)


class HiddenTruth:
    """Replaces the ground truth of a batch while a method predicts: any access raises TruthError."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # Python's own questions, as when it is copied
            raise AttributeError(name)
        raise TruthError(_HIDDEN)

    def __bool__(self) -> bool:
        return False


_HIDDEN = (
    "a method asked for the truth of an episode that it predicts; expected a prediction from the supports and the "
    "query's image alone (fsbench check-method tests it)"
)


Hint = Literal["photos", "boxes", "class names"]
"""What a method may ask for beside images and masks of one side, see `Hints`."""


@dataclass(frozen=True)
class Hints:
    """Optional inputs of an episode besides images and masks; each is None unless the method asks for it.

    Attributes:
        query: (3, H, W) uint8 RGB, the query at its original size.
        supports: for each of N ways the K support photos at their original sizes, each (3, H, W) uint8 RGB.
        boxes: (N, K, 4) float64, x, y, width and height of a box for each support in pixels of its photo; NaN where the
            test has none.
        class_names: names of the N ways' classes.
    """

    query: Tensor | None = None
    supports: Sequence[Sequence[Tensor]] | None = None
    boxes: Tensor | None = None
    class_names: tuple[str, ...] | None = None

    def part(self, ways: Sequence[int], shots: slice) -> "Hints":
        """Return the hints for some of the ways, by number, and a slice of the shots; the query's photo is kept."""
        return Hints(
            self.query,
            None if self.supports is None else [self.supports[way][shots] for way in ways],
            None if self.boxes is None else self.boxes[list(ways), shots],
            None if self.class_names is None else tuple(self.class_names[way] for way in ways),
        )


@dataclass(frozen=True)
class Opening:
    """The first episode of a test about a certain class, which some methods use to adapt to the class.

    Attributes:
        episode: this episode as a batch of size 1, reduced to the class, without ground truth.
        way: position of the class among the episode's classes, from 0.
        ways: number of the episode's classes.
        order: rank of the class by first episodes: how many classes of the test have an earlier one.
    """

    episode: "EpisodeBatch"
    way: int
    ways: int
    order: int


@dataclass(frozen=True)
class WayClass:
    """Identity of a way's class within its test, without its number or name in the data set.

    Attributes:
        place: position of the class among the test's classes in ascending order, from 0; the same in all episodes.
        opening: the class's first episode in the test; None unless the method asks for it.
    """

    place: int
    opening: Opening | None = None


@dataclass(frozen=True)
class ImageKeys:
    """Keys of images by their contents.

    Attributes:
        images: (M, 3, S, S), the very tensor whose images the keys name; they say nothing about another tensor.
        keys: M keys, see `image_key`.
    """

    images: Tensor
    keys: list[str]


def image_key(image: Tensor, photo: Tensor | None = None) -> str:
    """Return a text that is the same for equal images alone: checksum, shape and type of an image, and of its photo.

    Args:
        image: (3, S, S).
        photo: (3, H, W), the image at its original size, where the method gets that, too.
    """
    seen = [image] if photo is None else [image, photo]
    return " ".join(f"{digest(one)} {tuple(one.shape)} {one.dtype}" for one in seen)


@dataclass
class EpisodeBatch:
    """A batch of B episodes with N ways and K shots; each distinct image is stored once, and episodes refer to its row.

    Attributes:
        images: (M, 3, S, S) uint8 RGB; `pixels` normalises them on the device.
        image_names: M names, unique in the data set unless images are changed at random. Two data sets may give one
            name to two images; `image_keys` tells them apart.
        query: (B,) int64 rows of `images`.
        support: (B, N, K) int64 rows of `images`.
        support_labels: (B, N, K, S, S) uint8: 1 the way's class, 0 anything else, 255 void.
        valid: (B, N, K) bool; False where an episode has fewer ways or supports and the entry is padding.
        query_sizes: (B, 2) int64, (height, width) of the label map to predict: the size of the ground truth, or of a
            protocol's padded square, which the evaluation stretches to the ground truth.
        episodes: (B,) int64 episode numbers in the test's list.
        truth: the ground truth; hidden while a method predicts, None if there is none, as for a user's own images.
        recurs: whether the same images may come again in another batch; False for randomly changed training images,
            whose features need not be cached.
        next_shown: in an evaluation, {image key: position of the next episode that shows the image}, None if no later
            episode shows it, so that a cache can drop the image.
        support_ways: (B, N, K, S, S) uint8 label maps of all ways in every support: 0 background, 1..N ways, 255 void;
            None unless the test has several ways and `data.test.support_annotation: all_ways`.
        ways: (B,) int64 number of ways of each episode, if some ways have no support; None if every way has supports,
            so that `valid` tells which ways are padding.
        unsupported_are_base: whether ways without supports are base classes, which a method knows by itself; if not, no
            method is asked for them, and nothing is predicted as them.
        hints: further inputs of each episode, on the CPU; None if the method asks for none.
        counted_pixels: (B, S, S) bool, pixels of the query that are not padding (nor void, if the protocol reveals it);
            None if no pixel is known to be padding.
        way_classes: identity of the class of each way of each episode; None if the method does not ask for it, or there
            is no test.
        keyed: the keys that the images have; None until they are asked for.
    """

    images: Tensor
    image_names: list[str]
    query: Tensor
    support: Tensor
    support_labels: Tensor
    valid: Tensor
    query_sizes: Tensor
    episodes: Tensor
    truth: Truth | HiddenTruth | None
    recurs: bool = True
    next_shown: Mapping[str, int | None] = field(default_factory=dict)
    support_ways: Tensor | None = None
    ways: Tensor | None = None
    unsupported_are_base: bool = True
    hints: list[Hints] | None = None
    counted_pixels: Tensor | None = None
    way_classes: list[list[WayClass]] | None = None
    keyed: ImageKeys | None = None

    def __len__(self) -> int:
        return len(self.query)

    @property
    def support_masks(self) -> Tensor:
        """(B, N, K, S, S) bool: pixels of the way's class in each support; void counts as background."""
        return self.support_labels == 1

    def pixels(self, row: int) -> Tensor:
        """Return image `row` as (3, S, S) float32, normalised with the ImageNet statistics."""
        return normalise(self.images[row])

    @property
    def image_keys(self) -> list[str]:
        """M keys of the images' contents, by which features are kept; made once, where a batch is loaded."""
        if self.keyed is None or self.keyed.images is not self.images:
            photos = self._photos()
            keys = [image_key(image, photos.get(row)) for row, image in enumerate(self.images)]
            self.keyed = ImageKeys(self.images, keys)
        return self.keyed.keys

    def photo(self, row: int) -> Tensor:
        """Return image `row`, (3, H, W) uint8, at its original size if the hints have photos.

        Without photos the image is returned as the batch holds it, (3, S, S).
        """
        photos = self._photos()
        return photos[row].to(self.images.device) if photos else self.images[row]

    def _photos(self) -> dict[int, Tensor]:
        """Return {row: photo} of the images that the hints have at their original size."""
        photos: dict[int, Tensor] = {}
        for b, hints in enumerate(self.hints or ()):
            if hints.query is not None and hints.supports is not None:
                rows = [int(self.query[b]), *self.support[b][self.valid[b]].tolist()]  # padding has no photo
                shown = [hints.query, *(photo for way in hints.supports for photo in way)]
                photos.update(zip(rows, shown, strict=True))
        return photos

    def known_truth(self) -> Truth:
        """Return the ground truth of the batch.

        Raises:
            TruthError: the ground truth is hidden because a method predicts, or the batch has none, as for a user's own
                images.
        """
        if not isinstance(self.truth, Truth):
            raise TruthError(_HIDDEN)
        return self.truth

    def without_truth(self) -> "EpisodeBatch":
        return replace(self, truth=HiddenTruth())

    def truths(self) -> list[EpisodeTruth]:
        """Return the ground truth of each episode as numpy arrays, in the order of the batch."""
        truths = []
        for b, episode in enumerate(self.split()):
            truth, (height, width) = episode.known_truth(), self.query_sizes[b].tolist()
            parts = (part.cpu().numpy() for part in (truth.label_maps[0], truth.presence[0], truth.classes[0]))
            truths.append(EpisodeTruth(int(self.episodes[b]), (height, width), *parts))
        return truths

    def split(self) -> Iterator["EpisodeBatch"]:
        """Yield the episodes one by one, each as a batch of size 1 without padded ways and supports."""
        for b in range(len(self)):
            ways, shots = self.valid[b].any(1), self.valid[b].any(0)
            if self.ways is not None:
                ways = torch.arange(len(ways), device=ways.device) < self.ways[b]
            truth = self.truth
            if isinstance(truth, Truth):
                truth = Truth(
                    [truth.label_maps[b]],
                    truth.presence[b : b + 1, ways],
                    truth.classes[b : b + 1, ways],
                    truth.base_maps[b : b + 1],
                )
            shown = None if self.support_ways is None else self.support_ways[b : b + 1, ways][:, :, shots]
            yield replace(
                self,
                query=self.query[b : b + 1],
                support=self.support[b : b + 1, ways][:, :, shots],
                support_labels=self.support_labels[b : b + 1, ways][:, :, shots],
                valid=self.valid[b : b + 1, ways][:, :, shots],
                query_sizes=self.query_sizes[b : b + 1],
                episodes=self.episodes[b : b + 1],
                truth=truth,
                support_ways=shown,
                ways=None if self.ways is None else self.ways[b : b + 1],
                hints=None if self.hints is None else self.hints[b : b + 1],
                counted_pixels=None if self.counted_pixels is None else self.counted_pixels[b : b + 1],
                way_classes=None if self.way_classes is None else self.way_classes[b : b + 1],
            )

    def way(self, number: int) -> "EpisodeBatch":
        """Return a batch of one episode reduced to its way `number` (from 0) and its supports, without ground truth."""
        return self.only([number])

    def only(self, numbers: Sequence[int]) -> "EpisodeBatch":
        """Return a batch of one episode reduced to the ways `numbers` (from 0), without padding and ground truth."""
        first, last, hints, classes = numbers[0], numbers[-1], self.hints, self.way_classes
        own = slice(first, last + 1) if len(numbers) == last + 1 - first else list(numbers)  # a view where it can be
        shots = slice(0, int(self.valid[0, own].any(0).sum()))
        return replace(
            self.without_truth(),
            support=self.support[:, own, shots],
            support_labels=self.support_labels[:, own, shots],
            valid=self.valid[:, own, shots],
            support_ways=None if self.support_ways is None else self.support_ways[:, own, shots],
            ways=None,
            unsupported_are_base=True,
            hints=None if hints is None else [one.part(numbers, shots) for one in hints],
            way_classes=None if classes is None else [[one[number] for number in numbers] for one in classes],
        )

    def to(self, *args: Any, **kwargs: Any) -> "EpisodeBatch":
        """Return the batch with every tensor moved or converted; the arguments are those of `Tensor.to`."""
        return _map(self, lambda t: t.to(*args, **kwargs))

    def pin_memory(self) -> "EpisodeBatch":
        return _map(self, lambda t: t.pin_memory())


def _map(item: Any, move: Any) -> Any:
    if isinstance(item, Tensor):
        return move(item)
    if isinstance(item, list):
        return [_map(value, move) for value in item]
    if isinstance(item, Truth | EpisodeBatch | WayClass | Opening):
        moved: Any = type(item)(**{f.name: _map(getattr(item, f.name), move) for f in fields(item)})
        if isinstance(item, EpisodeBatch):
            moved.keyed = ImageKeys(moved.images, item.image_keys)
        return moved
    return item


def collate(items: Sequence[EpisodeBatch]) -> EpisodeBatch:
    """Join batches into one: each distinct image is stored once, and supports are padded to the most ways and shots."""
    keys = [item.image_keys for item in items]  # in the process that loads
    if len(items) == 1:
        return items[0]  # a copy of its images would take as long as decoding one
    rows: dict[str, int] = {}
    names: list[str] = []
    pixels: list[Tensor] = []
    for item, own in zip(items, keys, strict=True):
        for key, name, image in zip(own, item.image_names, item.images, strict=True):
            if key not in rows:
                rows[key] = len(pixels)
                names.append(name)
                pixels.append(image)
    images = torch.stack(pixels)
    shape = [max(sizes) for sizes in zip(*(item.valid.shape[1:] for item in items), strict=True)]
    new_row = [torch.tensor([rows[key] for key in own]) for own in keys]
    truths = [item.known_truth() for item in items]
    shown = [item.support_ways for item in items if item.support_ways is not None]
    counted = [item.counted_pixels for item in items if item.counted_pixels is not None]
    return EpisodeBatch(
        images=images,
        image_names=names,
        query=torch.cat([new[item.query] for item, new in zip(items, new_row, strict=True)]),
        support=torch.cat([_pad(new[item.support], shape) for item, new in zip(items, new_row, strict=True)]),
        support_labels=torch.cat([_pad(item.support_labels, shape) for item in items]),
        valid=torch.cat([_pad(item.valid, shape) for item in items]),
        query_sizes=torch.cat([item.query_sizes for item in items]),
        episodes=torch.cat([item.episodes for item in items]),
        truth=Truth(
            [label_map for truth in truths for label_map in truth.label_maps],
            torch.cat([_pad(truth.presence, shape[:1]) for truth in truths]),
            torch.cat([_pad(truth.classes, shape[:1]) for truth in truths]),
            [base_map for truth in truths for base_map in truth.base_maps],
        ),
        recurs=all(item.recurs for item in items),
        next_shown={key: place for item in items for key, place in item.next_shown.items()},  # the last one's
        support_ways=torch.cat([_pad(maps, shape) for maps in shown]) if len(shown) == len(items) else None,
        ways=None
        if all(item.ways is None for item in items)
        else torch.tensor([item.valid.shape[1] for item in items]),
        unsupported_are_base=all(item.unsupported_are_base for item in items),
        hints=None
        if any(item.hints is None for item in items)
        else [hints for item in items for hints in item.hints or ()],
        counted_pixels=torch.cat(counted) if len(counted) == len(items) else None,
        way_classes=None
        if any(item.way_classes is None for item in items)
        else [classes for item in items for classes in item.way_classes or ()],
        keyed=ImageKeys(images, list(rows)),
    )


def _pad(tensor: Tensor, shape: Sequence[int]) -> Tensor:
    """Grow dimensions 1.. of `tensor` to `shape` with zeros."""
    sizes = list(tensor.shape)
    sizes[1 : 1 + len(shape)] = shape
    if sizes == list(tensor.shape):
        return tensor
    padded = tensor.new_zeros(sizes)
    padded[tuple(slice(n) for n in tensor.shape)] = tensor
    return padded


@dataclass(frozen=True)
class ImageEpisode:
    """One episode of few-shot image classification.

    Attributes:
        number: number of the episode in the test's list.
        seed: the seed for random numbers of the method, which may depend on `seed` and `number` only.
        classes: (N,) class numbers in the data set, from 1; a label is a position in this tuple, from 0.
        support: (N, K) int64 positions of the support images in the data set, class by class.
        query: (N, q) int64 positions of the query images, class by class; shuffled when a method gets them in a test.
        images: (N·K + N·q, 3, S, S) uint8 RGB, supports first; None for methods that ask for features.
    """

    number: int
    seed: int
    classes: tuple[int, ...]
    support: Tensor
    query: Tensor
    images: Tensor | None = None

    @property
    def ways(self) -> int:
        return len(self.classes)

    def mixed(self, order: np.ndarray) -> "ImageEpisode":
        """Return the episode with its queries permuted by `order` (N·q,), row numbers of the flat queries."""
        images, supports, rows = self.images, self.support.numel(), torch.from_numpy(order)
        if images is not None:
            images = torch.cat([images[:supports], images[supports:][rows]])
        return replace(self, query=self.query.flatten()[rows].view(self.query.shape), images=images)

    def labels(self, device: torch.device) -> Tensor:
        """Return the labels 0..N-1 of the supports, (N·K,) int64, class by class."""
        return torch.arange(self.ways, device=device).repeat_interleave(self.support.shape[1])

    def pixels(self) -> tuple[Tensor, Tensor]:
        """Return support images (N·K, 3, S, S) and query images (N·q, 3, S, S), normalised float32."""
        assert self.images is not None, "the method asked for features only"
        return normalise(self.images[: self.support.numel()]), normalise(self.images[self.support.numel() :])

    def to(self, *args: Any, **kwargs: Any) -> "ImageEpisode":
        return self if self.images is None else replace(self, images=self.images.to(*args, **kwargs))


def normalise(images: Tensor) -> Tensor:
    """Normalise images (..., 3, S, S), uint8 or float32 in 0..255, to float32 by ImageNet's statistics (fort.md §3)."""
    if images.dtype != torch.uint8 or images.device.type != "cpu" or not images.numel():
        mean, std = (_column(values).to(images.device)[..., None] for values in (IMAGENET_MEAN, IMAGENET_STD))
        return torch.div(images.float(), 255).sub_(mean).div_(std)
    result, values = torch.empty(images.shape, dtype=torch.float32), _normal_values(IMAGENET_MEAN, IMAGENET_STD)
    shape = (-1, *images.shape[-2:])
    for i, (plane, target) in enumerate(zip(images.reshape(shape).numpy(), result.view(shape).numpy(), strict=True)):
        cv2.LUT(plane, values[i % 3], target)  # a third of the time of the arithmetic
    return result


@cache
def _normal_values(mean: tuple[float, ...], std: tuple[float, ...]) -> np.ndarray:
    """Return the normalised float32 of every colour's 256 values, (3, 256)."""
    return ((torch.arange(256).float() / 255 - _column(mean)) / _column(std)).numpy()


def _column(values: tuple[float, ...]) -> Tensor:
    """Return a number of each colour, (3, 1) float32 whatever torch's default type is."""
    return torch.tensor(values, dtype=torch.float32)[:, None]
